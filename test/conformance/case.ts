// Test support: a case is one kernel call as plain data: its arguments, the buffers they name, and what is in them
// before.
//
// Everything that no input fills is a sentinel: channels beside a view, guards between buffers, and outputs that are
// overwritten. A sentinel is a NaN whose payload is its position, so reading one spoils the result and writing one,
// even moving one, changes bits.
import type { RunScalars } from "../../src/backends/backend.ts";
import { sizeOf } from "../../src/ops/op.ts";
import { aligned } from "../../src/plan/arena.ts";
import {
  type ActivationDtype,
  type BufferName,
  type BufferRole,
  dtypeBytes,
  type KernelCall,
  type KernelName,
  type KernelTable,
  type Plan,
  type PlanBuffer,
} from "../../src/plan/plan.ts";
import { formula } from "../golden/formula.ts";

/** Values evenly distributed around a centre (σ = width/√12), or these ones, again and again. */
export type Fill = { readonly center: number; readonly width: number } | { readonly values: readonly number[] };

/** Channels of a buffer as a `View`, or all of it. */
export interface Region {
  readonly buffer: BufferName;
  readonly offset?: number;
  readonly channels?: number;
}

export interface CaseBuffer {
  readonly shape: readonly number[];
  readonly role?: BufferRole;
  readonly dtype?: "i32";
}

export interface Input {
  readonly at: Region;
  readonly fill: Fill;
}

export interface Case<K extends KernelName = KernelName> {
  readonly kernel: K;
  readonly name: string;
  readonly args: Readonly<KernelTable[K]>;
  readonly buffers: Readonly<Record<BufferName, CaseBuffer>>;
  readonly inputs: readonly Input[];
  readonly scalars?: RunScalars;
}

export type AnyCase = { readonly [K in KernelName]: Case<K> }[KernelName];

export const titleOf = ({ kernel, name }: AnyCase): string => `${kernel} · ${name}`;

/** Element indices of a region, in the order of the dense tensor it stands for. */
export function indicesOf({ offset = 0, channels }: Region, shape: readonly number[]): Uint32Array {
  if (channels === undefined) return new Uint32Array(sizeOf(shape)).map((_, i) => i);
  const images = shape.length === 1 ? 1 : shape[0];
  const all = shape.length === 1 ? shape[0] : shape[1];
  const plane = sizeOf(shape.slice(2));
  const indices = new Uint32Array(images * channels * plane);
  let i = 0;
  for (let n = 0; n < images; n++) {
    for (let p = 0; p < channels * plane; p++) indices[i++] = (n * all + offset) * plane + p;
  }
  return indices;
}

/**
 * Odd, so that no buffer begins where whole vectors do; longer than any slack a kernel might write by mistake at once.
 */
const guardFloats = 67;
const isGuard = (name: BufferName): boolean => name.startsWith("guard ");

/** As in plans: the forward pass's maps are feature maps, and cases call no others x, y or shortcut. */
export const isFeatureMaps = ({ name, shape }: Pick<PlanBuffer, "name" | "shape">): boolean =>
  shape.length === 4 && ["x", "y", "shortcut"].includes(name);

/** A kernel call of no plan: what it counts and computes is of no interest. */
export function callOf<K extends KernelName>(kernel: K, args: Readonly<KernelTable[K]>): KernelCall {
  // A call's type ties args to kernel; TypeScript cannot follow that through the type parameter.
  return {
    kernel,
    args,
    path: kernel,
    computes: [],
    recompute: false,
    macs: 0,
    trafficBytes: 0,
  } as unknown as KernelCall;
}

/** One call over its buffers: the arena's lie one after another with a guard before, between and behind them. */
export function planOf({ kernel, args, buffers }: AnyCase, activationDtype: ActivationDtype = "f32"): Plan {
  const guard = (index: number): LaidOut => ({
    name: `guard ${index}`,
    shape: [guardFloats],
    role: "arena",
    dtype: "f32",
  });
  const guarded = Object.entries(buffers).flatMap(([name, { shape, role = "arena", dtype }], i) => {
    const buffer: LaidOut = { name, shape, role, dtype: dtype ?? "f32" };
    return role === "arena" ? [buffer, guard(i + 1)] : [buffer];
  });
  return laidOut([guard(0), ...guarded], [callOf(kernel, args)], activationDtype);
}

/** The same calls over the same buffers, with feature maps of this type. */
export const withActivations = (plan: Plan, activationDtype: ActivationDtype): Plan =>
  // A plan in f32 keeps its offsets: a test may have laid one buffer over another.
  activationDtype === "f32" ? plan : laidOut([...plan.buffers.values()], plan.calls, activationDtype);

type LaidOut = Pick<PlanBuffer, "name" | "shape" | "role" | "dtype">;

/**
 * Buffers one after another in their role. Feature maps in f16 have an arena of their own, without guards, where the
 * next begins at a full word.
 */
function laidOut(buffers: readonly LaidOut[], calls: Plan["calls"], activationDtype: ActivationDtype): Plan {
  const tops = new Map<BufferRole | "f16", number>();
  const placed = buffers.map(({ name, shape, role, dtype: declared }): PlanBuffer => {
    const dtype = isFeatureMaps({ name, shape }) ? activationDtype : declared;
    const arena = dtype === "f16" ? "f16" : role;
    const offset = tops.get(arena) ?? 0;
    const bytes = sizeOf(shape) * dtypeBytes[dtype];
    tops.set(arena, dtype === "f16" ? aligned(offset + bytes) : offset + bytes);
    return { name, shape, role, dtype, bytes, offset, birth: -1, death: calls.length };
  });
  const f16ArenaBytes = tops.get("f16") ?? 0;
  const peakBytes = [...tops.values()].reduce((sum, top) => sum + top, 0);
  const arenaBytes = (tops.get("arena") ?? 0) + f16ArenaBytes;
  return {
    buffers: new Map(placed.map((buffer) => [buffer.name, buffer])),
    calls,
    addressed: [],
    arenaBytes,
    f16ArenaBytes,
    persistentBytes: peakBytes - arenaBytes,
    peakBytes,
  };
}

/** What each buffer holds before the run. */
export type Contents = ReadonlyMap<BufferName, Float32Array | Int32Array>;

const sentinelBits = (index: number): number => 0x7fc00000 | (index & 0x3fffff);

function valuesOf(key: string, size: number, fill: Fill): ArrayLike<number> {
  if ("values" in fill) return Array.from({ length: size }, (_, i) => fill.values[i % fill.values.length]);
  return formula(key, size, fill.center, fill.width);
}

/**
 * Sentinels, and over them the inputs. With `spoiled` the inputs are left out, labels excepted: what a run leaves
 * behind is then full of NaN.
 */
export function contentsOf(given: AnyCase, plan: Plan, spoiled = false): Contents {
  const contents = new Map<BufferName, Float32Array | Int32Array>();
  for (const { name, shape, dtype } of plan.buffers.values()) {
    const bits = new Uint32Array(sizeOf(shape)).map((_, i) => sentinelBits(i + 1));
    contents.set(name, dtype === "i32" ? new Int32Array(bits.buffer) : new Float32Array(bits.buffer));
  }
  for (const { at, fill } of given.inputs) {
    const data = contents.get(at.buffer);
    const buffer = plan.buffers.get(at.buffer);
    if (!data || !buffer || isGuard(at.buffer))
      throw new RangeError(`${titleOf(given)}: an input names ${at.buffer}, which is none of its buffers`);
    if (spoiled && buffer.dtype !== "i32") continue;
    const indices = indicesOf(at, buffer.shape);
    const values = valuesOf(`${titleOf(given)} ${at.buffer}`, indices.length, fill);
    indices.forEach((index, i) => {
      data[index] = values[i];
    });
  }
  return contents;
}
