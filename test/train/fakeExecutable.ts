// Test support: an executable that keeps what is written to it, computes nothing and records the calls in order.
import type { Executable } from "../../src/backends/backend.ts";

export interface FakeExecutable extends Executable {
  /** By buffer, of whatever plan. */
  readonly values: Map<string, Float32Array | Int32Array>;
  /** "write images", "run train", "read sampleLoss sampleRank" … */
  readonly calls: string[];
}

/** `values`: what the buffers hold at first; reading one that holds nothing is an error. */
export function fakeExecutable(values: Readonly<Record<string, Float32Array | Int32Array>> = {}): FakeExecutable {
  const held = new Map(Object.entries(values));
  const calls: string[] = [];
  return {
    peakBytes: 0,
    arenaBytes: 0,
    queueDepth: 1,
    values: held,
    calls,
    async write(buffer, data) {
      calls.push(`write ${buffer}`);
      held.set(buffer, data.slice());
    },
    async read(buffers) {
      calls.push(`read ${buffers.join(" ")}`);
      return buffers.map((buffer) => {
        const value = held.get(buffer);
        if (value === undefined) throw new RangeError(`${buffer} was never written`);
        return value.slice();
      });
    },
    async run(plan) {
      calls.push(`run ${plan}`);
    },
    async dispose() {},
    async [Symbol.asyncDispose]() {},
  };
}
