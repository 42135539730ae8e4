// backends/wasm: what this runtime offers, and proof that the register tiles mean here what they should.
import { ModuleBuilder } from "./assembler.ts";
import { pageBytes } from "./compile.ts";
import type { Target } from "./target.ts";
import { tileShape } from "./target.ts";
import { dotSide, dotSpillBytes, dotTile, outerTile, productTile } from "./tile.ts";

/** What code may be written, for tests and measurements. */
export interface TargetOptions {
  /** false: multiply and add are two instructions. Default: one, where there is relaxed SIMD. */
  readonly relaxedSimd?: boolean;
  /** 256-bit code: false never, true wherever the engine may write it. Default: where it also proves faster. */
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

/** Whether a tile's result leaves 8·2⁻²⁴·Σ|terms| of `before` + Σ x·y. */
function leaves(found: number, factors: Iterable<readonly [x: number, y: number]>, before = 0): boolean {
  let sum = before;
  let magnitude = Math.abs(before);
  for (const [x, y] of factors) {
    sum += x * y;
    magnitude += Math.abs(x * y);
  }
  return !(Math.abs(found - sum) <= 8 * 2 ** -24 * magnitude);
}

/** The first tile whose result leaves its scalar meaning by more than rounding, or undefined. */
export function findWrongTile(target: Target): string | undefined {
  const { rows: tallest, vectors } = tileShape(target);
  const width = vectors * 4;
  const module = new ModuleBuilder();
  const taps = [0, 4, 8];
  const tapBytes = taps.map((tap) => tap * 4);
  const heights = Array.from({ length: tallest }, (_, i) => i + 1);
  const products = heights.map((rows) => ({ rows, tile: productTile(module, target, rows, tapBytes) }));
  const outers = heights.map((rows) => ({ rows, tile: outerTile(module, target, rows) }));
  const dots = [undefined, tapBytes].map((bytes) => ({
    by: bytes ? "taps" : "rows",
    tile: dotTile(module, target, dotSide, dotSide, bytes),
  }));
  const { call, floats } = instantiate(module);
  const [a, b, c] = [1024, 65536, 262144];
  const range = (length: number): number[] => Array.from({ length }, (_, i) => i);

  const depth = 7;
  const bStep = 48;
  for (const { rows, tile } of products) {
    fill(floats);
    call(tile.index, a * 4, b * 4, c * 4, depth, bStep * 4, width * 4);
    for (const r of range(rows)) {
      for (const p of range(width)) {
        const factors = range(depth).flatMap((d) =>
          taps.map(
            (tap, t) => [floats[a + (d * taps.length + t) * rows + r], floats[b + d * bStep + p + tap]] as const,
          ),
        );
        if (leaves(floats[c + r * width + p], factors)) return `product tile ${rows}×${width}`;
      }
    }
  }

  const length = 56;
  const aStep = 64;
  for (const { rows, tile } of outers) {
    fill(floats);
    call(tile.index, a * 4, aStep * 4, b * 4, bStep * 4, c * 4, width * 4, length * 4);
    for (const r of range(rows)) {
      for (const v of range(width)) {
        const factors = range(length).map((d) => [floats[a + r * aStep + d], floats[b + d * bStep + v]] as const);
        if (leaves(floats[c + r * width + v], factors)) return `outer tile ${rows}×${width}`;
      }
    }
  }

  const rowStep = 128;
  for (const { by, tile } of dots) {
    fill(floats);
    const before = floats.slice(c, c + dotSide * dotSide);
    const spill = pageBytes * memoryPages - dotSpillBytes;
    call(tile.index, a * 4, b * 4, length * 4, aStep * 4, rowStep * 4, c * 4, dotSide * 4, spill);
    for (const i of range(dotSide)) {
      for (const j of range(dotSide)) {
        const from = b + (by === "rows" ? j * rowStep : taps[j]);
        const factors = range(length).map((p) => [floats[a + i * aStep + p], floats[from + p]] as const);
        const at = i * dotSide + j;
        if (leaves(floats[c + at], factors, before[at])) return `dot tile by ${by}`;
      }
    }
  }
  return undefined;
}

/**
 * Runs that two tiles are compared over, until the wide one is faster: on a busy machine the first hundred milliseconds
 * may pass in baseline code, which is equally slow for both, and another choice means other bits.
 */
const ATTEMPTS = [30, 60, 120, 240];

/** Multiply-adds per microsecond of the target's largest tile, best of several short runs. */
function tileSpeed(target: Target, runs: number): number {
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
  for (let run = 0; run < runs; run++) {
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
 * Node only: V8 compiles every function with its optimising compiler soon after the baseline one, instead of waiting
 * until each has run for long: baseline code is 4 to 8 times slower. V8 flags hold for the whole process and for
 * modules compiled from now on.
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

/**
 * The fastest target that this runtime can run and whose tiles pass the self-check; `notes` says what was passed over
 * and why.
 */
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
      const narrow = { relaxedSimd, revectorized: false };
      const isFaster = (): boolean => ATTEMPTS.some((runs) => tileSpeed(wide, runs) > 1.25 * tileSpeed(narrow, runs));
      if (options.revectorize || isFaster()) candidates.push(wide);
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
