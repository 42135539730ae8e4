// backends/wasm: loops over a run of floats that is adjacent in memory, any length, nothing read or written past its
// end that could be seen: pairs of vectors, then single vectors, then single lanes, all through the same arithmetic.
import type { Write } from "../../plan/plan.ts";
import { type Expression, type FunctionBuilder, f32, f32x4, i32, i32x4, type Operand, v128 } from "./assembler.ts";

/**
 * How one stretch of a run is reached. Lanes that lie past the end read as 0, are not written, and `live` clears them.
 */
export interface Stretch {
  readonly vectors: readonly (0 | 1)[];
  load(address: Expression, vector: 0 | 1): Expression;
  store(address: Expression, vector: 0 | 1, value: Expression): void;
  /** The value with zeros in lanes that are not part of the run. */
  live(value: Expression): Expression;
}

/** body(offset, stretch): `offset` is the byte offset of the stretch in the run of `bytes` bytes. */
export function forEachStretch(
  f: FunctionBuilder,
  bytes: Operand,
  body: (offset: Expression, stretch: Stretch) => void,
): void {
  const whole = (vectors: readonly (0 | 1)[]): Stretch => ({
    vectors,
    load: (address, vector) => v128.load(address, vector * 16),
    store: (address, vector, value) => f.store(address, value, vector * 16),
    live: (value) => value,
  });
  const single: Stretch = {
    vectors: [0],
    load: (address) => v128.load32Zero(address),
    store: (address, _, value) => f.storeLane(address, value),
    live: (value) => v128.and(value, i32x4.const([-1, 0, 0, 0])),
  };
  const end = f.let(bytes).get;
  const pairs = f.let(i32.and(end, ~31)).get;
  const quads = f.let(i32.and(end, ~15)).get;
  f.loop(0, pairs, 32, (x) => body(x.get, whole([0, 1])));
  f.loop(pairs, quads, 16, (x) => body(x.get, whole([0])));
  f.loop(quads, end, 4, (x) => body(x.get, single));
}

/** Stretches of two vectors that may read and write up to 28 bytes past the end: for scratch memory that allows it. */
export function forEachPair(f: FunctionBuilder, bytes: Operand, body: (offset: Expression) => void): void {
  f.loop(0, bytes, 32, (x) => body(x.get));
}

/** Copies a run of any length, or adds it to what is there, and not a byte more. */
export function copyRow(
  f: FunctionBuilder,
  from: Expression,
  to: Expression,
  bytes: Operand,
  write: Write = "overwrite",
): void {
  forEachStretch(f, bytes, (offset, stretch) => {
    const source = f.let(i32.add(from, offset)).get;
    const sink = f.let(i32.add(to, offset)).get;
    for (const v of stretch.vectors) {
      const value = stretch.load(source, v);
      stretch.store(sink, v, write === "accumulate" ? f32x4.add(stretch.load(sink, v), value) : value);
    }
  });
}

/** Zeros over `bytes`, a multiple of 4. */
export function clear(f: FunctionBuilder, address: Expression, bytes: Operand): void {
  const end = f.let(bytes).get;
  const quads = f.let(i32.and(end, ~15)).get;
  f.loop(0, quads, 16, (offset) => f.store(i32.add(address, offset.get), v128.zero));
  f.loop(quads, end, 4, (offset) => f.store(i32.add(address, offset.get), f32.const(0)));
}
