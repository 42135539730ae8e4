// analyze: the summary's figures against the paper's table and against counting the naive activations by hand.
import assert from "node:assert/strict";
import { test } from "node:test";
import { summarize } from "../../src/analyze/summary.ts";
import { UsageError } from "../../src/errors.ts";
import { defineSpec, namedSpec } from "../../src/networks/registry.ts";

test("summary of BC-100-12 · name, parameters, MACs, connections, depth; layers add up to the totals", () => {
  const summary = summarize(namedSpec("BC-100-12"), { height: 32, width: 32, batch: 64 });
  assert.equal(summary.name, "BC-100-12");
  assert.equal(summary.params, 769_162);
  assert.equal((summary.macs / 1e6).toFixed(1), "287.9");
  assert.deepEqual(summary.connectionsPerBlock, [136, 136, 136]);
  assert.equal(summary.connections, 408);
  assert.equal(summary.depth, 100);
  assert.equal(summary.classifierFeatures, 342);
  const kinds = (kind: string): number => summary.layers.filter((layer) => layer.kind === kind).length;
  assert.deepEqual([kinds("convolution"), kinds("linear"), kinds("batchNorm")], [99, 1, 2 * 48 + 2 + 1]);
  // Of 287.9 M multiply-adds, counted apart from this code.
  const macsOf = (pattern: RegExp): string =>
    (
      summary.layers.filter((layer) => pattern.test(layer.path)).reduce((sum, layer) => sum + layer.macs, 0) / 1e6
    ).toFixed(0);
  assert.deepEqual([macsOf(/denselayer\d+\.conv1$/), macsOf(/transition/)], ["140", "35"]);
  assert.equal(macsOf(/denselayer\d+\.conv2$|conv0$/), "112");
});

test("naive activation bytes · a small basic net counted by hand", () => {
  // 4×6 images with 3 channels; k₀ 5, two layers of k 2, θ 1, one layer, 7 classes.
  const spec = defineSpec({
    growthRate: 2,
    blockConfig: [2, 1],
    numInitFeatures: 5,
    bottleneck: false,
    compression: 1,
    numClasses: 7,
  });
  const first = 24 * (3 + 5 + (5 + 5 + 2) + (7 + 7 + 2) + (9 + 9 + 9));
  const second = 6 * (9 + (9 + 9 + 2) + (11 + 11)) + 11 + 7;
  const summary = summarize(spec, { height: 4, width: 6, batch: 3 });
  assert.equal(summary.activationBytesNaive, (first + second) * 3 * 4);
  assert.equal(summary.name, undefined);
  assert.equal("activationBytesPlanned" in summary, false);
});

test("naive activation bytes · a small BC net with the ImageNet stem counted by hand", () => {
  const spec = defineSpec({
    growthRate: 2,
    blockConfig: [1, 1],
    numInitFeatures: 4,
    stem: "imagenet",
    compression: 0.5,
    numClasses: 3,
  });
  // 9×9 → 5×5 (convolution, norm) → 3×3 (pool, block 1) → 1×1 (block 2).
  const stem = 81 * 3 + 25 * (4 + 4) + 9 * 4;
  const first = 9 * (4 + 4 + 8 + 8 + 2) + 9 * (6 + 6 + 3) + 3;
  const second = 3 + 3 + 8 + 8 + 2 + (5 + 5) + 5 + 3;
  const summary = summarize(spec, { height: 9, width: 9, batch: 1, activationBytesPlanned: 1234 });
  assert.equal(summary.activationBytesNaive, (stem + first + second) * 4);
  assert.equal(summary.activationBytesPlanned, 1234);
});

test("naive activation bytes · with deeper blocks they grow like the square, as the memory report draws", () => {
  const at = (layers: number): number =>
    summarize(defineSpec({ blockConfig: [layers, layers, layers] }), { height: 32, width: 32, batch: 64 })
      .activationBytesNaive;
  // Second difference of a square is constant and positive.
  const differences = [at(10), at(20), at(30), at(40)]
    .map((bytes, index, all) => (index === 0 ? 0 : bytes - all[index - 1]))
    .slice(1);
  assert.ok(differences[1] > 1.3 * differences[0] && differences[2] > 1.2 * differences[1]);
});

test("a batch of 0 and an image too small are refused", () => {
  assert.throws(
    () => summarize(namedSpec("121"), { height: 224, width: 224, batch: 0 }),
    (error) => error instanceof UsageError && /^batch: got 0, /.test(error.message),
  );
  assert.throws(() => summarize(namedSpec("121"), { height: 28, width: 28, batch: 1 }), UsageError);
});
