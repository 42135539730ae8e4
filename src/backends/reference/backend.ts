// backends/reference: the slow, obvious device. It runs any plan in f32 or f64 on the calling thread, for tests and for
// finding out which of two fast answers is right.
import type { Precision } from "../../ops/op.ts";
import type { BufferName, KernelCall, Plan, PlanBuffer } from "../../plan/plan.ts";
import type { Backend, BackendInfo, Executable, RunScalars } from "../backend.ts";
import { requireStorable } from "../dtype.ts";
import { Lifetime } from "../lifetime.ts";
import { persistentOf } from "../persistent.ts";
import { referenceKernels } from "./kernels.ts";
import {
  createMemory,
  createStorage,
  type ReferenceMemory,
  type ReferenceStorage,
  ROLES,
  roleSizes,
} from "./memory.ts";

export interface ReferenceExecutable extends Executable {
  /** The buffers of a plan themselves, in full precision, as they stand now. */
  memory(plan: string): ReferenceMemory;
}

export interface ReferenceBackend extends Backend {
  compile(plans: Readonly<Record<string, Plan>>): Promise<ReferenceExecutable>;
}

/** The oracle. In f64, written values are converted and `read` rounds to f32; `memory` gives all digits. */
export function createReferenceBackend({ precision }: { readonly precision: Precision }): ReferenceBackend {
  const life = new Lifetime("backend");
  const executables = new Set<ReferenceExecutable>();
  const dispose = () =>
    life.end(async () => {
      await Promise.all([...executables].map((executable) => executable.dispose()));
    });
  const info: BackendInfo = {
    name: "reference",
    threads: 1,
    activationDtype: "f32",
    features: { f64: precision === "f64" },
    notes: ["The reference backend is made to be right, not fast."],
  };
  return {
    info,
    async compile(plans) {
      life.requireAlive();
      requireStorable(info, plans);
      const executable = compileReference(plans, precision, () => executables.delete(executable));
      executables.add(executable);
      return executable;
    },
    dispose,
    [Symbol.asyncDispose]: dispose,
  };
}

function runCall<K extends KernelCall["kernel"]>(
  kernel: K,
  args: Extract<KernelCall, { kernel: K }>["args"],
  memory: ReferenceMemory,
  scalars: RunScalars,
): void {
  // The call's type ties args to kernel; TypeScript cannot follow that through the table's index.
  const run = referenceKernels[kernel] as (args: unknown, memory: ReferenceMemory, scalars: RunScalars) => void;
  run(args, memory, scalars);
}

/** Memory has no value before it is written: NaN (and label −1) make every plan that relies on one fail. */
function poison({ role, dtype, offset, bytes }: PlanBuffer, { roles, arenaIntegers }: ReferenceStorage): void {
  if (role !== "arena") return;
  if (dtype === "f32") roles.arena.fill(Number.NaN, offset / 4, (offset + bytes) / 4);
  else arenaIntegers.fill(-1, offset / 4, (offset + bytes) / 4);
}

/** Poisons the whole arena but for the buffers that were written before the run. */
function poisonArena(plan: Plan, { roles, arenaIntegers }: ReferenceStorage): void {
  const reals = roles.arena.slice();
  const integers = arenaIntegers.slice();
  roles.arena.fill(Number.NaN);
  arenaIntegers.fill(-1);
  for (const { role, offset, bytes, birth } of plan.buffers.values()) {
    if (role !== "arena" || birth >= 0) continue;
    roles.arena.set(reals.subarray(offset / 4, (offset + bytes) / 4), offset / 4);
    arenaIntegers.set(integers.subarray(offset / 4, (offset + bytes) / 4), offset / 4);
  }
}

function compileReference(
  plans: Readonly<Record<string, Plan>>,
  precision: Precision,
  onDispose: () => void,
): ReferenceExecutable {
  const life = new Lifetime("executable");
  const { buffers: persistent } = persistentOf(plans);
  const sizes = roleSizes([
    ...persistent.values(),
    ...Object.values(plans).flatMap((plan) => [...plan.buffers.values()]),
  ]);
  const storage = createStorage(sizes, precision);
  const memories = new Map(Object.entries(plans).map(([name, { buffers }]) => [name, createMemory(buffers, storage)]));
  const persistentMemory = createMemory(persistent, storage);

  function planNamed(name: string): { readonly plan: Plan; readonly memory: ReferenceMemory } {
    const plan = plans[name];
    const memory = memories.get(name);
    if (plan && memory) return { plan, memory };
    throw new RangeError(`no plan named ${name} was compiled; there are ${Object.keys(plans).join(", ")}`);
  }

  function find(buffer: BufferName, plan: string | undefined): Float32Array | Float64Array | Int32Array {
    const memory = plan === undefined ? persistentMemory : planNamed(plan).memory;
    return memory.buffers.get(buffer)?.dtype === "i32" ? memory.integers(buffer).data : memory.tensor(buffer).data;
  }

  const dispose = () => life.end(async () => onDispose());

  return {
    peakBytes: 4 * ROLES.reduce((sum, role) => sum + sizes[role], 0),
    arenaBytes: 4 * sizes.arena,
    queueDepth: 1,
    memory: (plan) => planNamed(plan).memory,
    async write(buffer, data, plan) {
      life.requireAlive();
      const target = find(buffer, plan);
      if (target.length !== data.length) {
        throw new RangeError(`${buffer} holds ${target.length} values, given ${data.length}`);
      }
      if (target instanceof Int32Array !== data instanceof Int32Array) {
        throw new TypeError(
          `${buffer} holds ${target instanceof Int32Array ? "integers" : "floats"}, given the other kind`,
        );
      }
      target.set(data);
    },
    async read(buffers, plan) {
      life.requireAlive();
      return buffers.map((buffer) => {
        const source = find(buffer, plan);
        return source instanceof Int32Array ? source.slice() : Float32Array.from(source);
      });
    },
    async run(name, scalars = {}) {
      life.requireAlive();
      const { plan, memory } = planNamed(name);
      poisonArena(plan, storage);
      plan.calls.forEach((call, index) => {
        // Once more at its birth: what an earlier tenant of the same addresses left must not be taken for this buffer's
        // value.
        for (const buffer of plan.buffers.values()) if (buffer.birth === index) poison(buffer, storage);
        runCall(call.kernel, call.args, memory, scalars);
      });
    },
    dispose,
    [Symbol.asyncDispose]: dispose,
  };
}
