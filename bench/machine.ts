// bench: what this machine can do at most, measured: multiply-adds in registers and bytes through memory, on as many
// threads at once as the wasm backend has (card.ts: a GPU). A kernel's figures are set against these (roofline.ts).
import { once } from "node:events";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { ModuleBuilder } from "../src/backends/wasm/assembler.ts";
import { type Target, tileShape } from "../src/backends/wasm/target.ts";
import { productTile } from "../src/backends/wasm/tile.ts";

export interface MachineLimits {
  /**
   * f32 multiply-adds on registers, 2 flops each. CPU: the largest register tile over operands in L1, all threads
   * together.
   */
  readonly gflops: number;
  /** A copy of more than the caches hold, bytes read plus bytes written. */
  readonly gigabytesPerSecond: number;
}

/** Each of the two measurements takes this long; threads start together. */
const spanMs = 400;
/** In each thread. */
const copyBytes = 64 * 2 ** 20;

/** The best of the slices that fit the span: what else runs on the machine lowers a rate, nothing raises it. */
function bestRate(amount: number, slice: () => void): number {
  let best = 0;
  const end = performance.now() + spanMs;
  for (let began = performance.now(); began < end; began = performance.now()) {
    slice();
    best = Math.max(best, amount / (performance.now() - began) / 1e6);
  }
  return best;
}

function tileRate(target: Target): number {
  const { rows, vectors } = tileShape(target);
  const module = new ModuleBuilder();
  const tile = productTile(module, target, rows, [0]);
  const [depth, times] = [256, 2000];
  const [a, b, c] = [0, 16384, 32768]; // a: depth·rows floats ≤ 6 KiB, b: depth rows of 64 bytes; both stay in L1
  const repeat = module.function("repeat", ["i32"], (f, count) => {
    f.loop(0, count.get, 1, () => f.call(tile, [a, b, c, depth, 64, 64]));
  });
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
  const code = new WebAssembly.Module(module.bytes({ pages: 1, maximumPages: 1, shared: false }));
  const { exports } = new WebAssembly.Instance(code, { env: { memory } });
  const run = exports[`f${repeat.index}`] as (times: number) => void;
  return bestRate(2 * rows * vectors * 4 * depth * times, () => run(times));
}

function copyRate(): number {
  const [from, to] = [new Uint8Array(copyBytes).fill(1), new Uint8Array(copyBytes).fill(2)];
  return bestRate(2 * copyBytes, () => to.set(from));
}

/** Peak rates of `threads` threads at work at once. */
export async function measureMachine(target: Target, threads: number): Promise<MachineLimits> {
  const workers = Array.from({ length: threads }, () => new Worker(import.meta.filename, { workerData: target }));
  const askAll = async (question: "tile" | "copy"): Promise<number> => {
    const replies = workers.map((worker) => once(worker, "message"));
    for (const worker of workers) worker.postMessage(question);
    const rates: number[] = (await Promise.all(replies)).map(([rate]) => Number(rate));
    return rates.reduce((sum, rate) => sum + rate, 0);
  };
  try {
    return { gflops: await askAll("tile"), gigabytesPerSecond: await askAll("copy") };
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

if (!isMainThread) {
  const target: Target = workerData;
  parentPort?.on("message", (question) => parentPort?.postMessage(question === "tile" ? tileRate(target) : copyRate()));
}
