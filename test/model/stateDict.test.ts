import assert from "node:assert/strict";
import { test } from "node:test";
import { InputError } from "../../src/errors.ts";
import { createNetwork } from "../../src/model/create.ts";
import { loadStateDict, stateDictTensors, stateShapes } from "../../src/model/stateDict.ts";
import type { Tensor } from "../../src/model/tensor.ts";
import { namedSpec } from "../../src/networks/registry.ts";

const spec = namedSpec("BC-40-12", { blockConfig: [2, 1] });
const model = { ...createNetwork(spec, { seed: 3 }), batchesTracked: 41 };

/** The network's tensors with one change. */
function changed(change: (tensors: Map<string, Tensor>) => void): Map<string, Tensor> {
  const tensors = stateDictTensors(model);
  change(tensors);
  return tensors;
}

function refused(tensors: ReadonlyMap<string, Tensor>, says: RegExp): void {
  assert.throws(
    () => loadStateDict(spec, tensors, "net.safetensors"),
    (error) => error instanceof InputError && error.message.startsWith("net.safetensors: ") && says.test(error.message),
  );
}

test("stateDict · densenet121 has torchvision's 727 keys, 364 parameters and 8 062 504 numbers", () => {
  // model.state_dict() of torchvision.models.densenet121: 121 batch norms of 5 tensors, 120 convolutions, classifier of 2. 7 978 856 learned
  // numbers and 83 648 running ones, and 121 counters.
  const net = createNetwork(namedSpec("121"));
  const tensors = stateDictTensors(net);
  assert.equal(tensors.size, 727);
  const count = [...net.state.values()].reduce((sum, { data }) => sum + data.length, 0);
  assert.equal(count, 7_978_856 + 83_648);
  assert.deepEqual([...tensors.keys()].slice(0, 9), [
    "features.conv0.weight",
    "features.norm0.weight",
    "features.norm0.bias",
    "features.norm0.running_mean",
    "features.norm0.running_var",
    "features.norm0.num_batches_tracked",
    "features.denseblock1.denselayer1.norm1.weight",
    "features.denseblock1.denselayer1.norm1.bias",
    "features.denseblock1.denselayer1.norm1.running_mean",
  ]);
  assert.deepEqual(tensors.get("features.denseblock4.denselayer16.conv2.weight")?.shape, [32, 128, 3, 3]);
  assert.deepEqual(tensors.get("features.transition3.conv.weight")?.shape, [512, 1024, 1, 1]);
  assert.deepEqual([...tensors.keys()].slice(-2), ["classifier.weight", "classifier.bias"]);
});

test("stateDict · numbers and counter return as they left", () => {
  const back = loadStateDict(spec, stateDictTensors(model), "x");
  assert.deepEqual(back, model);
  assert.deepEqual([...back.state.keys()], [...stateShapes(spec).keys()]);
});

test("stateDict · keys of 2017's files (norm.1 for norm1) load, without counters", () => {
  const old = new Map<string, Tensor>();
  for (const [path, tensor] of stateDictTensors(model)) {
    if (path.endsWith("num_batches_tracked")) continue;
    old.set(path.replace(/(denselayer\d+)\.(norm|conv)([12])\./, "$1.$2.$3."), tensor);
  }
  assert.ok(old.has("features.denseblock1.denselayer2.norm.1.running_var"));
  assert.ok(old.has("features.denseblock2.denselayer1.conv.2.weight"));
  assert.deepEqual(loadStateDict(spec, old, "x"), { ...model, batchesTracked: 0 });
});

test("stateDict · F64 weights are rounded to F32", () => {
  const value = 1 + 2 ** -40;
  const tensors = changed((t) =>
    t.set("classifier.bias", { dtype: "F64", shape: [10], data: new Float64Array(10).fill(value) }),
  );
  assert.equal(loadStateDict(spec, tensors, "x").state.get("classifier.bias")?.data[9], 1);
});

test("stateDict · refused: a missing tensor, named", () => {
  refused(
    changed((t) => t.delete("features.denseblock1.denselayer2.norm2.bias")),
    /lacks features\.denseblock1\.denselayer2\.norm2\.bias of the \d+ tensors/,
  );
});

test("stateDict · refused: many missing tensors, the first three named", () => {
  const tensors = changed((t) => {
    for (const path of [...t.keys()]) if (path.startsWith("features.denseblock2")) t.delete(path);
  });
  // norm1 and norm2 of 4 tensors each, conv1 and conv2; counters may be absent.
  refused(tensors, /lacks features\.denseblock2\.denselayer1\.norm1\.weight, .*, .*running_mean and 7 more/);
});

test("stateDict · refused: an unexpected tensor, named", () => {
  refused(
    changed((t) => t.set("features.denseblock9.x", { dtype: "U8", shape: [1], data: Uint8Array.of(1) })),
    /has features\.denseblock9\.x, which the network does not have/,
  );
});

test("stateDict · refused: another shape, both named", () => {
  refused(
    changed((t) => t.set("features.conv0.weight", { dtype: "F32", shape: [16, 3, 3, 3], data: new Float32Array(432) })),
    /features\.conv0\.weight has shape \[16, 3, 3, 3\], the network expects \[24, 3, 3, 3\]/,
  );
});

test("stateDict · refused: same count of numbers in another shape", () => {
  refused(
    changed((t) => t.set("classifier.bias", { dtype: "F32", shape: [1, 10], data: new Float32Array(10) })),
    /classifier\.bias has shape \[1, 10\], the network expects \[10\]/,
  );
});

test("stateDict · refused: integer weights, a number that is not finite, a tensor under both its names", () => {
  refused(
    changed((t) => t.set("classifier.bias", { dtype: "I32", shape: [10], data: new Int32Array(10) })),
    /classifier\.bias has dtype I32, expected F32 or F64/,
  );
  refused(
    changed((t) =>
      t.set("classifier.bias", { dtype: "F32", shape: [10], data: new Float32Array(10).fill(Number.NaN, 4) }),
    ),
    /classifier\.bias holds NaN at position 4/,
  );
  refused(
    changed((t) =>
      t.set(
        "features.denseblock1.denselayer1.norm.1.bias",
        t.get("features.denseblock1.denselayer1.norm1.bias") as Tensor,
      ),
    ),
    /twice/,
  );
});
