// backends: run after run on a device that need not wait for its host. Results of a run are awaited while later ones
// are in flight.
import type { BufferName } from "../plan/plan.ts";
import type { Executable } from "./backend.ts";

/** One run: its plan, and what is written before it. */
export interface Work {
  readonly plan: string;
  readonly inputs: Readonly<Record<BufferName, Float32Array | Int32Array>>;
}

/**
 * Does the work of each item and yields, in order, what `outputs` held after it. Up to `queueDepth` runs are in flight.
 * The next run overwrites the results of the last one, so reading them is begun before it and only awaited later.
 */
export async function* runAhead<T>(
  executable: Executable,
  items: AsyncIterable<T> | Iterable<T>,
  workOf: (item: T) => Work,
  outputs: readonly BufferName[],
): AsyncGenerator<{ readonly item: T; readonly found: readonly (Float32Array | Int32Array)[] }, void, undefined> {
  const pending: { readonly item: T; readonly reading: ReturnType<Executable["read"]> }[] = [];
  for await (const item of items) {
    const { plan, inputs } = workOf(item);
    for (const [name, data] of Object.entries(inputs)) await executable.write(name, data, plan);
    await executable.run(plan);
    const reading = executable.read(outputs, plan);
    // Awaited later: that await reports a device that was lost meanwhile.
    reading.catch(() => {});
    pending.push({ item, reading });
    if (pending.length < executable.queueDepth) continue;
    const [oldest] = pending.splice(0, 1);
    yield { item: oldest.item, found: await oldest.reading };
  }
  for (const { item, reading } of pending) yield { item, found: await reading };
}
