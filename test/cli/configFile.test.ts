import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { exitCodeOf } from "../../src/cli/exitCodes.ts";
import { resolveTrainConfig } from "../../src/cli/trainConfig.ts";
import type { DenseNetError } from "../../src/errors.ts";
import { densenet } from "./command.ts";

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "densenet-config-"));
});
after(() => rm(folder, { recursive: true }));

interface Row {
  readonly name: string;
  /** What the file holds: text, bytes or, said with a function, what stands in its place. */
  readonly holds: string | Uint8Array | ((path: string) => Promise<void>);
  readonly code: number;
  /** Of the message behind the file's name or `KEY in FILE`. */
  readonly says: RegExp;
}

const deep = (levels: number, core = "1"): string => "[".repeat(levels) + core + "]".repeat(levels);

const ROWS: readonly Row[] = [
  // Whether it is a file at all
  { name: "missing", holds: async () => {}, code: 3, says: /^FILE: does not exist, expected a JSON file of settings$/ },
  {
    name: "a link to itself",
    holds: (path) => symlink(path, path),
    code: 3,
    says: /^FILE: is a link that leads back to itself \(ELOOP\), expected a JSON file of settings$/,
  },
  { name: "a folder", holds: (path) => symlink(tmpdir(), path), code: 3, says: /^FILE: is a folder/ },
  {
    name: "a device that never ends",
    holds: (path) => symlink("/dev/zero", path),
    code: 3,
    says: /^FILE: is a device, expected a JSON file of settings$/,
  },
  {
    name: "a named pipe that nobody writes to",
    holds: async (path) => void execFileSync("mkfifo", [path]),
    code: 3,
    says: /^FILE: is a named pipe, expected a JSON file of settings$/,
  },
  { name: "empty", holds: "", code: 3, says: /^FILE: is empty/ },
  { name: "blank", holds: " \n\t\n", code: 3, says: /^FILE: is empty/ },
  { name: "a mark and nothing", holds: "\uFEFF", code: 3, says: /^FILE: is empty/ },
  {
    name: "10 MB",
    holds: `{"lr": ${" ".repeat(10_000_000)}0.1}`,
    code: 3,
    says: /^FILE: has 100000\d\d bytes, expected a JSON file of settings of at most 1000000$/,
  },
  {
    name: "UTF-16, as PowerShell writes",
    holds: Buffer.from("\uFEFF{}", "utf16le"),
    code: 3,
    says: /^FILE: is not text in UTF-8/,
  },
  { name: "Latin 1", holds: Buffer.from('{"model": "é"}', "latin1"), code: 3, says: /^FILE: is not text in UTF-8/ },
  {
    name: "a PNG",
    holds: Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10),
    code: 3,
    says: /^FILE: is not text in UTF-8/,
  },
  { name: "zeros", holds: new Uint8Array(64), code: 3, says: /^FILE: is not JSON/ },
  // Whether it is JSON
  { name: "cut off", holds: '{"lr": ', code: 3, says: /^FILE: is not JSON \(Unexpected end of JSON input\)/ },
  { name: "a comma too many", holds: '{"lr": 0.1,}', code: 3, says: /^FILE: is not JSON \(.*line 1 column 12\)/ },
  { name: "a comment", holds: '// mine\n{"lr": 0.1}', code: 3, says: /^FILE: is not JSON \(Unexpected token '\/'/ },
  { name: "single quotes", holds: "{'lr': 0.1}", code: 3, says: /^FILE: is not JSON/ },
  { name: "keys without quotes", holds: "{lr: 0.1}", code: 3, says: /^FILE: is not JSON/ },
  { name: "YAML", holds: "lr: 0.1\nepochs: 3\n", code: 3, says: /^FILE: is not JSON/ },
  { name: "NaN", holds: '{"lr": NaN}', code: 3, says: /^FILE: is not JSON \(Unexpected token 'N'/ },
  { name: "two documents", holds: '{"lr": 0.1}\n{"lr": 0.2}', code: 3, says: /^FILE: is not JSON .*line 2 column 1/ },
  { name: "a line end in a text", holds: '{"a\nb": 1}', code: 3, says: /^FILE: is not JSON \(Bad control character/ },
  {
    name: "a key twice",
    holds: '{"lr": 0.1,\n "lr": 0.2}',
    code: 3,
    says: /^FILE: gives "lr" twice, the second time in line 2/,
  },
  {
    name: "a key twice in a group",
    holds: '{"data": {"dir": "a", "dir": "b"}}',
    code: 3,
    says: /^FILE: gives "dir" twice/,
  },
  { name: "a key twice, once escaped", holds: '{"lr": 1, "\\u006cr": 2}', code: 3, says: /^FILE: gives "lr" twice/ },
  { name: "a group twice", holds: '{"data": {}, "lr": 1, "data": {}}', code: 3, says: /^FILE: gives "data" twice/ },
  // Whether it is an object of settings
  { name: "null", holds: "null", code: 2, says: /^FILE: got null, expected an object of settings$/ },
  { name: "a number", holds: "7", code: 2, says: /^FILE: got 7, expected an object of settings$/ },
  { name: "a text", holds: '"quick"', code: 2, says: /^FILE: got "quick", expected an object/ },
  { name: "a list", holds: "[{}]", code: 2, says: /^FILE: got \[\{\}\], expected an object/ },
  { name: "true", holds: "true", code: 2, says: /^FILE: got true, expected an object/ },
  {
    name: "lists in lists, 400,000 deep",
    holds: deep(400_000),
    code: 2,
    says: /^FILE: got .{1,100}, expected an object/,
  },
  {
    name: "lists 400,000 deep in a setting",
    holds: `{"lr": ${deep(400_000)}}`,
    code: 2,
    says: /^lr in FILE: got .{1,100}, expected a number/,
  },
  // Keys
  {
    name: "a key misspelt",
    holds: '{"epocs": 3}',
    code: 2,
    says: /^epocs in FILE: there is no such setting; did you mean epochs\?$/,
  },
  {
    name: "a key with underscores",
    holds: '{"batch_size": 3}',
    code: 2,
    says: /^batch_size in FILE: .* did you mean batchSize\?$/,
  },
  { name: "a key in capitals", holds: '{"LR": 3}', code: 2, says: /^LR in FILE: .* did you mean lr\?$/ },
  { name: "a flag's name", holds: '{"sched": "cosine"}', code: 2, says: /^sched in FILE: .* did you mean schedule\?$/ },
  {
    name: "a flag's name with hyphens",
    holds: '{"grad-accum-steps": 2}',
    code: 2,
    says: /did you mean accumulationSteps\?$/,
  },
  {
    name: "a key out of its group",
    holds: '{"augment": "none"}',
    code: 2,
    says: /^augment in FILE: .* did you mean data\.augment\?$/,
  },
  {
    name: "a dotted key",
    holds: '{"data.augment": "none", "data": {"augment": "none"}}',
    code: 2,
    says: /is the same setting as/,
  },
  {
    name: "a key of another group",
    holds: '{"data": {"lr": 1}}',
    code: 2,
    says: /^data\.lr in FILE: there is no such setting/,
  },
  {
    name: "a key near to none",
    holds: '{"colour": "red"}',
    code: 2,
    says: /^colour in FILE: .*; expected one of model, data, epochs, /,
  },
  {
    name: "__proto__",
    holds: '{"__proto__": {"lr": 1}}',
    code: 2,
    says: /^__proto__ in FILE: there is no such setting/,
  },
  {
    name: "constructor",
    holds: '{"model": {"constructor": 1}}',
    code: 2,
    says: /^model\.constructor in FILE: there is no such setting/,
  },
  { name: "an empty key", holds: '{"": 1}', code: 2, says: /^"" in FILE: there is no such setting/ },
  {
    name: "a key of 100,000 letters",
    holds: `{"${"k".repeat(100_000)}": 1}`,
    code: 2,
    says: /^"k{70,80}… in FILE: there is no such setting/,
  },
  {
    name: "a key that moves the cursor",
    holds: '{"\\u001b[2J": 1}',
    code: 2,
    says: /^"\\u001b\[2J" in FILE: there is no such setting/,
  },
  {
    name: "both names of a setting",
    holds: '{"storage": "f32", "activationDtype": "f32"}',
    code: 2,
    says: /is the same setting as storage in FILE/,
  },
  {
    name: "a field of another family",
    holds: '{"model": {"variant": "BC-40-12", "widths": [8]}}',
    code: 2,
    says: /^model\.widths in FILE: .*no such field/,
  },
  // Values
  {
    name: "a text for a number",
    holds: '{"lr": "0.1"}',
    code: 2,
    says: /^lr in FILE: got "0\.1", expected a number above 0$/,
  },
  {
    name: "null for a number",
    holds: '{"lr": null}',
    code: 2,
    says: /^lr in FILE: got null, expected a number above 0$/,
  },
  {
    name: "a number past all numbers",
    holds: '{"lr": 1e999}',
    code: 2,
    says: /^lr in FILE: got Infinity, expected a number above 0$/,
  },
  {
    name: "a fraction of an epoch",
    holds: '{"epochs": 1.5}',
    code: 2,
    says: /^epochs in FILE: got 1\.5, expected a whole number from 1/,
  },
  {
    name: "a number for a switch",
    holds: '{"nesterov": 1}',
    code: 2,
    says: /^nesterov in FILE: got 1, expected true or false$/,
  },
  {
    name: "a list for a number",
    holds: '{"batchSize": [64]}',
    code: 2,
    says: /^batchSize in FILE: got \[64\], expected a whole number/,
  },
  {
    name: "an object for a number",
    holds: '{"lr": {"value": 1}}',
    code: 2,
    says: /^lr in FILE: got \{"value":1\}, expected a number/,
  },
  {
    name: "a number for a list",
    holds: '{"milestones": 0.5}',
    code: 2,
    says: /^milestones in FILE: got 0\.5, expected a list/,
  },
  {
    name: "milestones that fall",
    holds: '{"milestones": [0.7, 0.5]}',
    code: 2,
    says: /^milestones in FILE: got \[0\.7,0\.5\], expected .*ascending/,
  },
  {
    name: "a choice misspelt",
    holds: '{"schedule": "cosin"}',
    code: 2,
    says: /^schedule in FILE: got "cosin", .*; did you mean cosine\?$/,
  },
  {
    name: "an empty folder name",
    holds: '{"data": {"dir": ""}}',
    code: 2,
    says: /^data\.dir in FILE: got "", expected a text that is not empty$/,
  },
  {
    name: "a text for a group",
    holds: '{"model": "121"}',
    code: 2,
    says: /^model in FILE: got "121", expected an object of settings$/,
  },
  {
    name: "null for a group",
    holds: '{"data": null}',
    code: 2,
    says: /^data in FILE: got null, expected an object of settings$/,
  },
  {
    name: "a list for a group",
    holds: '{"data": []}',
    code: 2,
    says: /^data in FILE: got \[\], expected an object of settings$/,
  },
  {
    name: "a network that there is not",
    holds: '{"model": {"variant": "12l"}}',
    code: 2,
    says: /^model\.variant in FILE: no model is named "12l"; did you mean 121\?/,
  },
  {
    name: "a million blocks",
    holds: `{"model": {"blockConfig": [${Array(300_000).fill(1)}]}}`,
    code: 2,
    says: /^model\.blockConfig in FILE: got .{1,100}, expected a list of/,
  },
  {
    name: "micro-batches that do not divide",
    holds: '{"accumulationSteps": 7}',
    code: 2,
    says: /^accumulationSteps in FILE: a batch of 64 images cannot be split/,
  },
  {
    name: "more memory than there is",
    holds: '{"batchSize": 1048576, "data": {"imageSize": 16384}}',
    code: 5,
    says: /^batchSize in FILE: BC-40-12 on 1048576 images/,
  },
];

for (const { name, holds, code, says } of ROWS) {
  test(`--config · ${name} · ${code}`, { timeout: 5000 }, async () => {
    const path = join(folder, `${name.replaceAll(/\W+/g, "-")}.json`);
    if (typeof holds === "function") await holds(path);
    else await writeFile(path, holds);
    const error = await resolveTrainConfig({ config: path }).then(
      () => assert.fail("was taken"),
      (reason: unknown) => reason as DenseNetError,
    );
    assert.equal(exitCodeOf(error), code, error.message.slice(0, 1000));
    const message = error.message.replaceAll(path, "FILE");
    assert.match(message, says);
    assert.doesNotMatch(message, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u, "one line, without control characters");
    assert.ok(message.length < 700, `${message.length} characters`);
  });
}

const TAKEN: readonly (readonly [name: string, text: string])[] = [
  ["nothing but an object", "{}"],
  ["a byte order mark in front", "\uFEFF{}"],
  ["Windows line ends", '{\r\n  "lr": 0.1\r\n}\r\n'],
  [
    "the same key in two groups and in a list",
    '{"model": {"variant": "121"}, "data": {"dir": "a{\\"b\\":1}"}, "milestones": [0.5]}',
  ],
  ["a text that looks like keys", '{"data": {"dir": "\\"lr\\": 1, \\"lr\\": 2 {["}, "lr": 0.1}'],
];
for (const [name, text] of TAKEN) {
  test(`--config · taken: ${name}`, async () => {
    const path = join(folder, "taken.json");
    await writeFile(path, text);
    assert.equal((await resolveTrainConfig({ config: path })).config.lr, 0.1);
  });
}

test("--config · a mistake through the command is one line on stderr and its exit code", async () => {
  const path = join(folder, "typo.json");
  await writeFile(path, '{"epocs": 3}');
  const { code, stdout, stderr } = await densenet(["train", "--config", path]);
  assert.equal(code, 2);
  assert.equal(stdout, "");
  assert.equal(stderr, `densenet: epocs in ${path}: there is no such setting; did you mean epochs?\n`);
});
