// plan: collects kernel calls and buffers; what a buffer's lifetime is follows from the calls that name it.
import type { Graph } from "../graph/graph.ts";
import { sizeOf } from "../ops/op.ts";
import { aligned, type Layout, type Lifetime, layOut } from "./arena.ts";
import { gradientOf, gradientSumOf, momentumOf, secondMomentOf } from "./names.ts";
import {
  type BufferName,
  type BufferRole,
  type Dtype,
  dtypeBytes,
  type KernelCall,
  type KernelName,
  type KernelTable,
  type Plan,
  type PlanBuffer,
} from "./plan.ts";
import { channelsOf } from "./reading.ts";

interface Declared {
  readonly name: BufferName;
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  readonly role: BufferRole;
  readonly written: boolean;
  readonly kept: boolean;
}

/**
 * Every string in a call's arguments that names a declared buffer. Buffer names and other strings cannot be confused:
 * no buffer is called "add".
 */
function buffersIn(value: unknown, known: ReadonlyMap<BufferName, unknown>, found: Set<BufferName>): void {
  if (typeof value === "string") {
    if (known.has(value)) found.add(value);
  } else if (typeof value === "object" && value !== null) {
    for (const part of Object.values(value)) buffersIn(part, known, found);
  }
}

/** What runs parallel to the parameters, and what it is called. */
const parallelName = {
  gradient: gradientOf,
  gradientSum: gradientSumOf,
  momentum: momentumOf,
  secondMoment: secondMomentOf,
} as const;
export type ParallelRole = keyof typeof parallelName;

export class PlanBuilder {
  readonly #buffers = new Map<BufferName, Declared>();
  readonly #calls: KernelCall[] = [];
  readonly addressed: number[] = [];

  /**
   * `written`: the host fills it before a run; `kept`: the host reads it after one. Declaring a buffer again changes
   * nothing.
   */
  buffer(
    name: BufferName,
    shape: readonly number[],
    role: BufferRole,
    options: { dtype?: Dtype; written?: boolean; kept?: boolean } = {},
  ): BufferName {
    if (!this.#buffers.has(name)) {
      const { dtype = "f32", written = false, kept = false } = options;
      this.#buffers.set(name, { name, shape, dtype, role, written, kept });
    }
    return name;
  }

  call<K extends KernelName>(
    kernel: K,
    args: KernelTable[K],
    about: { path: string; computes: readonly number[]; macs?: number; recompute?: boolean },
  ): void {
    const { path, computes, macs = 0, recompute = false } = about;
    // Each kernel name comes with its own arguments; TypeScript cannot see that through the type parameter.
    this.#calls.push({
      kernel,
      args,
      path,
      computes,
      macs,
      recompute,
      trafficBytes: this.#traffic(args),
    } as unknown as KernelCall);
  }

  /** Bytes of all views and buffers an argument record names, each once. */
  #traffic(args: object): number {
    let trafficBytes = 0;
    const touch = (name: BufferName, channels?: number): void => {
      const buffer = this.#buffers.get(name);
      if (!buffer) return;
      const { shape, dtype } = buffer;
      const whole = channelsOf(buffer);
      trafficBytes += (sizeOf(shape) / whole) * (channels ?? whole) * dtypeBytes[dtype];
    };
    const visit = (value: unknown): void => {
      if (typeof value === "string") touch(value);
      else if (typeof value === "object" && value !== null) {
        if (
          "buffer" in value &&
          "channels" in value &&
          typeof value.buffer === "string" &&
          typeof value.channels === "number"
        ) {
          touch(value.buffer, value.channels);
        } else for (const part of Object.values(value)) visit(part);
      }
    };
    visit(args);
    return trafficBytes;
  }

  /** Parameters and states of the graph, and what else runs parallel to the parameters. */
  declarePersistent(graph: Graph, parallel: readonly ParallelRole[]): void {
    for (const { kind, name, shape } of graph.tensors) {
      if (kind === "parameter") {
        this.buffer(name, shape, "parameter");
        for (const role of parallel) this.buffer(parallelName[role](name), shape, role);
      } else if (kind === "state") this.buffer(name, shape, "state");
    }
  }

  finish(): Plan {
    const calls = this.#calls;
    const births = new Map<BufferName, number>();
    const deaths = new Map<BufferName, number>();
    calls.forEach((call, index) => {
      const names = new Set<BufferName>();
      buffersIn(call.args, this.#buffers, names);
      for (const name of names) {
        if (!births.has(name)) births.set(name, index);
        deaths.set(name, index);
      }
    });
    const persistentTop = new Map<BufferRole, number>();
    const lifetimes: (Lifetime & { readonly dtype: Dtype })[] = [];
    const buffers = new Map<BufferName, PlanBuffer>();
    for (const { written, kept, ...declared } of this.#buffers.values()) {
      const bytes = sizeOf(declared.shape) * dtypeBytes[declared.dtype];
      if (declared.role === "arena") {
        const [first, last] = [births.get(declared.name), deaths.get(declared.name)];
        if (first === undefined || last === undefined) {
          throw new RangeError(`${declared.name} is declared in the arena, but no kernel call uses it`);
        }
        const birth = written ? -1 : first;
        const death = kept ? calls.length : last;
        lifetimes.push({ name: declared.name, dtype: declared.dtype, bytes, birth, death });
        buffers.set(declared.name, { ...declared, bytes, offset: 0, birth, death });
      } else {
        const offset = persistentTop.get(declared.role) ?? 0;
        persistentTop.set(declared.role, offset + aligned(bytes));
        buffers.set(declared.name, { ...declared, bytes, offset, birth: -1, death: calls.length });
      }
    }
    const [f32Arena, f16Arena] = [false, true].map((f16) =>
      layOut(lifetimes.filter(({ dtype }) => (dtype === "f16") === f16)),
    ) as [Layout, Layout];
    for (const [name, offset] of [...f32Arena.offsets, ...f16Arena.offsets]) {
      const buffer = buffers.get(name);
      if (buffer) buffers.set(name, { ...buffer, offset });
    }
    const arenaBytes = f32Arena.bytes + f16Arena.bytes;
    const persistentBytes = [...persistentTop.values()].reduce((sum, bytes) => sum + bytes, 0);
    return {
      buffers,
      calls,
      addressed: this.addressed,
      arenaBytes,
      f16ArenaBytes: f16Arena.bytes,
      persistentBytes,
      peakBytes: arenaBytes + persistentBytes,
    };
  }
}
