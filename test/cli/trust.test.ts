// A run fits temperature and thresholds on its validation images; eval measures with them and predict answers by them.
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { encodeModel } from "../../src/checkpoint/checkpoint.ts";
import { loadCheckpoint } from "../../src/checkpoint/store.node.ts";
import { densenet, type Outcome } from "./command.ts";
import { CLASSES, makeImages, tinyConfig } from "./images.ts";

let root = "";
let data = "";
let run = "";
let trained: Outcome;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "densenet-trust-"));
  data = join(root, "images");
  run = join(root, "run");
  await makeImages(data, 60);
  // Every fifth label is wrong, so that being sure is a mistake.
  for (let n = 0; n < 60; n += 5) {
    const [last = "", ...others] = [...CLASSES].reverse().map((name) => join(data, name, `${n}.png`));
    await rename(last, join(root, "aside.png"));
    let free = last;
    for (const file of others) {
      await rename(file, free);
      free = file;
    }
    await rename(join(root, "aside.png"), free);
  }
  await writeFile(join(root, "config.json"), JSON.stringify(tinyConfig(data, 4)));
  trained = await densenet(["train", "--config", join(root, "config.json"), "--output", run]);
  assert.equal(trained.code, 0, trained.stderr);
});
after(() => rm(root, { recursive: true }));

test("train · last and best checkpoint carry a calibration, the report shows it", async () => {
  for (const pointer of ["last", "best"] as const) {
    const { calibration } = (await loadCheckpoint(run, pointer)).trained;
    assert.equal(calibration?.count, 45);
    assert.ok(calibration.temperature > 0.2 && calibration.temperature < 20);
    assert.equal(calibration.classes.length, 3);
  }
  const { calibration } = (await loadCheckpoint(run)).trained;
  const report = await readFile(join(run, "report.html"), "utf8");
  assert.ok(report.includes(`the temperature ${calibration?.temperature.toFixed(3)}`));
  assert.match(report, /Reliability diagram: the mean difference/);
  assert.match(report, /Precision and recall of every class/);
});

test("eval --json · before and after calibration, and the scores of the classes; the loss stays the network's", async () => {
  const { code, stdout, stderr } = await densenet(["eval", run, "--json"]);
  assert.equal(code, 0, stderr);
  const found = JSON.parse(stdout);
  assert.ok(Math.abs(found.loss - found.uncalibrated.loss) < 1e-5);
  assert.ok(found.calibrated.loss < found.uncalibrated.loss);
  for (const { calibrationError, brier, bins } of [found.calibrated, found.uncalibrated]) {
    assert.ok(calibrationError > 0 && calibrationError < 1 && brier > 0 && brier < 2);
    assert.equal(bins.length, 15);
  }
  const { temperature } = found.calibration;
  assert.equal(temperature, (await loadCheckpoint(run)).trained.calibration?.temperature);
  for (const { recall, error, precision, f1 } of found.classes) {
    assert.ok(Math.abs(100 * (1 - recall) - error) < 1e-9);
    assert.ok(Math.abs(f1 - (2 * precision * recall) / (precision + recall)) < 1e-12);
  }
});

test("eval --output · the classes as comma-separated values; the text has the same", async () => {
  const file = join(root, "classes.csv");
  const { code, stdout } = await densenet(["eval", run, "--output", file]);
  assert.equal(code, 0);
  const [header, ...rows] = (await readFile(file, "utf8")).trimEnd().split("\n");
  assert.equal(header, "class,precision,recall,f1,images,predicted");
  assert.deepEqual(
    rows.map((row) => row.split(",")[0]),
    CLASSES,
  );
  for (const row of rows) {
    const [name = "", precision, recall, f1, images] = row.split(",");
    const shares = [precision, recall, f1].map((share) => `${(100 * Number(share)).toFixed(1)} %`);
    assert.match(stdout, new RegExp(`^${name} .* ${shares.join(" +")} +${images}$`, "m"));
  }
  assert.match(stdout, /^ECE +\d.*with the checkpoint's temperature \d\.\d{3}; \d+\.\d\d % without$/m);
  const refused = await densenet(["eval", run, "--output", join(root, "nowhere", "a.csv")]);
  assert.deepEqual([refused.code, refused.stdout], [2, ""]);
});

test("predict · probabilities are those of the temperature that the checkpoint carries", async () => {
  const { trained } = await loadCheckpoint(run);
  const file = join(data, "red", "1.png");
  const scores = async (checkpoint: string): Promise<number[]> => {
    const { stdout } = await densenet(["predict", checkpoint, file, "--top-k", "3", "--json"]);
    return JSON.parse(stdout)[0].top.map(({ score }: { score: number }) => score);
  };
  const calibrated = await scores(run);
  const bare = join(root, "bare.safetensors");
  const { calibration, ...uncalibrated } = trained;
  await writeFile(bare, encodeModel(uncalibrated));
  const powers = (await scores(bare)).map((score) => score ** (1 / (calibration?.temperature ?? 0)));
  const total = powers.reduce((a, b) => a + b, 0);
  for (const [rank, power] of powers.entries()) assert.ok(Math.abs(power / total - (calibrated[rank] ?? 0)) < 1e-9);

  const asked = await densenet(["predict", bare, file, "--min-confidence", "class"]);
  assert.deepEqual([asked.code, asked.stdout], [3, ""]);
  assert.match(asked.stderr, /^densenet: .*bare\.safetensors: has no calibration, .*expected --min-confidence with a/);
  assert.equal((await densenet(["predict", bare, file, "--min-confidence", "0.5"])).code, 0);
});

test("predict --min-confidence · a number, precision:… and class say which answers are sure, in text, JSON and CSV", async () => {
  const { calibration } = (await loadCheckpoint(run)).trained;
  const files = CLASSES.map((name) => join(data, name, "1.png"));
  const ask = async (value: string, ...others: string[]): Promise<Outcome> =>
    densenet(["predict", run, ...files, "--min-confidence", value, ...others]);
  const all = JSON.parse((await ask("0", "--json")).stdout);
  assert.ok(all.every(({ sure }: { sure: boolean }) => sure));
  const none = await ask("1");
  assert.match(none.stdout, /^(\S+\.png +don't know, perhaps (blue|green|red) +\d+\.\d %\n){3}$/);
  const points = JSON.parse((await ask("class", "--json")).stdout);
  for (const { index, score, sure } of points) {
    assert.equal(sure, score >= (calibration?.classes[index]?.threshold ?? 2));
  }
  const reachable = calibration?.answers.find(({ threshold }) => threshold !== null);
  assert.ok(reachable);
  const output = join(root, "answers.csv");
  const table = await ask(`precision:${reachable.targetPrecision}`, "--output", output);
  assert.equal(table.code, 0, table.stderr);
  const [header, ...rows] = (await readFile(output, "utf8")).trimEnd().split("\n");
  assert.equal(header, "file,label,score,sure,error");
  for (const row of rows) {
    const [, , score, sure] = row.split(",");
    assert.equal(sure, Number(score) >= (reachable.threshold ?? 0) ? "yes" : "no");
  }
});

for (const [value, says] of [
  ["1.5", /got "1\.5", expected a number from 0 to 1, precision:0\.95 or class/],
  ["", /got ""/],
  ["precision:", /got "precision:"/],
  ["precision:0.97", /no threshold for a precision of 0\.97, expected one of 0\.8, 0\.9, 0\.95, 0\.98, 0\.99/],
] as const) {
  test(`predict --min-confidence "${value}" · exit 2`, async () => {
    const { code, stderr } = await densenet(["predict", run, join(data, "red", "1.png"), "--min-confidence", value]);
    assert.equal(code, 2);
    assert.match(stderr, says);
  });
}

test("train · a folder whose second split is called test is not fitted to: the report says so", async () => {
  const splits = join(root, "splits");
  await cp(data, join(splits, "train"), { recursive: true });
  await cp(data, join(splits, "test"), { recursive: true });
  const settings = { ...tinyConfig(splits, 1), data: { dir: splits, imageSize: 12 } };
  await writeFile(join(root, "splits.json"), JSON.stringify(settings));
  const output = join(root, "tested");
  const { code, stderr } = await densenet(["train", "--config", join(root, "splits.json"), "--output", output]);
  assert.equal(code, 0, stderr);
  assert.equal((await loadCheckpoint(output)).trained.calibration, undefined);
  assert.match(
    await readFile(join(output, "report.html"), "utf8"),
    /test images are not for fitting; --val-split 0\.1/,
  );
});
