// The runs in results/ are whole, name no path of the machine they ran on, and begin again with the same losses.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { difference, firstUpdates } from "../../../scripts/checkResults.ts";
import { readResults, resultsFolder } from "../../../src/analyze/paper/results.node.ts";
import { FIRST_LOSSES, parseResult, RESULT_FILES, type ResultFile } from "../../../src/analyze/paper/results.ts";
import { InputError } from "../../../src/errors.ts";

const results = await readResults();
const textsOf = (name: string) =>
  Object.fromEntries(
    RESULT_FILES.map((file) => [file, readFileSync(join(resultsFolder, name, file), "utf8")]),
  ) as Record<ResultFile, string>;

describe("results", () => {
  it("there are some, one of them on the images that come with the package", () => {
    assert.ok(results.some(({ config }) => config.data.dir === "embedded"));
    assert.ok(results.some(({ column }) => column === "C10+"));
  });

  for (const result of results) {
    const { name, epochs, final, start, config, spec } = result;
    it(`${name}: epochs in order, errors between 0 and 100, ${FIRST_LOSSES} first losses`, () => {
      assert.deepEqual(
        epochs.map(({ epoch }) => epoch),
        Array.from({ length: config.epochs }, (_, index) => index + 1),
      );
      for (const { valTop1Error } of epochs) assert.ok(valTop1Error >= 0 && valTop1Error <= 100);
      assert.equal(final.epoch, config.epochs);
      assert.equal(start.firstLosses.length, FIRST_LOSSES);
      // The untrained network knows nothing: its first loss is near that of equal chances, farther where the variances of
      // residual branches add up.
      const farthest = spec.family === "resnet" ? 1 : 0.5;
      assert.ok(Math.abs(start.firstLosses[0] - Math.log(start.classes)) < farthest, `${start.firstLosses[0]}`);
    });

    it(`${name}: names no folder of the machine that it ran on`, () => {
      for (const [file, text] of Object.entries(textsOf(name))) assert.doesNotMatch(text, /["\s]\/\w/, file);
    });
  }

  for (const result of results.filter(({ config }) => config.data.dir === "embedded")) {
    it(`${result.name}: begins again with the same losses, and with others at another rate`, async () => {
      const again = await firstUpdates(result.config);
      const verdict = difference(result, again);
      assert.ok(verdict.ok, verdict.words);
      const other = await firstUpdates({ ...result.config, lr: 1.1 * result.config.lr });
      assert.equal(difference(result, other).ok, false);
    });
  }

  const [{ name }] = results;
  const damaged: readonly (readonly [
    what: string,
    file: ResultFile,
    damage: (text: string) => string,
    says: RegExp,
  ])[] = [
    ["an epoch is missing", "metrics.csv", (text) => text.trim().split("\n").slice(0, -1).join("\n"), /has \d+ epochs/],
    ["a figure is none", "metrics.csv", (text) => text.replace(/\d+\.\d+/, "many"), /metrics\.csv: is not what/],
    ["a setting is unknown", "config.json", (text) => text.replace('"lr"', '"rate"'), /config\.json: is not what/],
    ["the machine is missing", "environment.json", (text) => text.replace('"cpu"', '"gpu"'), /environment\.json: /],
    ["a loss is a word", "start.json", (text) => text.replace(/\d\.\d+/, '"low"'), /start\.json: .*firstLosses/s],
  ];
  for (const [what, file, damage, says] of damaged) {
    it(`is refused where ${what}`, () => {
      const texts = textsOf(name);
      assert.notEqual(damage(texts[file]), texts[file]);
      assert.throws(
        () => parseResult(name, { ...texts, [file]: damage(texts[file]) }),
        (error) => error instanceof InputError && says.test(error.message),
      );
    });
  }
});
