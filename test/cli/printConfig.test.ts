import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { densenet } from "./command.ts";

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "densenet-config-"));
});
after(() => rm(folder, { recursive: true }));

async function configFile(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

test("--print-config · flag over file over preset over default, each named", async () => {
  const file = await configFile("a.json", JSON.stringify({ lr: 0.05, epochs: 7, data: { augment: "none" } }));
  const args = ["train", "--preset", "quick", "--config", file, "--lr", "0.2", "--print-config", "--json"];
  const { code, stdout } = await densenet(args);
  assert.equal(code, 0);
  const { config, sources } = JSON.parse(stdout);
  assert.deepEqual([config.lr, sources.lr], [0.2, "flag"]);
  assert.deepEqual([config.epochs, sources.epochs], [7, "config file"]);
  assert.deepEqual([config.data.augment, sources["data.augment"]], ["none", "config file"]);
  assert.deepEqual([config.schedule, sources.schedule], ["cosine", "preset"]);
  assert.deepEqual([config.momentum, sources.momentum], [0.9, "default"]);
});

test("--print-config · the paper's recipe for CIFAR-100 without augmentation (section 4.2)", async () => {
  const { stdout } = await densenet(["train", "--preset", "paper-cifar100", "--print-config", "--json"]);
  const { config } = JSON.parse(stdout);
  assert.deepEqual(
    [
      config.epochs,
      config.batchSize,
      config.lr,
      config.milestones,
      config.gamma,
      config.weightDecay,
      config.momentum,
      config.nesterov,
      config.dropRate,
    ],
    [300, 64, 0.1, [0.5, 0.75], 0.1, 1e-4, 0.9, true, 0.2],
  );
});

test("--print-config · as text: a line for each setting, with its source", async () => {
  const { stdout } = await densenet(["train", "--seed", "5", "--print-config"]);
  assert.match(stdout, /^seed +5 +flag$/m);
  assert.match(stdout, /^model\.variant +BC-40-12 +default$/m);
  assert.match(stdout, /^data\.dir +embedded +default$/m);
});

test("--config · a byte order mark in front is passed over", async () => {
  const file = await configFile("marked.json", '\uFEFF{"epochs": 7}');
  const { code, stdout, stderr } = await densenet(["train", "--config", file, "--print-config"]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^epochs +7 +config file$/m);
});

test("--workers is --threads", async () => {
  const { stdout } = await densenet(["train", "--workers", "1", "--print-config", "--json"]);
  assert.equal(JSON.parse(stdout).config.threads, 1);
});

const BROKEN: readonly { name: string; text?: string; code: number; says: RegExp }[] = [
  { name: "missing.json", code: 3, says: /missing\.json: does not exist/ },
  { name: "cut.json", text: '{"lr": ', code: 3, says: /cut\.json: is not JSON/ },
  { name: "list.json", text: "[1]", code: 2, says: /list\.json: got \[1\], expected an object/ },
  { name: "typo.json", text: '{"epocs": 3}', code: 2, says: /epocs in .*typo\.json: .*did you mean epochs\?/ },
  { name: "type.json", text: '{"lr": "fast"}', code: 2, says: /lr in .*type\.json: got "fast", expected a number/ },
];

for (const { name, text, code, says } of BROKEN) {
  test(`--config ${name} · exit ${code}`, async () => {
    const path = text === undefined ? join(folder, name) : await configFile(name, text);
    const outcome = await densenet(["train", "--config", path, "--print-config"]);
    assert.equal(outcome.code, code);
    assert.match(outcome.stderr, says);
  });
}
