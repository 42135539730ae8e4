// backends/wasm: what this runtime offers, and proof that the register tiles mean here what they should.
import { ModuleBuilder } from "./assembler.ts";
import { pageBytes } from "./compile.ts";
import type { Target } from "./target.ts";
import { tileShape } from "./target.ts";
import { dotSide, dotSpillBytes, dotTile, productTile } from "./tile.ts";

/** Options that keep the fast paths from being taken, for tests and measurements. */
export interface TargetOptions {
  readonly relaxedSimd?: boolean;
  readonly revectorize?: boolean;
}

export interface ChosenTarget {
  readonly target: Target;
  readonly notes: readonly string[];
}

const memoryPages = 32;

interface Probe {
  readonly call: (index: number, ...operands: number[]) => void;
  readonly floats: Float32Array;
}

function instantiate(module: ModuleBuilder): Probe {
  const memory = new WebAssembly.Memory({ initial: memoryPages, maximum: memoryPages });
  const bytes = module.bytes({ pages: memoryPages, maximumPages: memoryPages, shared: false });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
  const call = (index: number, ...operands: number[]): void =>
    (exports[`f${index}`] as (...operands: number[]) => void)(...operands);
  return { call, floats: new Float32Array(memory.buffer) };
}

/** Small reproducible numbers in (−1, 1). */
function fill(floats: Float32Array): void {
  let state = 1;
  for (let i = 0; i < floats.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    floats[i] = state / 2 ** 31 - 1;
  }
}

/** The first tile whose result leaves 8·2⁻²⁴·Σ|terms| of the scalar meaning, or undefined. */
export function findWrongTile(target: Target): string | undefined {
  const { rows: tallest, vectors } = tileShape(target);
  const width = vectors * 4;
  const module = new ModuleBuilder();
  const taps = [0, 4, 8];
  const products = Array.from({ length: tallest }, (_, i) =>
    productTile(
      module,
      target,
      i + 1,
      taps.map((tap) => tap * 4),
    ),
  );
  const dots = [undefined, taps.map((tap) => tap * 4)].map((tapBytes) =>
    dotTile(module, target, dotSide, dotSide, tapBytes),
  );
  const { call, floats } = instantiate(module);
  const [a, b, c] = [1024, 65536, 262144];
  const depth = 7;
  const bStep = 48;
  for (const [i, signature] of products.entries()) {
    const rows = i + 1;
    fill(floats);
    call(signature.index, a * 4, b * 4, c * 4, depth, bStep * 4, width * 4);
    for (let r = 0; r < rows; r++) {
      for (let p = 0; p < width; p++) {
        let sum = 0;
        let magnitude = 0;
        for (let d = 0; d < depth; d++) {
          for (const [t, tap] of taps.entries()) {
            const term = floats[a + (d * taps.length + t) * rows + r] * floats[b + d * bStep + p + tap];
            sum += term;
            magnitude += Math.abs(term);
          }
        }
        if (!(Math.abs(floats[c + r * width + p] - sum) <= 8 * 2 ** -24 * magnitude))
          return `product tile ${rows}×${width}`;
      }
    }
  }
  const length = 56;
  for (const [kind, signature] of dots.entries()) {
    fill(floats);
    const before = floats.slice(c, c + dotSide * dotSide);
    call(
      signature.index,
      a * 4,
      b * 4,
      length * 4,
      256,
      512,
      c * 4,
      dotSide * 4,
      pageBytes * memoryPages - dotSpillBytes,
    );
    for (let i = 0; i < dotSide; i++) {
      for (let j = 0; j < dotSide; j++) {
        let sum = before[i * dotSide + j];
        let magnitude = Math.abs(sum);
        for (let p = 0; p < length; p++) {
          const term = floats[a + i * 64 + p] * floats[b + (kind === 0 ? j * 128 : taps[j]) + p];
          sum += term;
          magnitude += Math.abs(term);
        }
        if (!(Math.abs(floats[c + i * dotSide + j] - sum) <= 8 * 2 ** -24 * magnitude))
          return `dot tile ${kind === 0 ? "by rows" : "by taps"}`;
      }
    }
  }
  return undefined;
}

/** Multiply-adds per microsecond of the target's largest tile, best of several short runs. */
function tileSpeed(target: Target): number {
  const { rows, vectors } = tileShape(target);
  const module = new ModuleBuilder();
  const tile = productTile(module, target, rows, [0]);
  const repeat = module.function("repeat", ["i32"], (f, times) => {
    f.loop(0, times.get, 1, () => f.call(tile, [4096, 65536, 32768, 512, 64, 64]));
  });
  const { call } = instantiate(module);
  const depth = 512;
  const times = 40;
  let best = 0;
  for (let run = 0; run < 30; run++) {
    const began = performance.now();
    call(repeat.index, times);
    best = Math.max(best, (rows * vectors * 4 * depth * times) / ((performance.now() - began) * 1000));
  }
  return best;
}

function hasRelaxedSimd(): boolean {
  const module = new ModuleBuilder();
  productTile(module, { relaxedSimd: true, revectorized: false }, 1, [0]);
  return WebAssembly.validate(module.bytes({ pages: 1, maximumPages: 1, shared: false }));
}

/**
 * Node only: V8 compiles every function with its optimising compiler soon after the baseline one, instead of waiting until each has
 * run for long: baseline code is 4 to 8 times slower. V8 flags hold for the whole process and for modules compiled from now on.
 */
function compileEagerly(): void {
  globalThis.process?.getBuiltinModule?.("node:v8").setFlagsFromString("--no-wasm-dynamic-tiering");
}

/** Node only: lets V8 pack pairs of 128-bit operations into 256-bit ones. Returns why that cannot be, or undefined. */
function allowRevectorizing(): string | undefined {
  const process = globalThis.process;
  if (!process?.getBuiltinModule) return "256-bit code needs a V8 flag, which only Node can set";
  if (process.arch !== "x64") return `256-bit code is written on x64 only, this is ${process.arch}`;
  if (Number.parseInt(process.versions.node, 10) < 24) {
    return `256-bit code needs Node 24 or later, this is ${process.versions.node}`;
  }
  process.getBuiltinModule("node:v8").setFlagsFromString("--experimental-wasm-revectorize");
  return undefined;
}

/** The fastest target that this runtime can run and whose tiles pass the self-check; `notes` says what was passed over and why. */
export function chooseTarget(options: TargetOptions = {}): ChosenTarget {
  const notes: string[] = [];
  const candidates: Target[] = [];
  compileEagerly();
  const relaxedSimd = options.relaxedSimd !== false && hasRelaxedSimd();
  if (!relaxedSimd) notes.push("No relaxed SIMD: multiply and add are two instructions.");
  if (options.revectorize !== false && relaxedSimd) {
    const obstacle = allowRevectorizing();
    if (obstacle) notes.push(`128-bit code: ${obstacle}.`);
    else {
      const wide = { relaxedSimd, revectorized: true };
      const [fast, slow] = [tileSpeed(wide), tileSpeed({ relaxedSimd, revectorized: false })];
      if (fast > 1.25 * slow) candidates.push(wide);
      else notes.push("128-bit code: this processor or engine does not pack operations into 256 bits.");
    }
  }
  candidates.push({ relaxedSimd, revectorized: false });
  if (relaxedSimd) candidates.push({ relaxedSimd: false, revectorized: false });
  for (const target of candidates) {
    const wrong = findWrongTile(target);
    if (!wrong) return { target, notes };
    notes.push(`The ${wrong} (${JSON.stringify(target)}) failed its self-check and is not used.`);
  }
  throw new Error(`no register tile passes its self-check in this runtime: ${notes.join(" ")}`);
}
