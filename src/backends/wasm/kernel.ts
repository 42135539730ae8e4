// backends/wasm: the frame of every kernel. A kernel is one or more phases; all threads run a phase, then wait at a
// barrier.
import type { KernelTable, View } from "../../plan/plan.ts";
import type { PersistentRole } from "../persistent.ts";
import {
  type Expression,
  type FunctionBuilder,
  type FunctionSignature,
  i32,
  type ModuleBuilder,
  type Operand,
} from "./assembler.ts";
import type { Target } from "./target.ts";

/** Bytes of a channel's two partial sums of eight lanes each. */
export const partialBytes = 64;

/**
 * Where each thread keeps the partial sums of one channel: before its scratch. They are zero wherever a kernel begins.
 */
export const partialsOf = ({ scratch }: Pick<Worker, "scratch">): Expression => i32.sub(scratch, partialBytes);

/** What a phase knows of the thread that runs it. Added behind the operands by the executor. */
export interface Worker {
  /** Byte address of memory that only this thread uses. */
  readonly scratch: Expression;
  /** Byte address of memory that all threads share within one kernel call. */
  readonly shared: Expression;
  readonly thread: Expression;
  readonly threads: Expression;
}

export interface Phase {
  readonly function: FunctionSignature;
  readonly operands: readonly number[];
}

/** Phases of one call and the working memory they need. */
export interface CompiledKernel {
  readonly phases: readonly Phase[];
  readonly scratchBytes: number;
  readonly sharedBytes: number;
  /** Run once before the plan's first call, and again after parameters have changed; only with `Addresses.keep`. */
  readonly prepare?: readonly Phase[];
}

/** Where the plan's buffers lie in memory, all in bytes. */
export interface Addresses {
  readonly threads: number;
  buffer(name: string): number;
  /** First element of the view: batch 0 of [N, C, H, W], or entry 0 of [C]. */
  view(view: View): number;
  /** From one image of the view's buffer to the next. */
  batchStride(view: View): number;
  /** Bytes of all buffers of one persistent role, and where they begin. */
  role(role: PersistentRole): {
    readonly address: number;
    readonly bytes: number;
  };
  /**
   * Takes memory that outlives the call, for what depends on `source` alone; absent in plans that change parameters.
   * Returns its byte address.
   */
  readonly keep?: (bytes: number, source: string) => number;
  /** Where the run scalars lie: learningRate f32, seed u32, step u32, corrections 2 × f32. */
  readonly scalars: number;
}

export type Emit<K extends keyof KernelTable> = (
  module: ModuleBuilder,
  target: Target,
  args: Readonly<KernelTable[K]>,
  at: Addresses,
) => CompiledKernel;

/** A function with named i32 operands. The key must distinguish everything that `build` writes into the code. */
export function namedFunction<const N extends string>(
  module: ModuleBuilder,
  key: string,
  names: readonly N[],
  build: (f: FunctionBuilder, operands: Readonly<Record<N, Expression>>) => void,
): FunctionSignature {
  return module.function(
    key,
    names.map(() => "i32" as const),
    (f, ...locals) => {
      const operands = Object.fromEntries(names.map((name, index) => [name, locals[index]?.get])) as Record<
        N,
        Expression
      >;
      build(f, operands);
    },
  );
}

/** A phase: a named function that also gets its Worker, with the values of its operands. */
export function phase<const N extends string>(
  module: ModuleBuilder,
  key: string,
  values: Readonly<Record<N, number>>,
  build: (f: FunctionBuilder, operands: Readonly<Record<N, Expression>>, worker: Worker) => void,
): Phase {
  const names = Object.keys(values) as N[];
  const all = [...names, "scratch", "shared", "thread", "threads"] as const;
  return {
    function: namedFunction(module, key, all, (f, operands) => build(f, operands, operands as unknown as Worker)),
    operands: names.map((name) => values[name]),
  };
}

/** This thread's contiguous part of `total` items: [start, end). */
export function threadSlice(
  f: FunctionBuilder,
  total: Operand,
  worker: Worker,
): { start: Expression; end: Expression } {
  const bound = (thread: Expression): Expression => f.let(i32.divU(i32.mul(total, thread), worker.threads)).get;
  return { start: bound(worker.thread), end: bound(i32.add(worker.thread, 1)) };
}

/** body(channel, image) for this thread's share of the N·C planes. */
export function forEachPlane(
  f: FunctionBuilder,
  o: { readonly batch: Expression; readonly channels: Expression },
  worker: Worker,
  body: (channel: Expression, image: Expression) => void,
): void {
  const { start, end } = threadSlice(f, i32.mul(o.batch, o.channels), worker);
  f.loop(start, end, 1, (plane) => {
    const image = f.let(i32.divU(plane.get, o.channels)).get;
    body(f.let(i32.sub(plane.get, i32.mul(image, o.channels))).get, image);
  });
}
