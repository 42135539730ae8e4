// Weights in f16: rounded as the engine's own Float16Array rounds, half the bytes, and a file that still proves itself.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decodeModel, encodeModel } from "../../src/checkpoint/checkpoint.ts";
import { decodeFloats, encodeHalves } from "../../src/checkpoint/floats.ts";
import { readSafetensors } from "../../src/checkpoint/safetensors.ts";
import { UsageError, VerificationError } from "../../src/errors.ts";
import { createNetwork } from "../../src/model/create.ts";
import { namedSpec } from "../../src/networks/registry.ts";
import { fc } from "../seeded.ts";

const trained = () => ({
  model: createNetwork(namedSpec("BC-28-12"), { seed: 3 }),
  preprocessing: { height: 32, width: 32, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] },
  classes: [..."abcdefghij"],
  dataset: "letters",
});

describe("f16", () => {
  it("every one of the 65536 is read and written as it was, a NaN as a NaN", () => {
    const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
    const floats = decodeFloats(new Uint8Array(all.buffer), "F16");
    for (const [bits, again] of encodeHalves(floats).entries()) {
      if (!Number.isNaN(floats[bits])) assert.equal(again, bits);
      else assert.equal(again & 0x7fff, 0x7e00);
    }
  });

  it("numbers half way between two, and beside the middle, go where the engine's rounding takes them", () => {
    const steps = Uint16Array.from({ length: 0x7c00 }, (_, bits) => bits);
    const halves = decodeFloats(new Uint8Array(steps.buffer), "F16");
    const floats = new Float32Array(
      [...halves].flatMap((low, bits) => {
        const middle = (low + (halves[bits + 1] ?? 65536)) / 2;
        return [middle, middle * (1 - 2 ** -23), middle * (1 + 2 ** -23), -middle];
      }),
    );
    assert.deepEqual(encodeHalves(floats), new Uint16Array(Float16Array.from(floats).buffer));
  });

  it("any f32 goes where the engine's rounding takes it", () => {
    fc.assert(
      fc.property(fc.float32Array({ noNaN: true }), (floats) => {
        assert.deepEqual(encodeHalves(floats), new Uint16Array(Float16Array.from(floats).buffer));
      }),
    );
  });

  it("a model is read back with its weights rounded, its batch norms as they were, and half the weights' bytes", () => {
    const before = trained();
    const full = encodeModel(before);
    const bytes = encodeModel(before, { weights: "f16" });
    const { model } = decodeModel(bytes, "memory");
    let weights = 0;
    for (const [path, { data, shape }] of before.model.state) {
      const found = model.state.get(path)?.data ?? new Float32Array();
      const expected = shape.length < 2 ? data : Float32Array.from(Float16Array.from(data));
      assert.deepEqual(found, expected, path);
      if (shape.length >= 2) weights += data.length;
    }
    const { entries } = readSafetensors(bytes, "memory");
    const saved = entries.filter(({ dtype }) => dtype === "F16").reduce((sum, entry) => sum + entry.bytes().length, 0);
    assert.equal(saved, 2 * weights);
    assert.ok(full.length - bytes.length > 1.99 * weights);
  });

  it("a flipped bit of a weight is noticed", () => {
    const bytes = encodeModel(trained(), { weights: "f16" });
    const [first] = readSafetensors(bytes, "memory").entries.filter(({ dtype }) => dtype === "F16");
    first.bytes()[7] ^= 1;
    assert.throws(() => decodeModel(bytes, "memory"), VerificationError);
  });

  it("a weight beyond f16 is refused by name", () => {
    const of = trained();
    const [path, tensor] = [...of.model.state].find(([, { shape }]) => shape.length === 4) ?? [];
    assert.ok(tensor !== undefined);
    tensor.data[5] = -70000;
    assert.throws(
      () => encodeModel(of, { weights: "f16" }),
      (error) => error instanceof UsageError && error.message.startsWith(`${path}: holds -70000`),
    );
  });
});
