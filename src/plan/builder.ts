// plan: collects kernel calls and buffers; what a buffer's lifetime is follows from the calls that name it.
import type { Graph } from "../graph/graph.ts";
import { sizeOf } from "../ops/op.ts";
import { aligned, layOut } from "./arena.ts";
import { gradientOf, gradientSumOf, momentumOf } from "./names.ts";
import type { BufferName, BufferRole, KernelCall, KernelName, KernelTable, Plan, PlanBuffer } from "./plan.ts";
import { channelsOf } from "./reading.ts";

interface Declared {
  readonly name: BufferName;
  readonly shape: readonly number[];
  readonly dtype: "f32" | "i32";
  readonly role: BufferRole;
  readonly featureMaps?: true;
  readonly written: boolean;
  readonly kept: boolean;
}

/** Every string in a call's arguments that names a declared buffer. Buffer names and other strings cannot be confused: no buffer is called "add". */
function buffersIn(value: unknown, known: ReadonlyMap<BufferName, unknown>, found: Set<BufferName>): void {
  if (typeof value === "string") {
    if (known.has(value)) found.add(value);
  } else if (typeof value === "object" && value !== null) {
    for (const part of Object.values(value)) buffersIn(part, known, found);
  }
}

export class PlanBuilder {
  readonly #buffers = new Map<BufferName, Declared>();
  readonly #calls: KernelCall[] = [];
  readonly addressed: number[] = [];

  /**
   * `written`: the host fills it before a run; `kept`: the host reads it after one; `forward`: it is part of the forward pass, so that four
   * dimensions that no host writes mean feature maps. Declaring a buffer again changes nothing.
   */
  buffer(
    name: BufferName,
    shape: readonly number[],
    role: BufferRole,
    options: { dtype?: "i32"; written?: boolean; kept?: boolean; forward?: boolean } = {},
  ): BufferName {
    if (!this.#buffers.has(name)) {
      const { dtype = "f32", written = false, kept = false, forward = false } = options;
      const featureMaps = forward && !written && shape.length === 4 ? ({ featureMaps: true } as const) : {};
      this.#buffers.set(name, { name, shape, dtype, role, ...featureMaps, written, kept });
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
      ...this.#traffic(args),
    } as unknown as KernelCall);
  }

  /** Bytes of all views and buffers an argument record names, each once. */
  #traffic(args: object): { trafficBytes: number; mapBytes: number } {
    let trafficBytes = 0;
    let mapBytes = 0;
    const touch = (name: BufferName, channels?: number): void => {
      const buffer = this.#buffers.get(name);
      if (!buffer) return;
      const { shape, featureMaps } = buffer;
      const whole = channelsOf(buffer);
      const bytes = (sizeOf(shape) / whole) * (channels ?? whole) * 4;
      trafficBytes += bytes;
      if (featureMaps) mapBytes += bytes;
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
    return { trafficBytes, mapBytes };
  }

  /** Parameters and states of the graph, and what else runs parallel to the parameters. */
  declarePersistent(graph: Graph, parallel: readonly ("gradient" | "gradientSum" | "momentum")[]): void {
    const nameOf = { gradient: gradientOf, gradientSum: gradientSumOf, momentum: momentumOf } as const;
    for (const { kind, name, shape } of graph.tensors) {
      if (kind === "parameter") {
        this.buffer(name, shape, "parameter");
        for (const role of parallel) this.buffer(nameOf[role](name), shape, role);
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
    const lifetimes = [];
    const buffers = new Map<BufferName, PlanBuffer>();
    for (const { written, kept, ...declared } of this.#buffers.values()) {
      const bytes = sizeOf(declared.shape) * 4;
      if (declared.role === "arena") {
        const [first, last] = [births.get(declared.name), deaths.get(declared.name)];
        if (first === undefined || last === undefined) {
          throw new RangeError(`${declared.name} is declared in the arena, but no kernel call uses it`);
        }
        const birth = written ? -1 : first;
        const death = kept ? calls.length : last;
        lifetimes.push({ name: declared.name, bytes, birth, death });
        buffers.set(declared.name, { ...declared, bytes, offset: 0, birth, death });
      } else {
        const offset = persistentTop.get(declared.role) ?? 0;
        persistentTop.set(declared.role, offset + aligned(bytes));
        buffers.set(declared.name, { ...declared, bytes, offset, birth: -1, death: calls.length });
      }
    }
    const { offsets, bytes: arenaBytes } = layOut(lifetimes);
    for (const [name, offset] of offsets) {
      const buffer = buffers.get(name);
      if (buffer) buffers.set(name, { ...buffer, offset });
    }
    const persistentBytes = [...persistentTop.values()].reduce((sum, bytes) => sum + bytes, 0);
    return {
      buffers,
      calls,
      addressed: this.addressed,
      arenaBytes,
      persistentBytes,
      peakBytes: arenaBytes + persistentBytes,
    };
  }
}
