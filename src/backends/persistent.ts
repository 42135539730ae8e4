// backends: what an executable keeps from run to run. All its plans share these buffers, so they must agree on where
// each lies.
import type { BufferName, BufferRole, Plan, PlanBuffer } from "../plan/plan.ts";

/** In the order in which backends lay them out. */
export const persistentRoles = [
  "parameter",
  "gradient",
  "gradientSum",
  "momentum",
  "secondMoment",
  "state",
] as const satisfies readonly BufferRole[];
export type PersistentRole = (typeof persistentRoles)[number];

/** A value for each of these roles. */
export function byRole<T>(value: (role: PersistentRole) => T): Record<PersistentRole, T> {
  return Object.fromEntries(persistentRoles.map((role) => [role, value(role)])) as Record<PersistentRole, T>;
}

export interface Persistent {
  readonly buffers: ReadonlyMap<BufferName, PlanBuffer>;
  /** Where the last buffer of a role ends. */
  readonly roleBytes: Readonly<Record<PersistentRole, number>>;
}

/** @throws RangeError if two plans place a buffer differently */
export function persistentOf(plans: Readonly<Record<string, Plan>>): Persistent {
  const buffers = new Map<BufferName, PlanBuffer>();
  const roleBytes = byRole(() => 0);
  for (const [planName, plan] of Object.entries(plans)) {
    for (const buffer of plan.buffers.values()) {
      const { name, role, offset, bytes } = buffer;
      if (role === "arena") continue;
      const known = buffers.get(name) ?? buffer;
      if (known.role !== role || known.offset !== offset || known.bytes !== bytes) {
        throw new RangeError(
          `plan ${planName}: ${name} is ${bytes} bytes at ${role} ${offset}, another plan has ${known.bytes} at ` +
            `${known.role} ${known.offset}; plans that are compiled together must come from one network`,
        );
      }
      buffers.set(name, buffer);
      roleBytes[role] = Math.max(roleBytes[role], offset + bytes);
    }
  }
  return { buffers, roleBytes };
}

/** A buffer of a plan, or without a plan one that persists. @throws RangeError if there is none */
export function findBuffer(
  plans: Readonly<Record<string, Plan>>,
  name: BufferName,
  planName: string | undefined,
): PlanBuffer {
  for (const plan of planName === undefined ? Object.values(plans) : [plans[planName]]) {
    const buffer = plan?.buffers.get(name);
    if (buffer && (planName !== undefined || buffer.role !== "arena")) return buffer;
  }
  throw new RangeError(
    `no buffer ${name} ${planName === undefined ? "persists in these plans" : `in plan ${planName}`}`,
  );
}
