// Test support: buffers laid one after another, as a plan would, with room around them that no kernel may touch.
import {
  createMemory,
  createStorage,
  type ReferenceMemory,
  roleSizes,
} from "../../../src/backends/reference/memory.ts";
import { type Precision, sizeOf } from "../../../src/ops/op.ts";
import type { BufferRole, PlanBuffer, View } from "../../../src/plan/plan.ts";
import { draw } from "../../ops/differences.ts";

export interface BufferCase {
  readonly shape: readonly number[];
  readonly role?: BufferRole;
  readonly dtype?: "f32" | "i32";
  readonly birth?: number;
  readonly death?: number;
}

/** Buffers in order within their role, 16 bytes apart. */
export function layOut(cases: Readonly<Record<string, BufferCase>>): Map<string, PlanBuffer> {
  const ends = new Map<BufferRole, number>();
  return new Map(
    Object.entries(cases).map(([name, { shape, role = "arena", dtype = "f32", birth = -1, death = 1000 }]) => {
      const offset = (ends.get(role) ?? 0) + 16;
      const bytes = 4 * sizeOf(shape);
      ends.set(role, offset + bytes);
      return [name, { name, shape, role, dtype, bytes, offset, birth, death }];
    }),
  );
}

/** Memory whose float buffers hold values drawn by name and whose gaps hold −77. */
export function drawnMemory(
  cases: Readonly<Record<string, BufferCase>>,
  precision: Precision = "f64",
): ReferenceMemory & { readonly gapsIntact: () => boolean } {
  const buffers = layOut(cases);
  const storage = createStorage(roleSizes(buffers.values()), precision);
  for (const array of Object.values(storage.roles)) array.fill(-77);
  const memory = createMemory(buffers, storage);
  for (const { name, shape, dtype } of buffers.values()) {
    if (dtype === "f32") memory.tensor(name).data.set(draw(name, shape).data);
  }
  function gapsIntact(): boolean {
    const covered = new Map(Object.keys(storage.roles).map((role) => [role, new Set<number>()]));
    for (const { role, offset, bytes } of buffers.values()) {
      for (let i = offset / 4; i < (offset + bytes) / 4; i++) covered.get(role)?.add(i);
    }
    return Object.entries(storage.roles).every(([role, array]) =>
      array.every((value, i) => covered.get(role)?.has(i) || value === -77),
    );
  }
  return { ...memory, gapsIntact };
}

/** All channels of a buffer, or a run of them. */
export function view(buffer: string, channels: number, offset = 0): View {
  return { buffer, offset, channels };
}
