// checkpoint: a spec keeps its family through a file; files that were saved before there were families are DenseNets.
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeModel, encodeModel, type TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { DIGEST_KEY } from "../../src/checkpoint/digest.ts";
import { decodeSafetensors, encodeSafetensors } from "../../src/checkpoint/safetensors.ts";
import { InputError } from "../../src/errors.ts";
import { createNetwork } from "../../src/model/create.ts";
import { type NetworkSpec, namedSpec } from "../../src/networks/registry.ts";

function trainedModel(spec: NetworkSpec): TrainedModel {
  return {
    model: createNetwork(spec, { seed: 4 }),
    preprocessing: { height: 32, width: 32, mean: [0.1, 0.2, 0.3], std: [1, 2, 3] },
    classes: ["cat", "dog"],
    dataset: "animals",
  };
}

/** The file with another spec in its metadata, and without digests, as earlier releases saved it. */
function withSpec(bytes: Uint8Array, change: (spec: Record<string, unknown>) => unknown): Uint8Array {
  const { tensors, metadata } = decodeSafetensors(bytes, "x");
  const { [DIGEST_KEY]: _, ...rest } = metadata;
  const description = JSON.parse(metadata.densenet);
  return encodeSafetensors(tensors, {
    ...rest,
    densenet: JSON.stringify({ ...description, spec: change(description.spec) }),
  });
}

const dense = trainedModel(namedSpec("BC-40-12", { blockConfig: [1, 1], numClasses: 2 }));
const chain = trainedModel(namedSpec("plain-40-12", { blockConfig: [1, 1], widths: [4, 5], numClasses: 2 }));
const residual = trainedModel(namedSpec("resnet-20", { blockConfig: [1, 1, 1], stochasticDepth: 0.7, numClasses: 2 }));

test("checkpoint · networks of each family return as they were saved", () => {
  for (const trained of [dense, chain, residual]) assert.deepEqual(decodeModel(encodeModel(trained), "x"), trained);
});

test("checkpoint · a spec without a family, as it was saved before there were families, is a DenseNet's", () => {
  const old = withSpec(encodeModel(dense), ({ family, ...spec }) => {
    assert.equal(family, "densenet");
    return spec;
  });
  assert.deepEqual(decodeModel(old, "x"), dense);
});

test("checkpoint · refused: a family that this release does not know, a chain without its family, no spec", () => {
  const refused = (bytes: Uint8Array, says: RegExp): void => {
    assert.throws(
      () => decodeModel(bytes, "net.safetensors"),
      (error) => error instanceof InputError && says.test(error.message) && !error.message.includes("undefined"),
    );
  };
  const bytes = encodeModel(chain);
  refused(
    withSpec(bytes, (spec) => ({ ...spec, family: "unknown" })),
    /^net\.safetensors: spec\.family: got "unknown", expected one of .*\bplain\b/,
  );
  refused(
    withSpec(bytes, ({ family: _family, ...spec }) => spec),
    /^net\.safetensors: spec\.widths: a DenseNet has no such field/,
  );
  refused(
    withSpec(bytes, () => undefined),
    /^net\.safetensors: spec in the metadata "densenet" is not an object$/,
  );
});
