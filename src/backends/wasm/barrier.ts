// backends/wasm: the barrier at which the compute threads wait for each other after every phase. Spins briefly, then
// sleeps; all state is in a few shared words.

/** Words of the control block that all threads see. */
export const controlWords = { generation: 0, arrived: 1, failed: 2, count: 16 } as const;

/** Polls before a waiting thread sleeps: a phase is short, and waking up costs tens of microseconds. */
const spins = 20_000;

/** A sleeping thread polls again after this long: a neighbour that failed opens no barrier. */
const longestSleepMs = 20;

/**
 * The barrier. The last thread to arrive opens it for all. Who sleeps must look at the generation again when woken: a
 * thread that spins may pass a barrier before the opener has come to its `notify`, and that late notify then wakes it
 * in the next barrier.
 */
export function barrierWait(control: Int32Array, threads: number): void {
  const generation = Atomics.load(control, controlWords.generation);
  if (Atomics.add(control, controlWords.arrived, 1) === threads - 1) {
    Atomics.store(control, controlWords.arrived, 0);
    Atomics.add(control, controlWords.generation, 1);
    Atomics.notify(control, controlWords.generation);
    return;
  }
  for (let look = 0; look < spins; look++) {
    if (Atomics.load(control, controlWords.generation) !== generation) return;
  }
  while (
    Atomics.load(control, controlWords.generation) === generation &&
    Atomics.load(control, controlWords.failed) === 0
  ) {
    Atomics.wait(control, controlWords.generation, generation, longestSleepMs);
  }
}
