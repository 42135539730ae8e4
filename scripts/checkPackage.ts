// What a user of the packed package gets. Builds and packs it, installs the tarball into an empty folder, and there:
//  - Node imports every subpath and uses library and command;
//  - a program that imports one name is bundled, and holds no more than that name needs (so `sideEffects: false` is
//    true);
//  - a page in Chromium imports the bundle of every portable subpath with no bundler and no import map, trains one
//    update and classifies;
//  - every package that the files import is declared, and every declared one is imported;
//  - sizes stay under their gates.
import { execFileSync } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { portableEntries } from "./bundle.ts";
import { openChromium, serveFolder } from "./chromium.ts";

/**
 * Largest sizes in kB (1000 bytes), gzipped and minified, chunks included: about a tenth above what they were when they
 * were last set.
 */
const bundleGates: Readonly<Record<string, number>> = {
  densenet: 180,
  infer: 42,
  page: 70,
  settings: 56,
  train: 89,
  wasm: 34,
  webgpu: 27,
  worker: 1.5,
};
/** kB of the tarball. */
const tarballGate = 14_000;
/**
 * What a program that imports one name of `densenet` may hold, in kB, minified, and rooms of which it must hold
 * nothing.
 */
const oneName: readonly { readonly name: string; readonly gate: number; readonly without: readonly string[] }[] = [
  { name: "parameterCount", gate: 46, without: ["backends", "train", "infer", "checkpoint", "data", "plan"] },
  { name: "printPlan", gate: 3, without: ["backends", "train", "infer", "checkpoint", "data"] },
  {
    name: "createWasmBackend",
    gate: 92,
    without: ["backends/webgpu", "backends/reference", "train", "infer", "data"],
  },
  { name: "createPredictor", gate: 80, without: ["backends/wasm", "backends/webgpu", "train"] },
  { name: "variantNames", gate: 45, without: ["backends", "train", "infer", "plan"] },
];

const problems: string[] = [];
const expect = (holds: boolean, problem: string): void => {
  if (!holds) problems.push(problem);
};
const say = (line: string): boolean => process.stdout.write(`${line}\n`);
const kB = (bytes: number): number => Math.round(bytes / 100) / 10;

const folder = mkdtempSync(join(tmpdir(), "densenet-package-"));
const npm = (args: readonly string[], cwd: string): string =>
  execFileSync("npm", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
const node = (args: readonly string[]): string =>
  execFileSync(process.execPath, args, { cwd: folder, encoding: "utf8", timeout: 120_000 });
const installed = join(folder, "node_modules/densenet");
const manifest = JSON.parse(readFileSync("package.json", "utf8")) as {
  exports: Record<string, string | Record<string, string>>;
  dependencies: Record<string, string>;
  optionalDependencies: Record<string, string>;
};

/** What stays out of a tarball: sources, tests, benchmarks. */
function checkTarball(): void {
  const [packed] = JSON.parse(npm(["pack", "--json", "--pack-destination", folder], ".")) as [
    { filename: string; size: number; files: { path: string }[] },
  ];
  say(`tarball ${kB(packed.size)} kB (gate ${tarballGate}), ${packed.files.length} files`);
  expect(packed.size < tarballGate * 1000, `the tarball has ${kB(packed.size)} kB, more than ${tarballGate}`);
  const strange = packed.files.filter(
    ({ path }) => !/^(dist|assets|results)\/|^(package\.json|README\.md|LICENSE)$/.test(path),
  );
  expect(strange.length === 0, `the tarball holds ${strange.map(({ path }) => path).join(", ")}`);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "user", private: true, type: "module" }));
  npm(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", `./${packed.filename}`], folder);
}

function checkNode(): void {
  const subpaths = Object.entries(manifest.exports).filter(([, target]) => typeof target === "object");
  for (const [subpath, target] of subpaths) {
    const name = subpath.replace(".", "densenet");
    for (const file of Object.values(target)) {
      expect(existsSync(join(installed, file)), `${name} names ${file}, which is not in the tarball`);
    }
    const found = node(["--input-type=module", "-e", `console.log(Object.keys(await import("${name}")).length)`]);
    say(`Node imports ${name}: ${found.trim()} names`);
    expect(Number(found) > 0, `Node finds no name in ${name}`);
  }
  writeFileSync(
    join(folder, "use.js"),
    `import { createBackend, createNetwork, createPredictor, namedSpec, parameterCount } from "densenet";
const model = createNetwork(namedSpec("BC-100-12"));
const backend = await createBackend("wasm", { threads: 2 });
const trained = { model, classes: "abcdefghij".split(""), preprocessing: { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25], height: 32, width: 32 } };
const predictor = await createPredictor(trained, backend);
const [[best]] = await predictor.predictPlanar([new Uint8Array(3 * 32 * 32).map((_, i) => i % 251)], { topK: 1 });
if (!(best.score > 0 && best.score <= 1)) throw new Error("no score");
console.log(parameterCount(model.spec), best.label);
await backend.dispose();
`,
  );
  const used = node(["use.js"]);
  expect(used.startsWith("769162 "), `the installed library printed ${used}`);
  const inspected = node([join(folder, "node_modules/.bin/densenet"), "inspect", "121", "--json"]);
  const { params } = JSON.parse(inspected) as { params: number };
  expect(params === 7978856, `the installed command counts ${params} parameters`);
  const paper = node([join(folder, "node_modules/.bin/densenet"), "paper", "--json"]);
  expect((JSON.parse(paper) as { runs: unknown[] }).runs.length > 0, "the installed command finds no run of results/");
  const ship = join(installed, "assets/samples/ship-1.png");
  const answered = node([join(folder, "node_modules/.bin/densenet"), "predict", "bc-40-12.cifar10", ship]);
  expect(/ ship /.test(answered), `the packaged model takes a ship for this: ${answered}`);
  say("Node uses library and command, its results and its packaged model");
}

/** A user's program in strict TypeScript sees the types of every subpath. */
function checkTypes(): void {
  const names = Object.entries(manifest.exports).flatMap(([subpath, target]) =>
    typeof target === "object" ? [subpath.replace(".", "densenet")] : [],
  );
  const lines = names.map((name, index) => `import * as entry${index} from "${name}";\nconsole.log(entry${index});`);
  writeFileSync(join(folder, "types.ts"), `${lines.join("\n")}\n`);
  const compiler = resolve("node_modules/typescript/bin/tsc");
  const flags = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2024", "--lib", "es2024,dom"];
  execFileSync(process.execPath, [compiler, ...flags, "types.ts"], { cwd: folder, stdio: "inherit" });
  say(`types of ${names.length} subpaths`);
}

async function checkOneName(): Promise<void> {
  for (const { name, gate, without } of oneName) {
    const { outputFiles, metafile } = await build({
      stdin: { contents: `import { ${name} } from "densenet"; console.log(${name});`, resolveDir: folder },
      bundle: true,
      format: "esm",
      platform: "browser",
      minify: true,
      write: false,
      metafile: true,
      logLevel: "error",
    });
    const [output] = Object.values(metafile.outputs);
    const kept = Object.entries(output?.inputs ?? {}).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
    const size = kB(outputFiles[0]?.contents.length ?? 0);
    say(`a bundle of ${name} alone: ${size} kB of ${kept.length} files (gate ${gate})`);
    expect(size > 0 && size <= gate, `a bundle of ${name} alone has ${size} kB, more than ${gate}`);
    for (const room of without) {
      const found = kept.map(([path]) => path).filter((path) => path.includes(`densenet/dist/${room}/`));
      expect(found.length === 0, `a bundle of ${name} alone holds ${found.join(", ")}`);
    }
  }
}

/** All files that a bundle loads, itself included. */
function loadedBy(name: string, seen = new Set<string>()): ReadonlySet<string> {
  if (seen.has(name)) return seen;
  seen.add(name);
  const text = readFileSync(join(installed, "dist/browser", name), "utf8");
  for (const [, chunk = ""] of text.matchAll(/(?:from|import)\s*"\.\/([^"]+)"/g)) loadedBy(chunk, seen);
  return seen;
}

function checkSizes(): void {
  for (const [name, gate] of Object.entries(bundleGates)) {
    const files = [...loadedBy(`${name}.js`)];
    const bytes = files.reduce(
      (sum, file) => sum + gzipSync(readFileSync(join(installed, "dist/browser", file))).length,
      0,
    );
    say(`browser/${name}.js: ${kB(bytes)} kB gzipped in ${files.length} files (gate ${gate})`);
    expect(kB(bytes) <= gate, `browser/${name}.js has ${kB(bytes)} kB gzipped, more than ${gate}`);
  }
}

/** One update on noise and a prediction, with no more than the bundles of three subpaths. */
const inPage = `Promise.all(["train.js", "wasm.js", "infer.js"].map((file) => import(new URL(file, location.href)))).then(async ([train, wasm, infer]) => {
  const side = 8;
  const split = (count, seed) => train.bytesSplit({
    pixels: Uint8Array.from({ length: count * 3 * side * side }, (_, i) => Math.imul(i + seed, 0x9e3779b1) >>> 24),
    labels: Uint16Array.from({ length: count }, (_, i) => i % 2), channels: 3, height: side, width: side,
  });
  const dataset = {
    name: "noise", classes: ["a", "b"], channels: 3, height: side, width: side, mean: [0.5, 0.5, 0.5], std: [0.29, 0.29, 0.29],
    train: split(8, 1), val: split(4, 2),
  };
  const { config } = train.resolveConfig({ settings: {
    model: { variant: "BC-40-12", blockConfig: [1, 1, 1] }, data: { dir: "noise" }, epochs: 1, batchSize: 8, lr: 0.01, seed: 1,
  } });
  const backend = await wasm.createWasmBackend();
  const model = train.createNetwork(train.configuredSpec(config, { classes: 2, channels: 3 }), { seed: 1 });
  const trainer = train.createTrainer({ model, dataset, backend, config, loadBatches: train.makeBatches });
  const losses = [];
  for await (const event of trainer.run()) if (event.type === "step") losses.push(event.loss);
  const trained = infer.decodeModel(train.encodeModel(trainer.trained), "memory");
  const predictor = await infer.createPredictor(trained, backend);
  const [[best]] = await predictor.predict([{ width: 20, height: 10, data: new Uint8ClampedArray(800).fill(90) }]);
  await backend.dispose();
  return { losses, score: best.score, threads: backend.info.threads };
})`;

/** A model of the package, which the page fetches from beside its bundles. */
const withPretrained = `Promise.all(["wasm.js", "infer.js"].map((file) => import(new URL("dist/browser/" + file, location.href)))).then(async ([wasm, infer]) => {
  const backend = await wasm.createWasmBackend();
  const predictor = await infer.createPredictor(await infer.loadPretrained(infer.pretrainedNames[0]), backend);
  const bitmap = await createImageBitmap(await (await fetch(new URL("assets/samples/ship-1.png", location.href))).blob());
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const [[best]] = await predictor.predict([context.getImageData(0, 0, bitmap.width, bitmap.height)]);
  await backend.dispose();
  const refusal = await infer.loadPretrained(infer.pretrainedNames[0], { from: "nowhere/" }).catch((error) => error.message);
  return { label: best.label, refusal };
})`;

async function checkPretrained(): Promise<void> {
  const server = await serveFolder(installed);
  const browser = await openChromium();
  try {
    const tab = await browser.newPage();
    await tab.goto(server.url("plain", ""));
    const { label, refusal } = (await tab.evaluate(withPretrained)) as { label: string; refusal: string };
    say(`a page loads a model of the package, which takes a ship for a ${label}`);
    expect(label === "ship", `the model of the package takes a ship for a ${label} in a page`);
    expect(/nowhere\/.*the server answered 404/.test(refusal), `a page that looks elsewhere gets ${refusal}`);
  } finally {
    await browser.close();
    server.close();
  }
}

async function checkPage(): Promise<void> {
  const server = await serveFolder(join(installed, "dist/browser"));
  const browser = await openChromium();
  try {
    for (const serving of ["plain", "isolated"] as const) {
      const tab = await browser.newPage();
      await tab.goto(server.url(serving, ""));
      for (const name of Object.keys(portableEntries)) {
        const names = await tab.evaluate(
          `import(new URL("${name}.js", location.href)).then((all) => Object.keys(all).length)`,
        );
        expect(
          Number(names) > 0,
          `${serving === "plain" ? "a plain" : "an isolated"} page finds no name in ${name}.js`,
        );
      }
      const { losses, score, threads } = (await tab.evaluate(inPage)) as {
        losses: number[];
        score: number;
        threads: number;
      };
      say(
        `${serving === "plain" ? "a plain" : "an isolated"} page imports ${Object.keys(portableEntries).length} ` +
          `bundles, ${threads} thread(s), loss ${losses.join()}, score ${score}`,
      );
      expect(
        losses.length === 1 && losses.every(Number.isFinite) && score > 0.5 && score <= 1,
        `${serving === "plain" ? "a plain" : "an isolated"} page found ${losses}, ${score}`,
      );
      await tab.close();
    }
  } finally {
    await browser.close();
    server.close();
  }
}

/** The package must bring what its files import, and nothing else. */
async function checkDependencies(): Promise<void> {
  const { metafile } = await build({
    entryPoints: globSync("dist/**/*.js", { cwd: installed, exclude: ["dist/browser/**"] }).map((file) =>
      join(installed, file),
    ),
    outdir: join(folder, "bundled"),
    bundle: true,
    format: "esm",
    platform: "node",
    packages: "external",
    write: false,
    metafile: true,
    logLevel: "error",
  });
  const targets = Object.values(metafile.inputs).flatMap(({ imports }) =>
    imports.filter(({ external }) => external).map(({ path }) => path),
  );
  const imported = new Set(
    targets
      .filter((target) => !isBuiltin(target))
      .map((target) =>
        target
          .split("/")
          .slice(0, target.startsWith("@") ? 2 : 1)
          .join("/"),
      ),
  );
  // Imported by a name in a variable, so that bundlers leave it alone (backends/webgpu/gpu.ts).
  imported.add("webgpu");
  const declared = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.optionalDependencies)];
  const undeclared = [...imported].filter((name) => !declared.includes(name));
  say(`imported: ${[...imported].sort().join(", ")}; declared: ${declared.sort().join(", ")}`);
  const unused = declared.filter((name) => !imported.has(name));
  expect(undeclared.length === 0, `imported but not declared: ${undeclared.join(", ")}`);
  expect(unused.length === 0, `declared but never imported: ${unused.join(", ")}`);
}

try {
  rmSync("dist", { recursive: true, force: true });
  npm(["run", "--silent", "build"], ".");
  checkTarball();
  checkNode();
  checkTypes();
  await checkDependencies();
  await checkOneName();
  checkSizes();
  await checkPage();
  await checkPretrained();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
for (const problem of problems) process.stderr.write(`NOT OK ${problem}\n`);
process.exitCode = problems.length === 0 ? 0 : 1;
