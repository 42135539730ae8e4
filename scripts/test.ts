// Runs tests and says at the end how long each folder took and what was skipped for want of something, in the last
// line.
//   node scripts/test.ts                   everything
//   node scripts/test.ts --fast            what to run while working: see `fast` below
//   node scripts/test.ts --write           everything, and docs/testTimes.md
//   node scripts/test.ts test/data/**      these files
import { globSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { parseArgs } from "node:util";

/**
 * The units of a network from its description to its plan and of the data, a small PyTorch fixture, and one engine of
 * conformance.
 */
const fast = {
  globs: [
    "test/*.test.ts",
    "test/{networks,ops,graph,plan,model,data,train,infer}/**/*.test.ts",
    "test/golden/golden.test.ts",
    "test/conformance/conformance.test.ts",
  ],
  /** Files that start processes, or train until something is learnt. */
  without: [
    "test/**/command.test.ts",
    "test/data/{imageFolder,scanFolder,cifar,decodeImage,embedded}.test.ts",
    "test/train/{resume,trainer,lostDevice,queue,reduction,stateCopy}.test.ts",
    "test/infer/{predictor,queue}.test.ts",
  ],
  /** Names of tests and suites. */
  skip: [/densenet121/, /interpreter f64/, /reference f32/, /wasm (plain SIMD|256-bit|128-bit, (1|without))/],
};

const { values: flags, positionals } = parseArgs({
  options: { fast: { type: "boolean" }, write: { type: "boolean" } },
  allowPositionals: true,
});
const globs = positionals.length > 0 ? positionals : flags.fast ? fast.globs : ["test/**/*.test.ts"];
const files = globs.flatMap((pattern) => globSync(pattern, { exclude: flags.fast ? fast.without : [] })).sort();
if (files.length === 0) throw new Error(`no test file matches ${globs.join(" ")}`);

/** ms of all files of a folder, as their processes took them, side by side with others. */
const folders = new Map<string, { ms: number; tests: number }>();
const skipped = new Map<string, number>();
let failed = false;
const began = performance.now();
const stream = run({
  files,
  concurrency: availableParallelism(),
  ...(flags.fast ? { testSkipPatterns: fast.skip } : {}),
});
stream.on("test:fail", () => {
  failed = true;
});
const noteSkip = ({ skip }: { skip?: string | boolean }): void => {
  if (typeof skip === "string" && skip !== "") skipped.set(skip, (skipped.get(skip) ?? 0) + 1);
};
stream.on("test:pass", noteSkip);
stream.on("test:summary", ({ file, duration_ms: ms, counts }) => {
  if (file === undefined) return;
  const path = file.slice(file.lastIndexOf("/test/") + "/test/".length);
  const folder = path.split("/").slice(0, -1).slice(0, 2).join("/") || ".";
  const sum = folders.get(folder) ?? { ms: 0, tests: 0 };
  folders.set(folder, { ms: sum.ms + ms, tests: sum.tests + counts.tests });
});
for await (const text of stream.compose(spec())) process.stdout.write(text);

const seconds = (ms: number): string => (ms / 1000).toFixed(1);
const wall = performance.now() - began;
const rows = [...folders].sort(([, a], [, b]) => b.ms - a.ms);
const machine = `${cpus()[0]?.model ?? "an unknown processor"}, ${cpus().length} cores, Node ${process.versions.node}`;
process.stdout.write(`\ntime of each test folder, ${seconds(wall)} s together (${machine})\n`);
for (const [folder, { ms, tests }] of rows)
  process.stdout.write(`${seconds(ms).padStart(8)} s  ${folder} (${tests})\n`);
if (flags.write) {
  const table = rows.map(([folder, { ms, tests }]) => `| \`${folder}\` | ${tests} | ${seconds(ms)} |`);
  writeFileSync(
    "docs/testTimes.md",
    `# How long the tests take

${new Date().toISOString().slice(0, 10)}, ${machine}: ${seconds(wall)} s together. Files run side by side, one process each, so the folders' sums are longer.
Written by \`node scripts/test.ts --write\`; every run prints the same table.

| folder of \`test/\` | tests | seconds |
|---|--:|--:|
${table.join("\n")}
`,
  );
}
const reasons = [...skipped].map(([reason, count]) => `${count} × ${reason}`);
process.stdout.write(reasons.length === 0 ? "nothing was skipped\n" : `skipped: ${reasons.join(" · ")}\n`);
process.exitCode = failed ? 1 : 0;
