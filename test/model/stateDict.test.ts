// model: named tensors in and out: torchvision's keys of today and of 2017, and what is said of tensors that are not
// the network's.
import assert from "node:assert/strict";
import { test } from "node:test";
import { InputError } from "../../src/errors.ts";
import { createNetwork } from "../../src/model/create.ts";
import { exportStateDict, importStateDict } from "../../src/model/stateDict.ts";
import type { Tensor } from "../../src/model/tensor.ts";
import { defineSpec, namedSpec, variantNames } from "../../src/networks/registry.ts";
import { loadFixture } from "../golden/fixture.ts";

const spec = namedSpec("BC-40-12", { blockConfig: [2, 1] });
const model = { ...createNetwork(spec, { seed: 3 }), batchesTracked: 41 };

/** The network's tensors with one change. */
function changed(change: (tensors: Map<string, unknown>) => void): Map<string, unknown> {
  const tensors: Map<string, unknown> = exportStateDict(model);
  change(tensors);
  return tensors;
}

function renamed(rename: (key: string) => string): Map<string, unknown> {
  return new Map([...exportStateDict(model)].map(([key, tensor]) => [rename(key), tensor]));
}

const f32 = (shape: number[], data: Float32Array | number[]): Tensor => ({
  dtype: "F32",
  shape,
  data: Float32Array.from(data),
});

test("state dict · densenet121 has torchvision's 727 keys, 364 parameters and 8 062 504 numbers", () => {
  // model.state_dict() of torchvision.models.densenet121: 121 batch norms of 5 tensors, 120 convolutions, classifier of
  // 2. 7 978 856 learned numbers and 83 648 running ones, and 121 counters.
  const net = createNetwork(namedSpec("121"));
  const tensors = exportStateDict(net);
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

test(
  "state dict · the fixture's gradients of densenet121, named by PyTorch, are those of exactly these parameters " +
    "in these shapes",
  () => {
    const net = createNetwork(namedSpec("121"));
    const parameters = [...net.state].filter(([, { role }]) => role !== "mean" && role !== "variance");
    const golden = loadFixture("densenet121").tensors.flatMap(({ name, shape }): [string, string][] => {
      const path = /^d\((.*)\)$/.exec(name)?.[1];
      return path === undefined ? [] : [[path, shape.join()]];
    });
    assert.equal(golden.length, 364);
    assert.deepEqual(new Map(golden), new Map(parameters.map(([path, { shape }]) => [path, shape.join()])));
  },
);

test("roles · every tensor says what it is, biases of linear layers are shifts", () => {
  const roleOf = (path: string): unknown => model.state.get(path)?.role;
  assert.deepEqual(
    ["weight", "bias", "running_mean", "running_var"].map((leaf) => roleOf(`features.norm5.${leaf}`)),
    ["scale", "shift", "mean", "variance"],
  );
  assert.deepEqual(
    [roleOf("features.transition1.conv.weight"), roleOf("classifier.weight"), roleOf("classifier.bias")],
    ["convWeight", "linearWeight", "shift"],
  );
});

test("state dict · numbers, roles, order and counter return as they left", () => {
  const { model: back, ignored } = importStateDict(exportStateDict(model), { spec });
  assert.deepEqual(back, model);
  assert.deepEqual([...back.state.keys()], [...model.state.keys()]);
  assert.deepEqual(ignored, []);
});

test("state dict · keys of 2017's files (norm.1 for norm1) load, without counters", () => {
  const old = renamed((key) => key.replace(/(denselayer\d+)\.(norm|conv)([12])\./, "$1.$2.$3."));
  for (const key of [...old.keys()]) if (key.endsWith("num_batches_tracked")) old.delete(key);
  assert.ok(old.has("features.denseblock1.denselayer2.norm.1.running_var"));
  assert.ok(old.has("features.denseblock2.denselayer1.conv.2.weight"));
  assert.deepEqual(importStateDict(old, { spec }).model, { ...model, batchesTracked: 0 });
});

test("state dict · DataParallel's module. before every key, and old keys behind it", () => {
  assert.deepEqual(
    importStateDict(
      renamed((key) => `module.${key}`),
      { spec },
    ).model,
    model,
  );
  const old = renamed((key) => `module.${key.replace(/(denselayer\d+)\.(norm|conv)([12])\./, "$1.$2.$3.")}`);
  assert.deepEqual(importStateDict(old, { spec }).model, model);
});

test("state dict · keys outside every module, such as epoch, are passed over and reported", () => {
  const tensors = changed((t) => {
    t.set("epoch", 90);
    t.set("best_acc1", f32([], [76.2]));
    t.set("arch", "densenet121");
  });
  const { model: back, ignored } = importStateDict(tensors, { spec });
  assert.deepEqual(back, model);
  assert.deepEqual(ignored, ["epoch", "best_acc1", "arch"]);
});

test("state dict · num_batches_tracked as I64, as a float, as a number, of another count each, or missing", () => {
  const key = "features.norm5.num_batches_tracked";
  for (const [value, tracked] of [
    [f32([], [57]), 57],
    [f32([1], [57]), 57],
    [{ dtype: "I64", shape: [], data: BigInt64Array.of(57n) }, 57],
    [57, 57],
    [f32([], [7]), 41],
  ] as const) {
    assert.equal(
      importStateDict(
        changed((t) => t.set(key, value)),
        { spec },
      ).model.batchesTracked,
      tracked,
    );
  }
  assert.equal(
    importStateDict(
      changed((t) => t.delete(key)),
      { spec },
    ).model.batchesTracked,
    41,
  );
});

test("state dict · F64 weights are rounded to F32", () => {
  const value = 1 + 2 ** -40;
  const tensors = changed((t) => t.set("classifier.bias", { shape: [10], data: new Float64Array(10).fill(value) }));
  assert.equal(importStateDict(tensors, { spec }).model.state.get("classifier.bias")?.data[9], 1);
});

for (const name of variantNames) {
  // The large ones have the layers of the small ones, more often.
  if (["BC-250-24", "BC-190-40", "264", "264-k48", "232", "201", "161", "100-24"].includes(name)) continue;
  test(`state dict · ${name} is recognised by names and shapes alone`, () => {
    const named = namedSpec(name, { numClasses: 7, inChannels: 1 });
    const made = createNetwork(named);
    const found = importStateDict(exportStateDict(made)).model;
    // bottleneckFactor leaves no trace where there is no bottleneck, and is 4 in every named network.
    assert.deepEqual(found, made);
  });
}

test("state dict · unusual networks are recognised: compressions and bottlenecks of their own, one block", () => {
  for (const fields of [
    { growthRate: 5, blockConfig: [3, 2, 1], compression: 0.3, bottleneckFactor: 2 },
    { growthRate: 7, blockConfig: [1, 4], compression: 0.7, bottleneck: false, numInitFeatures: 11 },
    { growthRate: 3, blockConfig: [2], compression: 0.5, stem: "imagenet", numClasses: 2 },
  ] as const) {
    const made = createNetwork(defineSpec(fields));
    const found = importStateDict(exportStateDict(made)).model;
    assert.deepEqual(found.state, made.state);
  }
});

interface Refusal {
  readonly name: string;
  readonly tensors: Map<string, unknown>;
  readonly says: RegExp;
}

const layer = "features.denseblock1.denselayer2";
const refusals: readonly Refusal[] = [
  {
    name: "a missing tensor, named",
    tensors: changed((t) => t.delete(`${layer}.norm2.bias`)),
    says: /41 of the network's 42 tensors match; 1 is missing: features\.denseblock1\.denselayer2\.norm2\.bias$/,
  },
  {
    // norm1 and norm2 of 4 tensors each, conv1 and conv2; counters may be absent.
    name: "many missing tensors, the first three named",
    tensors: changed((t) => {
      for (const path of [...t.keys()]) if (path.startsWith("features.denseblock2")) t.delete(path);
    }),
    says: /10 are missing: features\.denseblock2\.denselayer1\.norm1\.weight, .*, .*running_mean and 7 more$/,
  },
  {
    name: "an unexpected tensor, named",
    tensors: changed((t) => t.set("head.zebra", { shape: [1], data: Uint8Array.of(1) })),
    says: /42 of the network's 42 tensors match; 1 is not the network's: head\.zebra$/,
  },
  {
    name: "a misspelt tensor, with the nearest name",
    tensors: renamed((key) => (key === "classifier.weight" ? "clasifier.weight" : key)),
    says: /1 is missing: classifier\.weight; 1 is not the network's: clasifier\.weight \(the nearest name is classifier\.weight\)$/,
  },
  {
    name: "another network's tensors, all counted",
    tensors: new Map([
      ["conv1.weight", f32([1], [1])],
      ...["a", "b", "c"].map((x): [string, Tensor] => [`layer1.${x}`, f32([1], [1])]),
    ]),
    says: /0 of the network's 42 tensors match; 42 are missing: .* and 39 more; 4 are not the network's: conv1\.weight.*, .* and 1 more$/,
  },
  {
    name: "another shape, both named, and how many others",
    tensors: changed((t) => t.set("features.conv0.weight", f32([16, 3, 3, 3], new Float32Array(432)))),
    says: /features\.conv0\.weight has shape \[16, 3, 3, 3\], the network expects \[24, 3, 3, 3\]$/,
  },
  {
    name: "the classifier transposed, said so",
    tensors: changed((t) => t.set("classifier.weight", f32([36, 10], new Float32Array(360)))),
    says: /classifier\.weight has shape \[36, 10\], the network expects \[10, 36\]: it is transposed$/,
  },
  {
    name: "same count of numbers in another shape",
    tensors: changed((t) => t.set("classifier.bias", f32([1, 10], new Float32Array(10)))),
    says: /classifier\.bias has shape \[1, 10\], the network expects \[10\]$/,
  },
  {
    name: "fewer numbers than the shape says",
    tensors: changed((t) => t.set("classifier.bias", f32([10], [1, 2]))),
    says: /classifier\.bias holds 2 numbers, expected a Float32Array of 10 numbers$/,
  },
  {
    name: "integer weights",
    tensors: changed((t) => t.set("classifier.bias", { shape: [10], data: new Int32Array(10) })),
    says: /classifier\.bias has dtype I32, expected F32 or F64$/,
  },
  {
    name: "NaN",
    tensors: changed((t) => t.set("classifier.bias", f32([10], new Float32Array(10).fill(Number.NaN, 4)))),
    says: /classifier\.bias holds NaN at position 4, expected finite numbers$/,
  },
  {
    name: "F64 that F32 cannot hold",
    tensors: changed((t) => t.set("classifier.bias", { shape: [10], data: new Float64Array(10).fill(1e300) })),
    says: /classifier\.bias holds Infinity at position 0, expected finite numbers$/,
  },
  {
    name: "a negative running variance",
    tensors: changed((t) => t.set(`${layer}.norm2.running_var`, f32([48], new Float32Array(48).fill(-0.5, 7)))),
    says: /norm2\.running_var holds -0\.5 at position 7, expected variances of at least 0$/,
  },
  {
    name: "a tensor under both its names",
    tensors: changed((t) =>
      t.set("features.denseblock1.denselayer1.norm.1.bias", t.get("features.denseblock1.denselayer1.norm1.bias")),
    ),
    says: /has features\.denseblock1\.denselayer1\.norm1\.bias twice, under its old name and its new one$/,
  },
  {
    name: "a tensor with module. and without",
    tensors: changed((t) => t.set("module.classifier.bias", t.get("classifier.bias"))),
    says: /has classifier\.bias twice, with "module\." and without$/,
  },
  {
    name: "no tensor at all where one belongs",
    tensors: changed((t) => t.set("classifier.bias", undefined)),
    says: /classifier\.bias is nothing, expected a tensor with shape and data$/,
  },
  {
    name: "a counter of half a batch",
    tensors: changed((t) => t.set("features.norm5.num_batches_tracked", f32([], [0.5]))),
    says: /features\.norm5\.num_batches_tracked is 0\.5, expected one whole number of at least 0$/,
  },
  {
    name: "a counter of many numbers",
    tensors: changed((t) => t.set("features.norm5.num_batches_tracked", f32([2], [1, 2]))),
    says: /num_batches_tracked is a F32 of shape \[2\], expected one whole number of at least 0$/,
  },
];

for (const { name, tensors, says } of refusals) {
  test(`state dict · refused: ${name}`, () => {
    assert.throws(
      () => importStateDict(tensors, { spec, source: "net.safetensors" }),
      (error) =>
        error instanceof InputError &&
        error.message.startsWith("net.safetensors: ") &&
        !error.message.includes("undefined") &&
        says.test(error.message),
    );
  });
}

test("state dict · refused without a spec: tensors of no network here, no tensors, no map", () => {
  const refused = (tensors: unknown, says: RegExp): void => {
    assert.throws(
      () => importStateDict(tensors as Map<string, unknown>),
      (error) => error instanceof InputError && !error.message.includes("undefined") && says.test(error.message),
    );
  };
  refused(
    new Map([["layer1.0.conv1.weight", f32([1], [1])]]),
    /^the state dict: no network here has tensors as these: layer1\.0\.conv1\.weight; expected a network's state dict, or say which network it is \(spec\)$/,
  );
  refused(new Map([["epoch", 3]]), /^the state dict: holds no tensors; /);
  refused(undefined, /^the state dict: got nothing, expected a Map of tensors by name$/);
  refused(
    { "classifier.bias": 1 },
    /^the state dict: got \{"classifier\.bias":1\}, expected a Map of tensors by name$/,
  );
});
