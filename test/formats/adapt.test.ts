// A network's weights for other classes and channels.
import assert from "node:assert/strict";
import { test } from "node:test";
import { InputError } from "../../src/errors.ts";
import { adaptModel } from "../../src/formats/adapt.ts";
import { requireUsable } from "../../src/model/check.ts";
import { createNetwork } from "../../src/model/create.ts";
import { defineSpec } from "../../src/networks/registry.ts";

const fields = { growthRate: 2, blockConfig: [1, 1], numInitFeatures: 4, numClasses: 5 } as const;
const model = createNetwork(defineSpec(fields), { seed: 1 });

/** Sum over input channels of one tap of the first convolution. */
function tapSum(data: Float32Array, channels: number, output: number, tap: number): number {
  let sum = 0;
  for (let i = 0; i < channels; i++) sum += data[(output * channels + i) * 9 + tap];
  return sum;
}

for (const channels of [1, 2, 3, 4, 7]) {
  test(`3 → ${channels} input channels · a grey image gives the same maps`, () => {
    const { model: adapted, changes } = adaptModel(model, defineSpec({ ...fields, inChannels: channels }));
    requireUsable(adapted);
    assert.equal(changes.length, channels === 3 ? 0 : 1);
    const before = model.state.get("features.conv0.weight")?.data ?? new Float32Array();
    const after = adapted.state.get("features.conv0.weight")?.data ?? new Float32Array();
    // Repeating keeps a sum exactly only where every channel is repeated as often.
    if (channels !== 1 && channels % 3 !== 0) {
      assert.equal(after[0], Math.fround((3 / channels) * before[0]));
      return;
    }
    for (const [output, tap] of [
      [0, 0],
      [3, 8],
    ]) {
      const difference = tapSum(after, channels, output, tap) - tapSum(before, 3, output, tap);
      assert.ok(Math.abs(difference) < 1e-6);
    }
  });
}

test("another number of classes · a new classifier, everything else as it was, said in one line", () => {
  const spec = defineSpec({ ...fields, numClasses: 3 });
  const { model: adapted, changes } = adaptModel(model, spec, { seed: 9, source: "net.pth" });
  requireUsable(adapted);
  assert.deepEqual(changes, ["net.pth: a new classifier for 3 classes, in place of its own for 5"]);
  for (const [path, { data }] of adapted.state) {
    const first = path.startsWith("classifier.") ? createNetwork(spec, { seed: 9 }) : model;
    assert.deepEqual(data, first.state.get(path)?.data, path);
  }
});

test("the same classes by other names · a new classifier where it is asked for", () => {
  const { model: adapted } = adaptModel(model, model.spec, { keepHead: false, seed: 9 });
  assert.notDeepEqual(adapted.state.get("classifier.weight"), model.state.get("classifier.weight"));
});

test("other layers are refused", () => {
  const other = defineSpec({ ...fields, growthRate: 3 });
  assert.throws(
    () => adaptModel(model, other, { source: "net.pth" }),
    (error: unknown) =>
      error instanceof InputError && /^net\.pth: is .*only classes and input channels/.test(error.message),
  );
});
