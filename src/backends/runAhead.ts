// backends: run after run on a device that need not wait for its host. What a run found is awaited while later ones are under way.
import type { BufferName } from "../plan/plan.ts";
import type { Executable } from "./backend.ts";

/** One run: its plan, and what is written before it. */
export interface Work {
  readonly plan: string;
  readonly inputs: Readonly<Record<BufferName, Float32Array | Int32Array>>;
}

/**
 * Does the work of each item and yields, in order, what `outputs` held after it. Up to `queueDepth` runs are under way. The next run writes over what the
 * last one found, so reading that is begun before it, and only awaited later.
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
    // A device that is lost before this is awaited is that await's business.
    reading.catch(() => {});
    pending.push({ item, reading });
    if (pending.length < executable.queueDepth) continue;
    const [oldest] = pending.splice(0, 1);
    yield { item: oldest.item, found: await oldest.reading };
  }
  for (const { item, reading } of pending) yield { item, found: await reading };
}
