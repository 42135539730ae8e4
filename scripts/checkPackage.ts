// What a user of the packed package gets: builds it, packs it, installs the tarball into an empty folder and uses library and command there.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";

const folder = mkdtempSync(join(tmpdir(), "densenet-package-"));
const npm = (args: readonly string[], cwd: string): string =>
  execFileSync("npm", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
try {
  rmSync("dist", { recursive: true, force: true });
  npm(["run", "--silent", "build"], ".");
  const [packed] = JSON.parse(npm(["pack", "--json", "--pack-destination", folder], ".")) as [
    { filename: string; size: number },
  ];
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "user", private: true, type: "module" }));
  npm(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", `./${packed.filename}`], folder);
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
  const used = execFileSync(process.execPath, ["use.js"], { cwd: folder, encoding: "utf8" });
  if (!used.startsWith("769162 ")) throw new Error(`the installed library printed ${used}`);
  const command = join(folder, "node_modules/.bin/densenet");
  const inspected = JSON.parse(
    execFileSync(process.execPath, [command, "inspect", "121", "--json"], { cwd: folder, encoding: "utf8" }),
  ) as { params: number };
  if (inspected.params !== 7978856) throw new Error(`the installed command counts ${inspected.params} parameters`);
  // The core that a browser loads: emitter, plan, graph, ops and spec, without pictures and command.
  const core = ["backends/wasm", "backends/backend.js", "plan", "graph", "ops", "spec", "errors.js"];
  const sources = core.flatMap((part) => {
    const path = resolve("dist", part);
    if (statSync(path).isFile()) return [path];
    return readdirSync(path)
      .filter((file) => file.endsWith(".js"))
      .map((file) => join(path, file));
  });
  const bytes = gzipSync(Buffer.concat(sources.map((path) => readFileSync(path)))).length;
  process.stdout.write(
    `package ${(packed.size / 1e6).toFixed(1)} MB; library core with the wasm emitter ${(bytes / 1000).toFixed(1)} kB gzipped, unminified\n`,
  );
  if (bytes > 100_000) throw new Error("the core is larger than 100 kB gzipped");
} finally {
  rmSync(folder, { recursive: true, force: true });
}
