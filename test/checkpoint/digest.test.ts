// checkpoint: a file on its own proves itself. Every bit of a small one is flipped.
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeModel, encodeModel, KEY, readModel, type TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { DIGEST_KEY } from "../../src/checkpoint/digest.ts";
import { decodeSafetensors, encodeSafetensors } from "../../src/checkpoint/safetensors.ts";
import { DenseNetError, VerificationError } from "../../src/errors.ts";
import { createNetwork } from "../../src/model/create.ts";
import { namedSpec } from "../../src/networks/registry.ts";

const tiny: TrainedModel = {
  model: createNetwork(
    namedSpec("40-12", { blockConfig: [1], numInitFeatures: 1, growthRate: 1, inChannels: 1, numClasses: 2 }),
  ),
  preprocessing: { height: 8, width: 8, mean: [0.25], std: [0.5] },
  classes: ["café", "dog"],
  dataset: "made",
};
const bytes = encodeModel(tiny);

/** The file with other metadata, tensors as they are. */
function withMetadata(change: (metadata: Record<string, string>) => Record<string, string>): Uint8Array {
  const { tensors, metadata } = decodeSafetensors(bytes, "tiny");
  return encodeSafetensors(tensors, change({ ...metadata }));
}

test(
  `every bit of a model file of ${bytes.length} bytes flipped · refused in a sentence, or nothing that it says ` +
    "differs",
  (t) => {
    let refused = 0;
    const harmless: number[] = [];
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const flipped = Uint8Array.from(bytes);
      flipped[bit >> 3] ^= 1 << (bit & 7);
      let read: TrainedModel;
      try {
        read = decodeModel(flipped, "tiny");
      } catch (error) {
        assert.ok(error instanceof DenseNetError, `bit ${bit}: ${error}`);
        assert.match(error.message, /^tiny: /, `bit ${bit}`);
        refused++;
        continue;
      }
      assert.deepEqual(read, tiny, `bit ${bit} of byte ${bit >> 3} changed what the file says`);
      harmless.push(bit >> 3);
    }
    t.diagnostic(`${8 * bytes.length} flips: ${refused} refused, ${harmless.length} without effect`);
    // What may be flipped without effect: the names of keys that only others read, the key of the digests, padding.
    assert.ok(harmless.length < 8 * 64, `${harmless.length} flips passed`);
  },
);

test("a weight, the mean or a class name changed · which of the two it was is said", () => {
  const { tensors, metadata } = decodeSafetensors(bytes, "tiny");
  const weight = tensors.get("classifier.weight");
  assert.ok(weight?.dtype === "F32");
  weight.data[0] += 1e-7;
  assert.throws(() => decodeModel(encodeSafetensors(tensors, metadata), "net.safetensors"), {
    name: VerificationError.name,
    message: /^net\.safetensors: the SHA-256 of its tensors is not/,
  });
  for (const [from, to] of [
    ["0.25", "0.26"],
    ["dog", "cat"],
  ] as const) {
    const changed = withMetadata(({ [KEY]: json = "", ...rest }) => ({ ...rest, [KEY]: json.replace(from, to) }));
    assert.throws(() => decodeModel(changed, "net.safetensors"), {
      name: VerificationError.name,
      message:
        /^net\.safetensors: the SHA-256 of its description of the network \(spec, mean, deviation, class names\) is/,
    });
  }
});

test("a file of an earlier release, without digests · opens, and is not called verified", () => {
  const old = withMetadata(({ [DIGEST_KEY]: _, ...rest }) => rest);
  assert.deepEqual(decodeModel(old, "old"), tiny);
  assert.equal(readModel(old, "old").verified, false);
  assert.equal(readModel(bytes, "new").verified, true);
});

test("the network's own key lost, its digests there · no other tool's file: refused", () => {
  const lost = withMetadata(({ [KEY]: json = "", ...rest }) => ({ ...rest, densanet: json }));
  assert.throws(() => decodeModel(lost, "lost"), { message: /^lost: its metadata has no "densenet"/ });
});
