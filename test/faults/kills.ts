// Test support: many more kills of a saving process than a test has time for. node test/faults/kills.ts [COUNT] prints
// a table row with the machine and the date; test/faults/results/kills.md keeps the last long run.
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { killSaves } from "../checkpoint/killSaves.ts";
import { draws } from "../seeded.ts";

const count = Number(process.argv[2] ?? 1000);
const root = await mkdtemp(join(tmpdir(), "densenet-kills-"));
const began = performance.now();
try {
  const { kills, saves, unprinted } = await killSaves(join(root, "run"), count, draws("many kills of a save"));
  const minutes = ((performance.now() - began) / 60_000).toFixed(1);
  const machine = `${cpus()[0]?.model ?? "unknown processor"}, Node ${process.versions.node}`;
  const row = [kills, saves, unprinted, 0, minutes, machine, new Date().toISOString().slice(0, 10)];
  process.stdout.write(
    "| kills | saves that returned | kills after which a newer save was whole | lost or damaged | minutes | machine " +
      "| date |\n",
  );
  process.stdout.write(`|${" --: |".repeat(5)} --- | --- |\n`);
  process.stdout.write(`| ${row.join(" | ")} |\n`);
} finally {
  await rm(root, { recursive: true, force: true });
}
