import assert from "node:assert/strict";
import { test } from "node:test";
import * as z from "zod";
import { settingGroups, settings } from "../../src/train/settings.ts";
import { densenet } from "./command.ts";

const VERBS = [
  "train",
  "eval",
  "predict",
  "export",
  "convert",
  "inspect",
  "analyze",
  "models",
  "runs",
  "data",
  "paper",
  "doctor",
  "demo",
];

test("densenet --help names every verb and the exit codes", async () => {
  const { code, stdout, stderr } = await densenet(["--help"]);
  assert.equal(code, 0);
  assert.equal(stderr, "");
  for (const verb of VERBS) assert.match(stdout, new RegExp(`^  ${verb} `, "m"));
  assert.match(stdout, /0 ok .* 1 bug .* 2 usage .* 3 bad input .* 4 diverged .* 5 out of/);
});

for (const verb of VERBS) {
  test(`densenet ${verb} --help has examples and exit codes, on stdout alone`, async () => {
    const { code, stdout, stderr } = await densenet([verb, "--help"]);
    assert.equal(code, 0);
    assert.equal(stderr, "");
    assert.match(stdout, new RegExp(`\\nExamples:\\n  \\$ densenet ${verb}`));
    assert.match(stdout, /\nExit codes:\n/);
    assert.match(stdout, /--json/);
  });
}

test("densenet train --help says what is held out of a folder without a val part, with 0 too", async () => {
  const { stdout } = await densenet(["train", "--help"]);
  assert.match(
    stdout.replace(/\s+/g, " "),
    /--val-split <n> .*default: 0, which takes none where .* 0\.1 of a folder without one\)/,
  );
});

test("densenet train --help · every setting's flag has its range and default, as the schema has them", async () => {
  const { stdout } = await densenet(["train", "--help"]);
  const help = stdout.replace(/\s+/g, " ");
  for (const [path, { flag, default: otherwise, defaultMeans, schema }] of settings) {
    if (flag === undefined) continue;
    const { name, value } = flag;
    const [, entry = ""] =
      new RegExp(`${name}${value === undefined ? "" : ` <${value}>`} (.*?\\)) (?:-|[A-Z]\\w+: )`).exec(help) ?? [];
    assert.ok(entry.includes(`default: ${defaultMeans ?? otherwise}`), `${path}: ${entry}`);
    // The bounds, asked of the validator rather than of what wrote the help.
    const numbers = (entry.match(/\((?:list of|whole|number|fraction).*/)?.[0].match(/\d+(?:\.\d+)?/g) ?? []).map(
      Number,
    );
    const json = z.toJSONSchema(schema);
    const [chosen = json] = (json.anyOf ?? [json]).filter(({ type }) => type !== "null");
    const { minimum, exclusiveMinimum, maximum, exclusiveMaximum } = chosen;
    for (const bound of [minimum, exclusiveMinimum, maximum, exclusiveMaximum]) {
      if (typeof bound === "number") assert.ok(numbers.includes(bound), `${path}: ${bound} is not in ${entry}`);
    }
    for (const choice of chosen.enum ?? [])
      assert.ok(entry.includes(String(choice)), `${path}: no ${choice} in ${entry}`);
    if (path !== "data.valSplit" && path !== "data.dir") {
      const inside = [minimum, maximum].filter((bound) => bound !== undefined);
      for (const bound of inside) assert.ok(schema.safeParse(bound).success, `${path}: ${bound} is in range`);
      if (maximum !== undefined) assert.ok(!schema.safeParse(Number(maximum) + 1).success, `${path}: above ${maximum}`);
      if (minimum !== undefined) assert.ok(!schema.safeParse(Number(minimum) - 1).success, `${path}: below ${minimum}`);
    }
  }
});

test("densenet train --help · groups in order, hidden names hidden", async () => {
  const { stdout } = await densenet(["train", "--help"]);
  const headings = [...stdout.matchAll(/^([A-Z]\w+):$/gm)].map(([, heading]) => heading);
  assert.deepEqual(headings.slice(0, 1 + settingGroups.length), ["Arguments", ...settingGroups]);
  assert.ok(!stdout.includes("Options:"), "nothing is outside a group");
  assert.ok(!stdout.includes("--workers"));
  assert.doesNotMatch(stdout, /picture|storage/i);
});

test("densenet eval --help says whose images are measured where none are named", async () => {
  const { stdout } = await densenet(["eval", "--help"]);
  assert.match(
    stdout.replace(/\s+/g, " "),
    /--data-dir <dir> [^(]*\(default: the run's; of a model without a run the CIFAR/,
  );
});

test("without a verb: help on stderr, exit 2", async () => {
  const { code, stdout, stderr } = await densenet([]);
  assert.equal(code, 2);
  assert.equal(stdout, "");
  assert.match(stderr, /Usage: densenet/);
});

test("--version is the package's", async () => {
  const { default: packageJson } = await import("../../package.json", { with: { type: "json" } });
  assert.equal((await densenet(["--version"])).stdout, `${packageJson.version}\n`);
});

const MISTAKES: readonly { args: readonly string[]; says: RegExp }[] = [
  { args: ["trian"], says: /unknown command 'trian'; did you mean train\?/ },
  { args: ["train", "--epoch", "3"], says: /unknown option '--epoch'; did you mean --epochs\?/ },
  { args: ["inspect", "CB-100-12"], says: /no model is named "CB-100-12"; did you mean BC-100-12\?/ },
  { args: ["train", "--preset", "quikc"], says: /no preset is named "quikc"; did you mean quick\?/ },
  { args: ["train", "--model", "12l"], says: /--model: no model is named "12l"; did you mean 121\?/ },
  { args: ["train", "--epochs", "many"], says: /--epochs: got "many", expected a whole number from 1/ },
  { args: ["train", "--epochs", ""], says: /--epochs: got "", expected a whole number/ },
  { args: ["train", "--epochs", "-3"], says: /--epochs: got -3, expected/ },
  { args: ["train", "--lr", "Infinity"], says: /--lr: got "Infinity", expected a number above 0/ },
  { args: ["train", "--threads", "0"], says: /--threads: got 0, expected a whole number from 1 to 64/ },
  { args: ["train", "--threads", "65"], says: /--threads: got 65, expected a whole number from 1 to 64/ },
  { args: ["train", "-j", "0"], says: /--threads: got 0, expected/ },
  { args: ["train", "--workers", "0"], says: /--workers: got 0, expected a whole number from 1 to 64/ },
  {
    args: ["train", "--device", "toString"],
    says: /--device: got "toString", expected one of auto, webgpu, wasm, reference/,
  },
  { args: ["train", "--activation-dtype", "f8"], says: /--activation-dtype: got "f8", expected one of f32, f16/ },
  {
    args: ["train", "--activation-dtype", "f16"],
    says: /--activation-dtype: feature maps in f16 with the device wasm, which has f32 only; expected webgpu or auto/,
  },
  {
    args: ["train", "--grad-accum-steps", "3"],
    says: /--grad-accum-steps: a batch of 64 images cannot be split into 3 equal micro-batches/,
  },
  {
    args: ["train", "--val-split", "1.5"],
    says: /--val-split: got 1\.5, expected a fraction .*or a whole number of images/,
  },
  { args: ["train", "--milestones", "0.5,x"], says: /--milestones: got \[0\.5,"x"\], expected a list of/ },
  {
    args: ["predict", "run", "file", "--activation-dtype", "f16", "--device", "reference"],
    says: /f16 is .* got it with reference/,
  },
  {
    args: ["train", "--sched", "cosin"],
    says: /--sched: got "cosin", expected one of multistep, cosine, constant; did you mean cosine\?/,
  },
  { args: ["train", "--preset", "paper-cifar100"], says: /--data-dir: not given, .* paper-cifar100/ },
  { args: ["train", "--resume", "x", "--preset", "quick"], says: /--preset: cannot be given with --resume/ },
  {
    args: ["eval", "bc-40-12.cifar10", "--split", "test", "--val-split", "0.2"],
    says: /--val-split 0\.2: holds images out of the training images, which --split test does not measure/,
  },
  { args: ["inspect"], says: /missing required argument 'name\|checkpoint'/ },
  { args: ["inspect", "121", "--input-size", "28"], says: /28×28 .* the smallest images that work are 29×29/ },
  { args: ["predict", "run"], says: /missing required argument 'file'/ },
  { args: ["inspect", "121", "169"], says: /too many arguments/ },
];

for (const { args, says } of MISTAKES) {
  test(`densenet ${args.join(" ")} · exit 2 · ${says.source}`, async () => {
    const { code, stdout, stderr } = await densenet(args);
    assert.equal(code, 2);
    assert.equal(stdout, "");
    assert.match(stderr, says);
    assert.match(stderr, /^densenet: [^\n]+\n$/, "one line and nothing else");
  });
}

/** Refused before anything is built: in less than a second more than starting the command takes. */
const ABSURD: readonly { args: readonly string[]; code: number; says: RegExp }[] = [
  {
    args: ["--batch-size", "1000000000"],
    code: 2,
    says: /^densenet: --batch-size: got 1000000000, expected a whole number/,
  },
  { args: ["--input-size", "100000"], code: 2, says: /^densenet: --input-size: got 100000, expected a whole number/ },
  {
    args: ["--batch-size", "1000000"],
    code: 5,
    says: /^densenet: --batch-size: BC-40-12 on 1000000 images of 4×4 at once needs at least \d+\.\d GiB of memory, expected at most 4\.0 GiB/,
  },
  {
    args: ["--batch-size", "1048576", "--input-size", "16384"],
    code: 5,
    says: /^densenet: --batch-size: BC-40-12 on 1048576 images of 16384×16384 at once needs at least/,
  },
];
for (const { args, code, says } of ABSURD) {
  test(`densenet train ${args.join(" ")} · exit ${code} at once`, async () => {
    const timed = async (command: readonly string[]) => {
      const began = performance.now();
      const outcome = await densenet(command);
      return { ...outcome, ms: performance.now() - began };
    };
    // Other processes may take the processor away from one of the two; not every time.
    const differences: number[] = [];
    while (differences.length < 4 && Math.min(...differences) > 1000) {
      const start = await timed(["doctor", "--help"]);
      const refused = await timed(["train", "--output", "/nowhere/at/all", ...args]);
      assert.equal(refused.code, code, refused.stderr);
      assert.match(refused.stderr, says);
      differences.push(refused.ms - start.ms);
    }
    assert.ok(Math.min(...differences) < 1000, `took ${differences.join(", ")} ms longer than --help`);
  });
}

test("--json · a mistake is also a JSON document with kind, message and details", async () => {
  for (const args of [
    ["inspect", "CB-100-12", "--json"],
    ["train", "--epoch", "3", "--json"],
  ]) {
    const { code, stdout, stderr } = await densenet(args);
    assert.equal(code, 2);
    const { error } = JSON.parse(stdout);
    assert.equal(error.kind, "UsageError");
    assert.equal(stderr, `densenet: ${error.message}\n`);
    assert.equal(typeof error.details, "object");
  }
});

test("no colour in a pipe; FORCE_COLOR colours", async () => {
  const esc = String.fromCharCode(27);
  assert.ok(!(await densenet(["trian"])).stderr.includes(esc));
  assert.ok((await densenet(["trian"], { env: { FORCE_COLOR: "1" } })).stderr.includes(esc));
});
