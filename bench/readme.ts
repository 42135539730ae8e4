// bench: the README's table of speeds, made from the newest comparison on the CPU in bench/results, so that no figure
// is typed. node bench/readme.ts --write puts it between the two marks; --check, which npm test runs, fails where it
// differs.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UsageError, VerificationError } from "../src/errors.ts";
import { choice } from "./options.ts";
import { reportFailure, say } from "./output.ts";
import type { Comparison, PeerDocument } from "./peers.ts";
import { markdownTable, resultsFolder } from "./results.ts";
import type { Spread } from "./statistics.ts";

const readmePath = join(import.meta.dirname, "..", "README.md");
const marks = ["<!-- speeds: node bench/readme.ts --write -->", "<!-- end of speeds -->"] as const;

const spread = ({ median, lowest, highest }: Spread, digits: number): string =>
  `${median.toFixed(digits)} (${lowest.toFixed(digits)}–${highest.toFixed(digits)})`;

function speedTable({ date, cpu, cores, threads, node, rounds, steps, comparisons }: PeerDocument): string {
  const peers = [...new Set(comparisons.flatMap(({ contestants }) => contestants.slice(1).map(({ who }) => who)))];
  const cells = ({ net, mode, batch, contestants: [ours, ...others] }: Comparison): string[] => [
    `${net}, ${mode === "train" ? "training" : "inference"}, batch ${batch}`,
    ours ? spread(ours.imagesPerSecond, 1) : "–",
    ...peers.map((peer) => {
      const ratio = others.find(({ who }) => who === peer)?.ratio;
      return ratio ? spread(ratio, 2) : "–";
    }),
  ];
  const header = ["", "images/s", ...peers.map((peer) => `÷ ${peer}`)];
  return `${date.slice(0, 10)}, ${cpu}, ${threads} threads on ${cores} cores, Node ${node}: median (lowest–highest) of ${rounds} rounds of ${steps} steps. Each round runs
everyone in turn; "÷" is our images per second over theirs in the same round, so above 1 ours is faster.

${markdownTable([header, ...comparisons.map(cells)], header.map((_, column) => column).slice(1))}`;
}

function newestComparison(): PeerDocument {
  const newest = readdirSync(resultsFolder)
    .filter((file) => /^peers-\d.*\.json$/.test(file))
    .sort()
    .at(-1);
  if (newest === undefined) {
    throw new UsageError(`${resultsFolder} holds no comparison: npm run bench:peers -- --suite --output makes one`);
  }
  return JSON.parse(readFileSync(join(resultsFolder, newest), "utf8"));
}

function main(args: readonly string[]): void {
  const action = choice("bench/readme.ts", args[0] ?? "", ["--write", "--check"]);
  const readme = readFileSync(readmePath, "utf8");
  const [begin, end] = marks.map((mark) => readme.indexOf(mark));
  if (begin === undefined || end === undefined || begin < 0 || end < begin) {
    throw new VerificationError(`README.md lacks the marks of its table of speeds, ${marks.join(" and ")}`);
  }
  const wanted = `${readme.slice(0, begin + marks[0].length)}\n${speedTable(newestComparison())}\n${readme.slice(end)}`;
  if (action === "--write") writeFileSync(readmePath, wanted);
  else if (readme !== wanted) {
    throw new VerificationError(
      "README.md's table of speeds is not that of the newest comparison in bench/results: node bench/readme.ts --write",
    );
  }
  say(`README.md: speeds ${action === "--write" ? "written" : "are those of the newest comparison"}`);
}

try {
  main(process.argv.slice(2));
} catch (error) {
  process.exitCode = reportFailure(error, false);
}
