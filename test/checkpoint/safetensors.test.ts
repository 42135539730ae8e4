import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeSafetensors, encodeSafetensors } from "../../src/checkpoint/safetensors.ts";
import { InputError } from "../../src/errors.ts";
import type { Tensor } from "../../src/model/tensor.ts";
import { fc } from "../seeded.ts";

/** A file by hand, so that a fault can stand anywhere in it. */
function file(header: string, data: number[] | Uint8Array = [], declared?: bigint): Uint8Array {
  const text = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, declared ?? BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  return bytes;
}

const small: ReadonlyMap<string, Tensor> = new Map<string, Tensor>([
  ["features.conv0.weight", { dtype: "F32", shape: [2, 1, 1, 3], data: Float32Array.of(1, -2, 0.5, 3e-39, -0, 7) }],
  ["features.norm0.num_batches_tracked", { dtype: "I64", shape: [], data: BigInt64Array.of(-(2n ** 62n)) }],
  ["labels", { dtype: "I32", shape: [3], data: Int32Array.of(1, -2, 3) }],
  ["flags", { dtype: "U8", shape: [3], data: Uint8Array.of(0, 128, 255) }],
  ["sum", { dtype: "F64", shape: [1], data: Float64Array.of(Math.PI) }],
  ["none", { dtype: "F32", shape: [0, 4], data: new Float32Array(0) }],
]);

test("safetensors · a file written by hand to the format's rules is read", () => {
  const header = `{"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"n":{"dtype":"U8","shape":[],"data_offsets":[8,9]}}   `;
  const { tensors, metadata } = decodeSafetensors(file(header, [0, 0, 128, 63, 0, 0, 0, 192, 200]), "hand");
  assert.deepEqual(metadata, { a: "b" });
  assert.deepEqual(tensors.get("w"), { dtype: "F32", shape: [2], data: Float32Array.of(1, -2) });
  assert.deepEqual(tensors.get("n"), { dtype: "U8", shape: [], data: Uint8Array.of(200) });
  assert.equal(tensors.size, 2);
});

test(
  "safetensors · written files obey the format: header length a multiple of 8, offsets aligned, contiguous, " +
    "complete",
  () => {
    const bytes = encodeSafetensors(small, { format: "pt" });
    const headerLength = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    assert.equal(headerLength % 8, 0);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerLength)));
    assert.deepEqual(header.__metadata__, { format: "pt" });
    delete header.__metadata__;
    const width: Record<string, number> = { F64: 8, I64: 8, F32: 4, I32: 4, U8: 1 };
    let end = 0;
    for (const entry of Object.values(header) as { dtype: string; data_offsets: [number, number] }[]) {
      assert.equal(entry.data_offsets[0], end);
      assert.equal(entry.data_offsets[0] % (width[entry.dtype] as number), 0);
      end = entry.data_offsets[1];
    }
    assert.equal(bytes.length, 8 + headerLength + end);
  },
);

test("safetensors · every dtype returns bit by bit, from an odd address and from a Buffer of Node too", () => {
  const bytes = encodeSafetensors(small, { note: 'ünïcode "quoted"' });
  const shifted = new Uint8Array(bytes.length + 3).subarray(3);
  shifted.set(bytes);
  for (const source of [bytes, shifted, Buffer.from(bytes), Buffer.from(shifted)]) {
    const { tensors, metadata } = decodeSafetensors(source, "x");
    assert.deepEqual(metadata, { note: 'ünïcode "quoted"' });
    assert.deepEqual(new Map([...tensors].sort()), new Map([...small].sort()));
  }
});

test("safetensors · any tensors, any names: decode(encode(x)) = x", () => {
  const tensor = fc.array(fc.nat(4), { maxLength: 3 }).chain((shape) => {
    const count = shape.reduce((a, b) => a * b, 1);
    return fc.oneof(
      fc
        .array(fc.float({ noNaN: true }), { minLength: count, maxLength: count })
        .map((v): Tensor => ({ dtype: "F32", shape, data: Float32Array.from(v) })),
      fc
        .array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { minLength: count, maxLength: count })
        .map((v): Tensor => ({ dtype: "I64", shape, data: BigInt64Array.from(v) })),
      fc
        .array(fc.nat(255), { minLength: count, maxLength: count })
        .map((v): Tensor => ({ dtype: "U8", shape, data: Uint8Array.from(v) })),
    );
  });
  const name = fc.string({ unit: "grapheme" }).filter((n) => n !== "__metadata__");
  fc.assert(
    fc.property(
      fc.array(fc.tuple(name, tensor), { maxLength: 6 }),
      fc.dictionary(name, fc.string()),
      (pairs, metadata) => {
        const tensors = new Map(pairs);
        const back = decodeSafetensors(encodeSafetensors(tensors, metadata), "x");
        assert.equal(back.tensors.size, tensors.size);
        for (const [key, value] of tensors) assert.deepEqual(back.tensors.get(key), value);
        assert.deepEqual(new Map(Object.entries(back.metadata)), new Map(Object.entries(metadata)));
      },
    ),
    { numRuns: 300 },
  );
});

test("safetensors · every proper prefix is refused with the file's name", () => {
  const bytes = encodeSafetensors(small, { format: "pt" });
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(
      () => decodeSafetensors(bytes.subarray(0, length), "net.safetensors"),
      (error) => error instanceof InputError && error.message.startsWith("net.safetensors: "),
      `prefix of ${length} bytes`,
    );
  }
});

test(
  "safetensors · a flipped bit of length or header gives an InputError or a file that still obeys the rules, " +
    "never another error",
  () => {
    const bytes = encodeSafetensors(small, { format: "pt" });
    const headerEnd = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
    let refused = 0;
    for (let bit = 0; bit < headerEnd * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      try {
        for (const { shape, data } of decodeSafetensors(flipped, "x").tensors.values()) {
          assert.equal(
            data.length,
            shape.reduce((a, b) => a * b, 1),
          );
        }
      } catch (error) {
        assert.ok(error instanceof InputError, `bit ${bit}: ${String(error)}`);
        refused++;
      }
    }
    assert.ok(refused > headerEnd * 4, `only ${refused} of ${headerEnd * 8} flips were noticed`);
  },
);

const entry = (begin: number, end: number, dtype = "F32", shape = "[1]") =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${begin},${end}]}`;

const faults: [name: string, bytes: Uint8Array, says: RegExp][] = [
  [
    "header above the limit",
    file("{}", new Uint8Array(100_000_000), 100_000_001n),
    /100000001 bytes, expected at most 100000000/,
  ],
  ["header length of 2⁶³", file("{}", [], 2n ** 63n), /not a safetensors file.* longer than the file's 10 bytes$/],
  ["header one byte longer than the file", file("{}", [], 3n), /not a safetensors file, or one that was cut short/],
  [
    "some other JSON",
    new TextEncoder().encode('{"lr": 0.1}'),
    /not a safetensors file, or one that was cut short: its first 8 bytes give a header longer than the file's 11 bytes$/,
  ],
  ["header is no JSON", file("{oops}"), /not JSON/],
  ["header is a list", file("[]"), /JSON object/],
  ["header begins with a space", file(" {}"), /begins with \{/],
  ["header is not UTF-8", file("{}").fill(0xff, 8), /not JSON/],
  ["a name twice", file(`{"w":${entry(0, 4)},"w":${entry(0, 4)}}`, [0, 0, 0, 0]), /key "w" twice/],
  ["a name twice, once escaped", file(`{"w":${entry(0, 4)},"\\u0077":${entry(0, 4)}}`, [0, 0, 0, 0]), /key "w" twice/],
  [
    "a field twice",
    file(`{"w":{"dtype":"F32","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, [0]),
    /key "dtype" twice/,
  ],
  ["metadata is no object", file(`{"__metadata__":[]}`), /__metadata__/],
  ["metadata holds a number", file(`{"__metadata__":{"a":1}}`), /__metadata__\.a/],
  ["entry is no object", file(`{"w":3}`), /"w"/],
  ["unknown field", file(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}`, [0]), /unknown field "x"/],
  ["unknown dtype", file(`{"w":${entry(0, 2, "F4")}}`, [0, 0]), /dtype "F4", expected one of/],
  [
    "dtype of no tensor of ours",
    file(`{"w":${entry(0, 8, "C64")}}`, [0, 0, 0, 0, 0, 0, 0, 0]),
    /dtype C64, expected one/,
  ],
  ["dtype from the prototype", file(`{"w":${entry(0, 2, "toString")}}`, [0, 0]), /dtype "toString"/],
  ["negative size", file(`{"w":${entry(0, 4, "F32", "[-1]")}}`, [0, 0, 0, 0]), /shape \[-1\]/],
  ["size that is no integer", file(`{"w":${entry(0, 4, "F32", "[1.5]")}}`, [0, 0, 0, 0]), /shape \[1\.5\]/],
  ["offsets backwards", file(`{"w":${entry(4, 0)}}`, [0, 0, 0, 0]), /needs 4 bytes, data_offsets give -4/],
  [
    "too few bytes for the shape",
    file(`{"w":${entry(0, 4, "F32", "[2]")}}`, [0, 0, 0, 0]),
    /needs 8 bytes, data_offsets give 4/,
  ],
  ["beyond the end", file(`{"w":${entry(0, 4)}}`, [0, 0, 0]), /truncated.*describes 4 bytes of data, the file has 3/],
  ["bytes left over", file(`{"w":${entry(0, 4)}}`, [0, 0, 0, 0, 0]), /bytes follow the last tensor/],
  [
    "a hole",
    file(`{"a":${entry(0, 4)},"b":${entry(5, 9)}}`, Array(9).fill(0)),
    /"b" begins at byte 5 of the data, expected 4/,
  ],
  ["a hole in front", file(`{"a":${entry(4, 8)}}`, Array(8).fill(0)), /"a" begins at byte 4 of the data, expected 0/],
  [
    "overlap",
    file(`{"a":${entry(0, 4)},"b":${entry(2, 6)}}`, Array(6).fill(0)),
    /"b" begins at byte 2 of the data, expected 4/,
  ],
  [
    "shape product beyond 2⁵³",
    file(`{"a":${entry(0, 4, "F32", "[9007199254740991,9007199254740991]")}}`, Array(4).fill(0)),
    /needs/,
  ],
];

for (const [name, bytes, says] of faults) {
  test(`safetensors · refused: ${name}`, () => {
    assert.throws(
      () => decodeSafetensors(bytes, "bad.safetensors"),
      (error) => error instanceof InputError && /^bad\.safetensors: /.test(error.message) && says.test(error.message),
    );
  });
}

test("safetensors · a tensor whose shape does not hold its numbers is not written", () => {
  const wrong = new Map<string, Tensor>([["w", { dtype: "F32", shape: [2, 2], data: new Float32Array(3) }]]);
  assert.throws(() => encodeSafetensors(wrong), RangeError);
});
