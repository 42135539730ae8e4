// backends/reference: the memory of a plan, laid out exactly as the plan says, so that buffers whose lifetimes overlap
// by mistake overwrite each other here as they would on a device.
//
// A plan's offsets are bytes of f32. Element index = offset/4 in both precisions: in f64 everything is twice as wide,
// nothing else differs.
import { allocate, type Precision, type Real, sizeOf, type Tensor } from "../../ops/op.ts";
import type { BufferName, BufferRole, PlanBuffer, View, Write } from "../../plan/plan.ts";
import { byRole, persistentRoles } from "../persistent.ts";

const BYTES = 4;

/** Elements that each role needs: to the end of its last buffer. */
export type RoleSizes = Readonly<Record<BufferRole, number>>;

export const ROLES: readonly BufferRole[] = [...persistentRoles, "arena"];

/** Sizes of the storage that holds the buffers of one or several plans. */
export function roleSizes(buffers: Iterable<PlanBuffer>): RoleSizes {
  const sizes = { ...byRole(() => 0), arena: 0 };
  for (const { role, offset, bytes } of buffers) sizes[role] = Math.max(sizes[role], (offset + bytes) / BYTES);
  return sizes;
}

/** What one executable holds. Integers of the arena stand in an array of their own at the same element offsets. */
export interface ReferenceStorage {
  readonly precision: Precision;
  readonly roles: Readonly<Record<BufferRole, Real>>;
  readonly arenaIntegers: Int32Array;
}

export function createStorage(sizes: RoleSizes, precision: Precision): ReferenceStorage {
  const reals = (role: BufferRole) => allocate([sizes[role]], precision).data;
  return {
    precision,
    roles: { ...byRole(reals), arena: reals("arena") },
    arenaIntegers: new Int32Array(sizes.arena),
  };
}

/** One plan's buffers in a storage: what a kernel sees. */
export interface ReferenceMemory {
  readonly precision: Precision;
  readonly buffers: ReadonlyMap<BufferName, PlanBuffer>;
  /** A whole buffer, not copied: writes go to the storage. */
  tensor(buffer: BufferName): Tensor & { readonly data: Real };
  /** A buffer of integers, such as labels; not copied. */
  integers(buffer: BufferName): Tensor & { readonly data: Int32Array };
  /** Everything of one role: parameters, gradients, gradient sums and momenta lie in parallel. */
  role(role: BufferRole): Real;
}

function missing(kind: string, name: BufferName): RangeError {
  return new RangeError(`the plan has no ${kind} buffer named ${name}`);
}

export function createMemory(buffers: ReadonlyMap<BufferName, PlanBuffer>, storage: ReferenceStorage): ReferenceMemory {
  return {
    precision: storage.precision,
    buffers,
    role: (role) => storage.roles[role],
    tensor(name) {
      const buffer = buffers.get(name);
      if (buffer?.dtype !== "f32") throw missing("f32", name);
      const start = buffer.offset / BYTES;
      return { shape: buffer.shape, data: storage.roles[buffer.role].subarray(start, start + sizeOf(buffer.shape)) };
    },
    integers(name) {
      const buffer = buffers.get(name);
      if (buffer?.dtype !== "i32" || buffer.role !== "arena") throw missing("i32", name);
      const start = buffer.offset / BYTES;
      return { shape: buffer.shape, data: storage.arenaIntegers.subarray(start, start + sizeOf(buffer.shape)) };
    },
  };
}

/**
 * The channels of a view, as a dense tensor of the given shape: [N,C,H,W], [N,C] or [C] with C = view.channels. The
 * buffer may hold more channels: an image is shape[1] of the buffer planes long.
 */
export function gather(
  memory: ReferenceMemory,
  view: View,
  shape: readonly number[],
): Tensor & { readonly data: Real } {
  const dense = allocate(shape, memory.precision);
  const { data } = memory.tensor(view.buffer);
  eachRun(memory, view, shape, (at, from, length) => dense.data.set(data.subarray(at, at + length), from));
  return dense;
}

/** The inverse of `gather`: replaces the view's channels, or adds to them. */
export function scatter(memory: ReferenceMemory, view: View, value: Tensor, write: Write): void {
  const { data } = memory.tensor(view.buffer);
  eachRun(memory, view, value.shape, (at, from, length) => {
    for (let i = 0; i < length; i++) {
      data[at + i] = write === "accumulate" ? data[at + i] + value.data[from + i] : value.data[from + i];
    }
  });
}

/** Visits the runs of elements that lie together in the buffer and in the dense tensor: all channels of one image. */
function eachRun(
  memory: ReferenceMemory,
  view: View,
  shape: readonly number[],
  visit: (at: number, from: number, length: number) => void,
): void {
  const perChannelVector = shape.length === 1;
  const images = perChannelVector ? 1 : shape[0];
  const plane = sizeOf(shape.slice(2));
  const channels = perChannelVector ? shape[0] : shape[1];
  const bufferShape = memory.tensor(view.buffer).shape;
  const bufferChannels = perChannelVector ? bufferShape[0] : bufferShape[1];
  if (channels !== view.channels || view.offset + channels > bufferChannels) {
    throw new RangeError(
      `view of ${view.buffer}: channels ${view.offset} to ${view.offset + view.channels} of ${bufferChannels}, the ` +
        `kernel expects ${channels}`,
    );
  }
  for (let n = 0; n < images; n++) {
    visit((n * bufferChannels + view.offset) * plane, n * channels * plane, channels * plane);
  }
}
