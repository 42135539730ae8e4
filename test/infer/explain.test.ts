import assert from "node:assert/strict";
import { after, test } from "node:test";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { readEmbedded } from "../../src/data/embedded.node.ts";
import { centreBox } from "../../src/data/fitImage.ts";
import { UsageError } from "../../src/errors.ts";
import { loadPretrained } from "../../src/formats/pretrained.ts";
import { gradCam, mapsOf, occlusionMap, patchStarts } from "../../src/infer/classActivation.ts";
import { createExplainer, explainMethods } from "../../src/infer/explainer.ts";
import { createNodeReader } from "../../src/infer/nodeReader.ts";
import { pyramidNodes } from "../../src/infer/nodes.ts";
import { overlay, peakBox } from "../../src/infer/overlay.ts";
import { createNetwork } from "../../src/model/create.ts";
import { namedSpec } from "../../src/networks/registry.ts";
import { assertGolden, loadFixture } from "../golden/fixture.ts";
import { fnv1a, lowbias32, stateValue } from "../golden/formula.ts";

const wasm = await createWasmBackend({ threads: 2 });
const backends = { "wasm, 2 threads": wasm, "reference f64": createReferenceBackend({ precision: "f64" }) };
after(() => wasm.dispose());

const fixture = loadFixture("densenet-bc-explain");
const [, channels, height, width] = fixture.inputShape;
const stride = channels * height * width;
const golden: TrainedModel = (() => {
  const model = createNetwork(fixture.spec, { seed: 0 });
  const state = new Map(
    [...model.state].map(([path, tensor]) => [path, { ...tensor, data: stateValue(path, tensor.shape, fixture.lift) }]),
  );
  return {
    model: { ...model, state },
    preprocessing: { height, width, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] },
    classes: Array.from({ length: fixture.spec.numClasses }, (_, index) => `class ${index}`),
    dataset: "formula",
  };
})();
const hash = fnv1a("explain.images");
const goldenImages = [0, 1].map((n) =>
  Uint8Array.from({ length: stride }, (_, at) => lowbias32((n * stride + at) ^ hash) >>> 24),
);
const goldenClasses = [3, 7];
const modules = fixture.tensors.flatMap(({ name }) => /^d\((.*)\)$/.exec(name)?.[1] ?? []);

for (const [name, backend] of Object.entries(backends)) {
  test(`${name} · class activation maps and logits are PyTorch's`, async () => {
    await using explainer = await createExplainer(golden, backend);
    const cam: number[] = [];
    for (const image of goldenImages) {
      for (const index of golden.classes.keys()) cam.push(...(await explainer.explain(image, index)).map.values);
    }
    const tensors = fixture.tensors.filter((tensor) => tensor.name === "cam");
    assertGolden(tensors, "f32", () => cam);
  });

  for (const node of modules) {
    test(`${name} · ${node} · values, gradient of a logit and Grad-CAM are PyTorch's`, async () => {
      await using reader = await createNodeReader(golden, backend, { nodes: [node], gradients: true, batchSize: 2 });
      const { logits, values, gradient } = await reader.gradient(goldenImages, goldenClasses);
      const maps = [0, 1].flatMap((n) => [...gradCam(mapsOf(values, n, node), mapsOf(gradient, n, node)).values]);
      const found: Readonly<Record<string, ArrayLike<number>>> = {
        logits: logits.data,
        [`value:${node}`]: values.data,
        [`d(${node})`]: gradient.data,
        [`grad-cam:${node}`]: maps,
      };
      const tensors = fixture.tensors.filter((tensor) => found[tensor.name] !== undefined);
      assert.equal(tensors.length, 4);
      assertGolden(tensors, "f32", (tensor) => found[tensor]);
    });
  }
}

const trained = await loadPretrained("bc-40-12.cifar10");
const dataset = await readEmbedded();
const photos = await Promise.all(
  [3, 200, 511, 803].map(async (index) => {
    const pixels = new Uint8Array(3 * 32 * 32);
    await dataset.val.pixels(index, pixels);
    return pixels;
  }),
);

test("the class activation map of real images adds up to the logit, for every class", async () => {
  await using explainer = await createExplainer(trained, wasm);
  for (const photo of photos) {
    for (const index of trained.classes.keys()) {
      const { logit, map } = await explainer.explain(photo, index);
      const sum = map.values.reduce((total, value) => total + value, 0);
      // The kernel sums 132 f32 means of 64 f32 values: its terms' rounding, times their size.
      const size = map.values.reduce((total, value) => total + Math.abs(value), 0) + Math.abs(logit);
      assert.ok(Math.abs(sum - logit) <= 64 * 2 ** -24 * size, `class ${index}: ${sum}, logit ${logit}`);
    }
  }
});

test("Grad-CAM of the last maps is the class activation map without its bias, below zero cut off, times positions", async () => {
  await using cam = await createExplainer(trained, wasm);
  await using grad = await createExplainer(trained, wasm, { method: "grad-cam" });
  const bias = trained.model.state.get("classifier.bias")?.data ?? [];
  for (const photo of photos) {
    const { map, target } = await cam.explain(photo);
    const found = await grad.explain(photo);
    assert.equal(found.target.index, target.index);
    const plane = map.values.length;
    const most = Math.max(...map.values.map(Math.abs));
    for (const [at, value] of found.map.values.entries()) {
      // α_k = w_k / positions, so Σ α_k f_k is the map but for the bias that is spread over it.
      const expected = Math.max(0, map.values[at] - bias[target.index] / plane);
      assert.ok(Math.abs(value - expected) < 1e-5 * most, `position ${at}: ${value}, expected ${expected}`);
    }
  }
});

test("occlusion · finds the only pixels that speak: the mean grey changes nothing where the image is grey already", async () => {
  await using explainer = await createExplainer(trained, wasm, { method: "occlusion", patch: { side: 4, stride: 4 } });
  const grey = Uint8Array.from({ length: 3 * 32 * 32 }, (_, at) =>
    Math.round(255 * (trained.preprocessing.mean[Math.floor(at / 1024)] ?? 0)),
  );
  const [photo] = photos;
  for (let channel = 0; channel < 3; channel++) {
    for (let y = 8; y < 16; y++) {
      const from = channel * 1024 + y * 32 + 20;
      grey.set(photo.subarray(from, from + 8), from);
    }
  }
  const { map } = await explainer.explain(grey);
  const moved = [...map.values.entries()].filter(([, value]) => Math.abs(value) > 1e-5).map(([at]) => at);
  assert.ok(moved.length > 0);
  for (const at of moved) {
    const [x, y] = [at % 32, Math.floor(at / 32)];
    assert.ok(x >= 20 && x < 28 && y >= 8 && y < 16, `${x}, ${y}`);
  }
});

test("occlusion · patches cover every pixel, and a pixel has the mean of the patches over it", () => {
  const patch = { side: 3, stride: 2 };
  assert.deepEqual(patchStarts(8, patch), [0, 2, 4, 5]);
  assert.deepEqual(patchStarts(2, patch), [0]);
  const drops = Array.from({ length: 4 }, (_, at) => at + 1);
  const { values } = occlusionMap({ height: 2, width: 8 }, patch, drops);
  assert.deepEqual([...values.subarray(0, 8)], [1, 1, 1.5, 2, 2.5, 3.5, 3.5, 4]);
});

test("sanity · with randomised weights every method gives another map (Adebayo et al. 2018)", async () => {
  const random = { ...trained, model: createNetwork(trained.model.spec, { seed: 1 }) };
  for (const method of explainMethods) {
    const maps: Float64Array[] = [];
    for (const network of [trained, random]) {
      await using explainer = await createExplainer(network, wasm, { method, patch: { side: 8, stride: 8 } });
      maps.push((await explainer.explain(photos[0], 3)).map.values);
    }
    assert.ok(correlation(maps[0], maps[1]) < 0.5, `${method}: correlation ${correlation(maps[0], maps[1])}`);
    assert.ok(correlation(maps[0], maps[0]) > 0.999);
  }
});

function correlation(a: Float64Array, b: Float64Array): number {
  const centred = [a, b].map((values) => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return values.map((value) => value - mean);
  });
  const product = (x: Float64Array, y: Float64Array): number => x.reduce((sum, value, at) => sum + value * y[at], 0);
  const norm = Math.sqrt(product(centred[0], centred[0]) * product(centred[1], centred[1]));
  return norm > 0 ? product(centred[0], centred[1]) / norm : 0;
}

test("node reader · batches of 2 and one by one give the same values; the pyramid has a level for each block", async () => {
  const nodes = [...pyramidNodes(trained.model.spec), "features.pool5"];
  await using two = await createNodeReader(trained, wasm, { nodes, batchSize: 2 });
  await using one = await createNodeReader(trained, wasm, { nodes });
  assert.deepEqual([...two.shapes.values()], [[96, 32, 32], [120, 16, 16], [132, 8, 8], [132]]);
  const [together, apart] = [await two.read(photos.slice(0, 3)), await one.read(photos.slice(0, 3))];
  for (const node of nodes) {
    const [a, b] = [together, apart].map(({ values }) => values.get(node));
    assert.ok(a !== undefined && b !== undefined && a.shape[0] === 3);
    assert.deepEqual(a.shape, b.shape);
    const most = a.data.reduce((greatest, value) => Math.max(greatest, Math.abs(value)), 0);
    a.data.forEach((value, at) => {
      assert.ok(Math.abs(value - b.data[at]) <= 1e-5 * most, `${node} ${at}`);
    });
  }
});

test("residual and plain networks are explained too; a network with stochastic depth by its class activation map", async () => {
  for (const variant of ["ResNet-20", "PreResNet-29", "Plain-22-12"]) {
    const network = { ...trained, model: createNetwork(namedSpec(variant), { seed: 2 }) };
    for (const method of ["cam", "grad-cam"] as const) {
      await using explainer = await createExplainer(network, wasm, { method });
      const { map, logit } = await explainer.explain(photos[1]);
      assert.ok(map.values.every(Number.isFinite));
      const sum = map.values.reduce((total, value) => total + value, 0);
      if (method === "cam") assert.ok(Math.abs(sum - logit) < 1e-4 * Math.max(1, Math.abs(logit)), variant);
    }
  }
  const gated = { ...trained, model: createNetwork(namedSpec("ResNet-20", { stochasticDepth: 0.5 }), { seed: 2 }) };
  await (await createExplainer(gated, wasm)).dispose();
  await assert.rejects(createExplainer(gated, wasm, { method: "grad-cam" }), /stochastic depth.*expected method cam/);
});

test("refused · a node that is not there, one without positions, a class that is not there, a layer without Grad-CAM", async () => {
  const refused = (options: Parameters<typeof createExplainer>[2], message: RegExp) =>
    assert.rejects(createExplainer(trained, wasm, options), (error) => {
      assert.ok(error instanceof UsageError);
      assert.match(error.message, message);
      return true;
    });
  await refused({ layer: "features.denseblok3" }, /no node "features.denseblok3".*did you mean features.denseblock3\?/);
  await refused({ layer: "features.pool5" }, /features.pool5: has 132 values for an image, expected feature maps/);
  await refused({ layer: "features.denseblock1", method: "cam" }, /expected method grad-cam/);
  await refused({ method: "occlusion", patch: { side: 4, stride: 5 } }, /1 ≤ stride ≤ side/);
  await using explainer = await createExplainer(trained, wasm);
  await assert.rejects(explainer.explain(photos[0], 10), /class 10: the network has classes 0 to 9/);
  await assert.rejects(
    createNodeReader(trained, wasm, { nodes: ["features.norm5", "features.conv0"], gradients: true }),
    /got 2 nodes, expected one/,
  );
});

test("overlay · colour lies where the map is, through the crop; nothing where it is not above zero", () => {
  const image = { width: 40, height: 20, data: new Uint8Array(40 * 20 * 3).fill(128) };
  const box = centreBox(40, 20, { channels: 3, height: 32, width: 32 });
  assert.deepEqual(box, { left: 10, top: 0, width: 20, height: 20 });
  const map = { height: 2, width: 2, values: Float64Array.of(0, 4, -1, 0) };
  const out = overlay(image, box, map);
  const at = (x: number, y: number): number[] => [...out.subarray(3 * (y * 40 + x), 3 * (y * 40 + x) + 3)];
  const [red, green, blue] = at(29, 0);
  assert.ok(red > 200 && green > 200 && blue < 190, `${red} ${green} ${blue}`);
  assert.deepEqual(at(10, 19), [128, 128, 128]);
  assert.deepEqual(at(5, 5), [57, 57, 57]);
  assert.deepEqual(peakBox(map, box), { left: 20, top: 0, width: 10, height: 10 });
  assert.equal(peakBox({ ...map, values: map.values.map(() => -1) }, box), undefined);
});
