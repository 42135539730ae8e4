// The wasm backend in a real browser: the same eight training steps in Node and in headless Chromium, on a page with shared memory and
// threads and on one without, must give the same losses within the rounding of f32.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { chromium } from "playwright-core";

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path),
);
if (!executablePath) throw new Error("no Chromium found in /usr/bin; install Debian's package chromium");

/** Runs in Node and, as text, in the page. Losses of eight steps of a small DenseNet-BC on made pictures, and what the backend found. */
const training = `
  const spec = densenet.defineSpec({ growthRate: 12, blockConfig: [3, 3, 3], bottleneck: true, compression: 0.5, numInitFeatures: 24, stem: "cifar", numClasses: 10 });
  const batch = 8, size = 32;
  const graph = densenet.differentiate(densenet.buildGraph(spec, { batch, height: size, width: size, mode: "training" }));
  const plan = densenet.planTraining(graph, { recompute: "none", optimizer: { momentum: 0.9, nesterov: true, weightDecay: 1e-4 } });
  const backend = await densenet.createBackend("wasm", { threads, revectorize: false });
  const executable = await backend.compile({ train: plan });
  for (const [path, { data }] of densenet.createDenseNet(spec, { seed: 1 }).state) await executable.write(path, data);
  const losses = [];
  const times = [];
  for (let step = 0; step < 8; step++) {
    await executable.write("images", Float32Array.from({ length: batch * 3 * size * size }, (_, i) => Math.sin(i * 0.37 + step)), "train");
    await executable.write("labels", Int32Array.from({ length: batch }, (_, i) => i % 10), "train");
    const began = performance.now();
    await executable.run("train", { learningRate: 0.05, seed: 1, step });
    times.push(performance.now() - began);
    const sampleLoss = await executable.read("sampleLoss", "train");
    losses.push(sampleLoss.reduce((sum, loss) => sum + loss, 0) / batch);
  }
  const { info } = backend;
  await backend.dispose();
  return { losses, info, stepMs: Math.min(...times) };
`;
interface Result {
  losses: number[];
  info: { threads: number; features: Record<string, boolean>; notes: string[] };
  stepMs: number;
}

execFileSync("npm", ["run", "--silent", "build"], { stdio: "inherit" });
const types: Readonly<Record<string, string>> = { ".js": "text/javascript", ".html": "text/html", "": "text/html" };
// A bundler would do this: the schema of training configurations is zod's.
const page = `<!doctype html><title>densenet</title><script type="importmap">{"imports": {"zod": "/node_modules/zod/index.js"}}</script>`;
const server = createServer((request, response) => {
  const path = normalize(new URL(request.url ?? "/", "http://localhost").pathname);
  const isolated = !(request.headers.referer ?? request.url ?? "").includes("plain");
  const headers: Record<string, string> = { "content-type": types[extname(path)] ?? "application/octet-stream" };
  if (isolated) {
    headers["cross-origin-opener-policy"] = "same-origin";
    headers["cross-origin-embedder-policy"] = "require-corp";
  }
  if (path === "/isolated" || path === "/plain") return response.writeHead(200, headers).end(page);
  const file = path.startsWith("/node_modules/zod/") ? join(".", path) : join("dist", path);
  if (!existsSync(file)) return response.writeHead(404).end();
  return response.writeHead(200, headers).end(readFileSync(file));
}).listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));
const { port } = server.address() as AddressInfo;

const densenet = await import("../src/index.ts");
const AsyncFunction = (async () => undefined).constructor as new (
  ...text: string[]
) => (library: object, threads: number) => Promise<Result>;
const runHere = new AsyncFunction("densenet", "threads", training);
const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
let problems = 0;
try {
  for (const [name, threads] of [
    ["isolated", 2],
    ["plain", 1],
  ] as const) {
    const tab = await browser.newPage();
    await tab.goto(`http://127.0.0.1:${port}/${name}`);
    const expected = await runHere(densenet, threads);
    const text = `import("/index.js").then(async (densenet) => { const threads = 2; ${training} })`;
    const result = (await tab.evaluate(text)) as Result;
    const difference = Math.max(
      ...result.losses.map((loss, step) => Math.abs(loss - (expected.losses[step] ?? Number.NaN))),
    );
    // Same code, same threads: only the two engines' sine, cosine and logarithm behind pictures and initial weights may round differently.
    const fine = difference < 1e-4 && result.info.threads === threads;
    if (!fine) problems++;
    process.stdout.write(
      `${fine ? "ok" : "NOT OK"} page ${name}: ${result.info.threads} thread(s), ${JSON.stringify(result.info.features)}, largest loss difference to Node ${difference.toExponential(1)}, step ${result.stepMs.toFixed(1)} ms (Node ${expected.stepMs.toFixed(1)} ms)\n`,
    );
    for (const note of result.info.notes) process.stdout.write(`   ${note}\n`);
    await tab.close();
  }
} finally {
  await browser.close();
  server.close();
}
process.exitCode = problems === 0 ? 0 : 1;
