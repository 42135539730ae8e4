// run: TensorBoard's event files, as bytes. Portable. A file is a series of TFRecords, each one Event message of
// tensorflow/core/util/event.proto in protobuf's wire format; only what a run writes is here.
//
//   record   length u64 · masked CRC-32C of it u32 · Event · masked CRC-32C of that u32      little-endian

/** A value under a name; names with the same prefix up to "/" share a heading. */
export type SummaryValue =
  | { readonly tag: string; readonly scalar: number }
  | { readonly tag: string; readonly image: EncodedImage }
  | { readonly tag: string; readonly histogram: Histogram };

export interface EncodedImage {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** PNG or JPEG. */
  readonly bytes: Uint8Array;
}

export interface Histogram {
  readonly min: number;
  readonly max: number;
  readonly count: number;
  readonly sum: number;
  readonly sumSquares: number;
  /** Upper ends of the bins, ascending, and how many values each has. */
  readonly limits: readonly number[];
  readonly counts: readonly number[];
}

/** One Event: the version that begins a file, the start of a process's share of the run, or values of a step. */
export type BoardEvent = { readonly seconds: number; readonly step?: number } & (
  | { readonly kind: "version" }
  | { readonly kind: "start" }
  | { readonly kind: "values"; readonly values: readonly SummaryValue[] }
);

const BINS = 30;

/** The values in so many bins of equal width. */
export function histogramOf(values: ArrayLike<number>): Histogram {
  let [min, max, sum, sumSquares] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 0];
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
    sumSquares += value * value;
  }
  const counts = new Array<number>(BINS).fill(0);
  const width = (max - min) / BINS;
  for (let i = 0; i < values.length; i++) {
    counts[width > 0 ? Math.min(BINS - 1, Math.floor((values[i] - min) / width)) : BINS - 1]++;
  }
  const limits = counts.map((_, bin) => (bin === BINS - 1 ? max : min + (bin + 1) * width));
  return { min, max, count: values.length, sum, sumSquares, limits, counts };
}

/** The bytes of one event in a file. */
export function encodeRecord(event: BoardEvent): Uint8Array {
  const data = Uint8Array.from(encodeEvent(event));
  const record = new Uint8Array(16 + data.length);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc(record.subarray(0, 8)), true);
  record.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc(data), true);
  return record;
}

/** Event: wall_time 1, step 2, file_version 3, summary 5, session_log 7. */
function encodeEvent(event: BoardEvent): number[] {
  const { seconds, step } = event;
  const head = [...double(1, seconds), ...whole(2, step ?? 0)];
  switch (event.kind) {
    case "version":
      return [...head, ...text(3, "brain.Event:2")];
    case "start":
      // SessionLog: status 1, of which START is 1. What came before from this step on is void.
      return [...head, ...bytes(7, whole(1, 1))];
    case "values":
      return [
        ...head,
        ...bytes(
          5,
          event.values.flatMap((value) => bytes(1, encodeValue(value))),
        ),
      ];
  }
}

/** Summary.Value: tag 1, simple_value 2, image 4, histo 5. */
function encodeValue(value: SummaryValue): number[] {
  const tag = text(1, value.tag);
  if ("scalar" in value) return [...tag, ...float(2, value.scalar)];
  if ("image" in value) {
    const { height, width, channels, bytes: encoded } = value.image;
    return [
      ...tag,
      ...bytes(4, [...whole(1, height), ...whole(2, width), ...whole(3, channels), ...bytes(4, encoded)]),
    ];
  }
  const { min, max, count, sum, sumSquares, limits, counts } = value.histogram;
  const numbers = [min, max, count, sum, sumSquares].flatMap((number, index) => double(index + 1, number));
  return [
    ...tag,
    ...bytes(5, [...numbers, ...bytes(6, limits.flatMap(doubleBytes)), ...bytes(7, counts.flatMap(doubleBytes))]),
  ];
}

// protobuf: a field is its number and wire type, then the value. What has its default, 0, is left out.

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const FIXED32 = 5;

function varint(value: number): number[] {
  const out: number[] = [];
  let left = value;
  for (; left >= 128; left = Math.floor(left / 128)) out.push((left % 128) | 128);
  out.push(left);
  return out;
}

const key = (field: number, wireType: number): number[] => varint(field * 8 + wireType);

function whole(field: number, value: number): number[] {
  return value === 0 ? [] : [...key(field, VARINT), ...varint(value)];
}

function double(field: number, value: number): number[] {
  return Object.is(value, 0) ? [] : [...key(field, FIXED64), ...doubleBytes(value)];
}

/** Always there: it is one of several kinds of value. */
function float(field: number, value: number): number[] {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value, true);
  return [...key(field, FIXED32), ...new Uint8Array(view.buffer)];
}

function doubleBytes(value: number): number[] {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value, true);
  return [...new Uint8Array(view.buffer)];
}

function bytes(field: number, value: ArrayLike<number>): number[] {
  return [...key(field, DELIMITED), ...varint(value.length), ...Array.from(value)];
}

function text(field: number, value: string): number[] {
  return bytes(field, new TextEncoder().encode(value));
}

/** CRC-32C (Castagnoli), reflected, of each byte. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff];
  return (crc ^ 0xffffffff) >>> 0;
}

/** TFRecord's mask: the CRC of data that holds CRCs would be too regular. */
function maskedCrc(data: Uint8Array): number {
  const crc = crc32c(data);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
