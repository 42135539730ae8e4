// `densenet runs` and what `train --notes --tensorboard` leaves in a run's folder.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { crc32c } from "../../src/run/tensorBoard.ts";
import { densenet, events } from "./command.ts";
import { makeImages, tinyConfig } from "./images.ts";

const NOTES = 'half the rate, "again" <b>';
let root = "";
let runs = "";
let trained: Record<string, unknown>[] = [];
before(async () => {
  root = await mkdtemp(join(tmpdir(), "densenet-runs-"));
  runs = join(root, "runs");
  const data = join(root, "images");
  await makeImages(data, 8);
  const config = join(root, "config.json");
  await writeFile(config, JSON.stringify(tinyConfig(data, 2)));
  const first = await densenet([
    "train",
    "--config",
    config,
    "--output",
    join(runs, "first"),
    "--tensorboard",
    "--json",
  ]);
  assert.equal(first.code, 0, first.stderr);
  trained = events(first.stdout);
  const others = ["--lr", "0.05", "--notes", NOTES, "--epochs", "1"];
  const second = await densenet(["train", "--config", config, "--output", join(runs, "second"), ...others]);
  assert.equal(second.code, 0, second.stderr);
  await mkdir(join(runs, "odd"));
  await writeFile(join(runs, "odd", "config.json"), "no JSON");
  await mkdir(join(runs, "none"));
});
after(() => rm(root, { recursive: true }));

test("runs list · a line for each run, notes and state; a folder that is no run is passed over, a broken one named", async () => {
  const { code, stdout, stderr } = await densenet(["runs", "list", runs]);
  assert.equal(code, 0, stderr);
  const [header, first, second, ...others] = stdout.trimEnd().split("\n");
  assert.match(header ?? "", /^run +network +parameters +epochs +final error +lowest +loss +time +state +notes$/);
  assert.match(first ?? "", /first +.* 2 of 2 +\d+\.\d\d % .* finished$/);
  assert.ok(second?.endsWith(`finished  ${NOTES}`));
  assert.deepEqual(others, []);
  assert.match(stderr, /^left out: .*odd\/config\.json: is not JSON/);
});

test("runs list --json · what the folders say, as the runs reported it", async () => {
  const { stdout } = await densenet(["runs", "list", join(runs, "first"), "--json"]);
  const [found, ...others] = JSON.parse(stdout);
  assert.equal(others.length, 0);
  const end = trained.at(-1) as { final: unknown; best: unknown };
  assert.deepEqual([found.final, found.best], [end.final, end.best]);
  assert.deepEqual([found.state, found.epochsPlanned, found.notes, found.epochs.length], ["finished", 2, "", 2]);
  assert.equal(found.params, trained.find(({ type }) => type === "start")?.params);
});

test("runs compare · the settings that differ, and a page with every run's curves, escaped", async () => {
  const output = join(root, "page.html");
  const pair = [join(runs, "first"), join(runs, "second")];
  const { code, stdout } = await densenet(["runs", "compare", ...pair, "--output", output]);
  assert.equal(code, 0);
  const rows = stdout.slice(stdout.indexOf("\nsetting")).trim().split("\n");
  assert.deepEqual(
    rows.slice(1, 5).map((row) => row.split(/ {2,}/)[0]),
    ["epochs", "lr", "tensorBoard", "notes"],
  );
  const html = await readFile(output, "utf8");
  assert.equal([...html.matchAll(/<figure class="chart plot"/g)].length, 4);
  for (const run of pair) assert.ok(html.includes(`${run}, epoch 1: `));
  assert.ok(html.includes("&quot;again&quot; &lt;b&gt;") && !html.includes("<b>"));
  assert.ok(!/<script|<link|https?:/.test(html));
  const json = JSON.parse((await densenet(["runs", "compare", ...pair, "--output", output, "--json"])).stdout);
  assert.deepEqual(json.differences.lr, ["0.1", "0.05"]);
});

for (const [name, args, code, says] of [
  ["one run", ["compare", "RUNS/first"], 2, /runs compare: got 1, expected from 2 to 12 runs/],
  ["one run, named twice", ["compare", "RUNS/first", "RUNS/first/"], 2, /runs compare: got 1, expected/],
  ["a folder that is missing", ["list", "RUNS/nowhere"], 3, /nowhere: cannot be read, expected a folder of runs/],
  ["a run whose settings are broken, asked for itself", ["list", "RUNS/odd"], 3, /odd\/config\.json: is not JSON/],
  ["an output that cannot be", ["compare", "RUNS", "--output", "RUNS/no/page.html"], 2, /--output: the folder/],
] as const) {
  test(`runs · ${name} · exit ${code}`, async () => {
    const given = args.map((word) => word.replaceAll("RUNS", runs));
    const outcome = await densenet(["runs", ...given], { cwd: root });
    assert.equal(outcome.code, code, outcome.stderr);
    assert.match(outcome.stderr, says);
  });
}

test("train --notes · stands in the report, escaped", async () => {
  const report = await readFile(join(runs, "second", "report.html"), "utf8");
  assert.ok(report.includes('<p class="lede notes">half the rate, &quot;again&quot; &lt;b&gt;</p>'));
});

test("train --tensorboard · whole records with right checksums; without it no event file", async () => {
  const files = async (run: string): Promise<string[]> =>
    (await readdir(join(runs, run))).filter((name) => name.startsWith("events.out.tfevents."));
  assert.deepEqual(await files("second"), []);
  const [file = "", ...others] = await files("first");
  assert.deepEqual(others, []);
  const bytes = new Uint8Array(await readFile(join(runs, "first", file)));
  const view = new DataView(bytes.buffer);
  const unmasked = (at: number): number => {
    const rotated = (view.getUint32(at, true) - 0xa282ead8) >>> 0;
    return ((rotated >>> 17) | (rotated << 15)) >>> 0;
  };
  const records: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(view.getBigUint64(at, true));
    assert.equal(unmasked(at + 8), crc32c(bytes.subarray(at, at + 8)));
    assert.equal(unmasked(at + 12 + length), crc32c(bytes.subarray(at + 12, at + 12 + length)));
    records.push(new TextDecoder().decode(bytes.subarray(at + 12, at + 12 + length)));
    at += 16 + length;
  }
  const having = (tag: string): number => records.filter((record) => record.includes(tag)).length;
  const count = (type: string): number => trained.filter((event) => event.type === type).length;
  assert.deepEqual([having("loss/update"), having("loss/validation")], [count("step"), count("epoch")]);
  assert.equal(having("features.conv0.weight"), 2);
  assert.ok(having("right/") + having("wrong/") === 1);
});
