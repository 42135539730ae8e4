// The backends in a real browser: the same eight training steps and the classification after them in Node (wasm) and in headless Chromium, on
// wasm with shared memory and threads and without, and on WebGPU in a page and in a worker, must agree within the rounding of f32.
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
  // Noise, not waves: windows of a wave span two dimensions, whole channels come out constant and batch norm magnifies the last bit.
  const noise = (step) => Float32Array.from({ length: batch * 3 * size * size }, (_, i) => {
    let bits = Math.imul(i + 1 + step * 100003, 0x9e3779b1);
    bits = Math.imul(bits ^ (bits >>> 15), 0x85ebca6b);
    return (bits ^ (bits >>> 13)) / 2 ** 31;
  });
  const graph = densenet.differentiate(densenet.buildGraph(spec, { batch, height: size, width: size, mode: "training" }));
  const plan = densenet.planTraining(graph, { recompute: "none", optimizer: { momentum: 0.9, nesterov: true, weightDecay: 1e-4 } });
  const backend = await densenet.createBackend(device, { threads, revectorize: false });
  const inference = densenet.planInference(densenet.buildGraph(spec, { batch, height: size, width: size, mode: "inference" }));
  const executable = await backend.compile({ train: plan, classify: inference });
  for (const [path, { data }] of densenet.createDenseNet(spec, { seed: 1 }).state) await executable.write(path, data);
  const losses = [];
  const times = [];
  for (let step = 0; step < 8; step++) {
    await executable.write("images", noise(step), "train");
    await executable.write("labels", Int32Array.from({ length: batch }, (_, i) => i % 10), "train");
    const began = performance.now();
    await executable.run("train", { learningRate: 0.005, seed: 1, step });
    const [sampleLoss] = await executable.read(["sampleLoss"], "train");
    times.push(performance.now() - began);
    losses.push(sampleLoss.reduce((sum, loss) => sum + loss, 0) / batch);
  }
  await executable.write("images", noise(0), "classify");
  await executable.run("classify");
  const [logits] = await executable.read(["logits"], "classify");
  const { info } = backend;
  await backend.dispose();
  return { losses, logits: [...logits], info, stepMs: Math.min(...times) };
`;
interface Result {
  losses: number[];
  logits: number[];
  info: { name: string; threads: number; features: Record<string, boolean>; notes: string[] };
  stepMs: number;
}

execFileSync("npm", ["run", "--silent", "build"], { stdio: "inherit" });
const types: Readonly<Record<string, string>> = { ".js": "text/javascript", ".html": "text/html", "": "text/html" };
const page = "<!doctype html><title>densenet</title>";
/** A bundler would do this: the schema of training configurations is zod's, and workers have no import map. */
const resolved = (path: string, text: Buffer): Buffer | string =>
  extname(path) === ".js" ? text.toString().replaceAll('from "zod"', 'from "/node_modules/zod/index.js"') : text;
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
  return response.writeHead(200, headers).end(resolved(path, readFileSync(file)));
}).listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));
const { port } = server.address() as AddressInfo;

const densenet = await import("../src/index.ts");
const AsyncFunction = (async () => undefined).constructor as new (
  ...text: string[]
) => (library: object, threads: number, device: string) => Promise<Result>;
const runHere = new AsyncFunction("densenet", "threads", "device", training);
const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox",
    // Chromium's own Vulkan on the CPU, so that WebGPU is there on any machine.
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
let problems = 0;
try {
  for (const [device, place, name, threads] of [
    ["wasm", "page", "isolated", 2],
    ["wasm", "page", "plain", 1],
    ["webgpu", "page", "plain", 1],
    ["webgpu", "worker", "isolated", 1],
  ] as const) {
    const tab = await browser.newPage();
    await tab.goto(`http://127.0.0.1:${port}/${name}`);
    const expected = await runHere(densenet, threads, "wasm");
    const run = `import("http://127.0.0.1:${port}/index.js").then(async (densenet) => { const threads = 2; const device = "${device}"; ${training} })`;
    const inWorker = `new Promise((resolve, reject) => {
      const url = URL.createObjectURL(new Blob([${JSON.stringify(`${run}.then((result) => postMessage({ result }), (error) => postMessage({ error: String(error) }))`)}], { type: "text/javascript" }));
      const worker = new Worker(url, { type: "module" });
      worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data.result));
      worker.onerror = ({ message }) => reject(new Error(message));
    })`;
    const result = (await tab.evaluate(place === "worker" ? inWorker : run)) as Result;
    const apart = (found: readonly number[], wanted: readonly number[]): number =>
      Math.max(...found.map((value, i) => Math.abs(value - (wanted[i] ?? Number.NaN))));
    const lossDifference = apart(result.losses, expected.losses);
    const logitDifference = apart(result.logits, expected.logits);
    // Another order of sums, which eight steps of training magnify: at this learning rate (2026-11-24) wasm's one thread and the reference end
    // 4e-5 apart in the loss and 1.2e-4 in a logit, WebGPU and the reference 5e-5 and 5e-5.
    const fine =
      lossDifference < 2e-4 && logitDifference < 1e-3 && result.info.name === device && result.info.threads === threads;
    if (!fine) problems++;
    process.stdout.write(
      `${fine ? "ok" : "NOT OK"} ${device} in a ${place} (${name}): ${result.info.threads} thread(s), ${JSON.stringify(result.info.features)}, largest difference to Node: loss ${lossDifference.toExponential(1)}, logit ${logitDifference.toExponential(1)}; step ${result.stepMs.toFixed(1)} ms (Node ${expected.stepMs.toFixed(1)} ms)\n`,
    );
    for (const note of result.info.notes) process.stdout.write(`   ${note}\n`);
    await tab.close();
  }
} finally {
  await browser.close();
  server.close();
}
process.exitCode = problems === 0 ? 0 : 1;
