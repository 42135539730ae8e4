// data: the ImageNet recipe's crops and colour changes have torchvision's distribution (scripts/fixtures/augmentation.py),
// do to an image what its changes do one after the other, and PCA lighting is the normal it should be.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { drawCrop } from "../../src/data/augment.ts";
import { type Colouring, colourChanges, colourImage, drawColouring } from "../../src/data/colour.ts";
import { fc } from "../seeded.ts";
import { sameDistribution } from "./distribution.ts";

interface Fixture {
  readonly draws: number;
  readonly crops: readonly {
    readonly width: number;
    readonly height: number;
    readonly quantiles: Readonly<Record<string, readonly number[]>>;
  }[];
  readonly image: { readonly height: number; readonly width: number; readonly bytes: readonly number[] };
  readonly jitter: Readonly<Record<string, readonly number[]>>;
  readonly exact: readonly { readonly changes: Colouring["changes"]; readonly pixels: readonly number[] }[];
}

const fixture: Fixture = JSON.parse(readFileSync(new URL("fixtures/torchvision.json", import.meta.url), "utf8"));
const { draws } = fixture;
const size = { channels: 3, height: fixture.image.height, width: fixture.image.width };
const bytes = Uint8Array.from(fixture.image.bytes);
const asIs = { mean: [0, 0, 0], std: [1, 1, 1] };
const dark = [0, 0, 0] as const;

for (const { width, height, quantiles } of fixture.crops) {
  test(`ImageNet crop · ${width}×${height} · distributed as torchvision's`, () => {
    const boxes = Array.from({ length: draws }, (_, index) => drawCrop(width, height, 5, 2, index));
    const of = (value: (box: (typeof boxes)[number]) => number): number[] => boxes.map(value);
    const found: Readonly<Record<string, number[]>> = {
      width: of((box) => box.width),
      height: of((box) => box.height),
      left: of((box) => box.left),
      top: of((box) => box.top),
      area: of((box) => (box.width * box.height) / (width * height)),
      aspect: of((box) => box.width / box.height),
    };
    for (const [name, wanted] of Object.entries(quantiles)) sameDistribution(name, found[name] ?? [], wanted, draws);
  });
}

test("ImageNet crop · an image that is too wide for ten attempts · its centre at 4:3, not a square", () => {
  const boxes = Array.from({ length: 100 }, (_, index) => drawCrop(10_000, 20, 5, 2, index));
  const central = boxes.filter(({ width, height }) => width === 27 && height === 20);
  assert.ok(central.length > 90);
  assert.ok(central.every(({ left, top }) => left === (10_000 - 27) >> 1 && top === 0));
  assert.deepEqual(drawCrop(20, 10_000, 5, 2, 1), { left: 0, top: (10_000 - 27) >> 1, width: 20, height: 27 });
});

/** Pixels in 0…1 of the fixture's image after the changes. */
function coloured({ changes, light }: Colouring): Float32Array {
  const out = new Float32Array(bytes.length).fill(Number.NaN);
  colourImage(bytes, size, asIs, { changes, light }, false, out);
  return out;
}

test("colour jitter · distributed as torchvision's", () => {
  const plane = size.height * size.width;
  const one = size.width + 2;
  const found = new Map<string, number[]>(Object.keys(fixture.jitter).map((name) => [name, []]));
  for (let index = 0; index < draws; index++) {
    const pixels = coloured({ ...drawColouring(3, 1, index), light: dark });
    let total = 0;
    for (const [channel, name] of ["red", "green", "blue"].entries()) {
      let sum = 0;
      for (let i = channel * plane; i < (channel + 1) * plane; i++) sum += pixels[i];
      total += sum;
      found.get(`mean ${name}`)?.push(sum / plane);
      found.get(`one ${name}`)?.push(pixels[channel * plane + one]);
    }
    const mean = total / pixels.length;
    const squares = pixels.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    found.get("deviation")?.push(Math.sqrt(squares / (pixels.length - 1)));
  }
  for (const [name, wanted] of Object.entries(fixture.jitter))
    sameDistribution(name, found.get(name) ?? [], wanted, draws);
});

for (const { changes, pixels } of fixture.exact) {
  test(`colour · ${changes.map(({ kind, factor }) => `${kind} ${factor}`).join(", ")} · torchvision's pixels`, () => {
    const found = coloured({ changes, light: dark });
    // torchvision's red weighs 0.2989, not 0.299: of pixels up to 1 in at most two blends by less than 0.41.
    for (const [i, value] of pixels.entries())
      assert.ok(Math.abs(found[i] - value) < 1e-4, `${i}: ${found[i]}, ${value}`);
  });
}

/** The authors' way: one change after the other, each over the whole image. */
function stepByStep(pixels: Uint8Array, plane: number, { changes, light }: Colouring): Float64Array {
  const channels = pixels.length / plane;
  const luma = channels === 3 ? [0.299, 0.587, 0.114] : [1];
  const image = Float64Array.from(pixels, (byte) => byte / 255);
  const greyAt = (i: number): number => luma.reduce((sum, weight, c) => sum + weight * image[c * plane + i], 0);
  for (const { kind, factor } of changes) {
    const greys = Array.from({ length: plane }, (_, i) => greyAt(i));
    const mean = greys.reduce((sum, grey) => sum + grey, 0) / plane;
    for (const i of image.keys()) {
      const other = kind === "brightness" ? 0 : kind === "contrast" ? mean : greys[i % plane];
      image[i] = factor * image[i] + (1 - factor) * (other ?? 0);
    }
  }
  return channels === 3 ? image.map((value, i) => value + light[Math.floor(i / plane)]) : image;
}

test("colour · one matrix is the changes one after the other, then light, normalisation and mirroring; 1 or 3 channels", () => {
  const shape = fc.record({
    channels: fc.constantFrom(1, 3),
    height: fc.integer({ min: 1, max: 6 }),
    width: fc.integer({ min: 1, max: 6 }),
  });
  fc.assert(
    fc.property(shape, fc.nat(), fc.nat(), fc.boolean(), (size, seed, index, mirror) => {
      const { channels, height, width } = size;
      const plane = height * width;
      const image = Uint8Array.from({ length: channels * plane }, (_, i) => (seed + i * (index | 1)) % 256);
      const normalization = { mean: [0.5, 0.4, 0.3].slice(0, channels), std: [0.2, 0.3, 0.25].slice(0, channels) };
      const drawn = drawColouring(seed, 1, index);
      const out = new Float32Array(image.length).fill(Number.NaN);
      colourImage(image, size, normalization, drawn, mirror, out);
      const wanted = stepByStep(image, plane, drawn);
      for (const [i, value] of out.entries()) {
        const channel = Math.floor(i / plane);
        const x = i % width;
        const from = i - x + (mirror ? width - 1 - x : x);
        const expected = (wanted[from] - normalization.mean[channel]) / normalization.std[channel];
        // Doubles throughout; only the result is rounded to f32.
        assert.ok(Math.abs(value - expected) <= 2 ** -23 * Math.max(1, Math.abs(expected)), `${value}, ${expected}`);
      }
    }),
  );
});

test("colour · factors 0.6 to 1.4, every order and epoch about equally often, a function of (seed, epoch, image)", () => {
  assert.deepEqual(drawColouring(1, 2, 3), drawColouring(1, 2, 3));
  const orders = new Map<string, number>();
  for (let index = 0; index < 12_000; index++) {
    const { changes } = drawColouring(1, index % 60, Math.floor(index / 60));
    assert.deepEqual(changes.map(({ kind }) => kind).sort(), [...colourChanges].sort());
    assert.ok(changes.every(({ factor }) => factor >= 0.6 && factor < 1.4));
    const key = changes.map(({ kind }) => kind).join();
    orders.set(key, (orders.get(key) ?? 0) + 1);
  }
  assert.equal(orders.size, 6);
  // Binomial(12,000, 1/6): mean 2000, deviation 41; 6 deviations.
  for (const [order, count] of orders) assert.ok(Math.abs(count - 2000) < 6 * 41, `${order}: ${count}`);
});

test("lighting · normal along each principal component, 0.1 of its eigenvalue wide, the components independent", () => {
  const eigenvalues = [0.2175, 0.0188, 0.0045];
  const eigenvectors = [
    [-0.5675, 0.7192, 0.4009],
    [-0.5808, -0.0045, -0.814],
    [-0.5836, -0.6948, 0.4203],
  ];
  const many = 200_000;
  const lights = Array.from({ length: many }, (_, index) => drawColouring(9, 4, index).light);
  // The vectors are orthonormal to their four digits, so a product with them gives the component back.
  const along = eigenvalues.map((value, component) =>
    lights.map(
      (light) => light.reduce((sum, v, c) => sum + v * (eigenvectors[c]?.[component] ?? 0), 0) / (0.1 * value),
    ),
  );
  const normalQuantiles = Array.from({ length: 100 }, (_, i) => inverseNormal((i + 0.5) / 100));
  // What four digits leave of orthogonality: the largest component's light along the smallest one.
  const leak = 4e-4 * (0.2175 / 0.0045);
  for (const [component, values] of along.entries()) {
    sameDistribution(`component ${component}`, values.slice(0, draws), normalQuantiles, draws);
    // Of a standard normal: mean 1, deviation √(2/n); 6 deviations.
    const square = values.reduce((sum, value) => sum + value * value, 0) / many;
    assert.ok(Math.abs(square - 1) < 6 * Math.sqrt(2 / many) + leak ** 2 + 4e-4, `component ${component}: ${square}`);
  }
  for (const [a, b] of [
    [0, 1],
    [0, 2],
    [1, 2],
  ] as const) {
    const product = along[a]?.reduce((sum, value, i) => sum + value * (along[b]?.[i] ?? 0), 0) ?? Number.NaN;
    // Of independent normals: deviation √n; 6 deviations.
    assert.ok(Math.abs(product / many) < 6 / Math.sqrt(many) + leak, `${a} and ${b}: ${product / many}`);
  }
});

/** By bisection of Φ, itself by Simpson's rule. */
function inverseNormal(level: number): number {
  const density = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  const below = (x: number): number => {
    const steps = 200;
    const h = x / steps;
    let sum = 0;
    for (let i = 0; i < steps; i += 2) sum += density(i * h) + 4 * density((i + 1) * h) + density((i + 2) * h);
    return 0.5 + (sum * h) / 3;
  };
  let [low, high] = [-6, 6];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (below(middle) < level) low = middle;
    else high = middle;
  }
  return low;
}
