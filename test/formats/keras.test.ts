// Every file that Keras wrote gives the logits that its network had there; and what is said of it.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { describeWeights } from "../../src/formats/describe.ts";
import { openWeights } from "../../src/formats/open.node.ts";
import { logitsOf, type OracleEntry, relativeDifference, unpackFixtures, withFormulaHead } from "./oracle.ts";

/** What the file says beside its weights. */
interface KerasEntry extends OracleEntry {
  readonly height?: number;
  readonly width?: number;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

const { folder, entries } = unpackFixtures("keras");
const backend = createReferenceBackend({ precision: "f32" });
after(() => backend.dispose());

const described = async (file: string) => describeWeights(await openWeights(join(folder, file)), file);

for (const {
  file,
  tool,
  input,
  logits,
  sigmoid = false,
  height,
  width,
  mean,
  std,
} of entries as readonly KerasEntry[]) {
  test(`${file} by ${tool} · ${input.join("×")} · within 1e-4 of the largest logit`, async () => {
    const { trained, hasHead } = await described(file);
    const model = hasHead ? trained.model : withFormulaHead(trained.model);
    assert.equal(hasHead, !file.startsWith("no-top"));
    const difference = relativeDifference(await logitsOf(model, input, backend), logits);
    assert.ok(difference < 1e-4, `differs by ${difference.toExponential(1)} of the largest logit`);
    assert.equal(trained.outputs === "sigmoid", sigmoid);
    if (height !== undefined)
      assert.deepEqual([trained.preprocessing.height, trained.preprocessing.width], [height, width]);
    for (const [said, found] of [
      [mean, trained.preprocessing.mean],
      [std, trained.preprocessing.std],
    ]) {
      if (said !== undefined)
        assert.deepEqual(
          found?.map((value) => Number(value.toPrecision(12))),
          said,
        );
    }
  });
}

test("what a file says of itself · its format, its stem, where ε is from, what is assumed", async () => {
  const { notes } = await described("hosted.h5");
  assert.deepEqual(notes, [
    "Keras weights (.h5): 46 tensors matched, 0 missing, 0 unexpected",
    "18 layers of Keras, matched by their order: conv1/conv is the stem",
    "ε of 9 batch norms, 0.00001001 (assumed), taken into their variances",
    "input: mean 0.485, 0.456, 0.406, deviation 0.229, 0.224, 0.225, 224×224, uncropped, bilinear",
    "assumed, as the file does not say: Keras's \"torch\" mode: ImageNet's mean and deviation, the whole image; images of 224×224",
  ]);
  const whole = await described("model.keras");
  assert.equal(whole.notes[2], "ε of 9 batch norms, 0.00001001, taken into their variances");
});
