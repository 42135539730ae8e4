// backends/wasm: a convolution as a product over units (signal.ts): packed weights times staged signals, the results in
// scratch. conv.ts takes them for the output, convGradInput.ts for the input's gradient.
//
// Parallel: threads share the units of N·H; nothing is reduced across threads.
// Traffic: each unit's input is read once and staged in L2; packed weights stream from L2.
// Numerics: every result is one chain of C·k² multiply-adds (tile.ts).
import type { WindowSize, Write } from "../../plan/plan.ts";
import {
  type Expression,
  type FunctionBuilder,
  type FunctionSignature,
  f32,
  i32,
  type ModuleBuilder,
} from "./assembler.ts";
import { coefficientBytes } from "./composite.ts";
import { type Addresses, namedFunction, threadSlice } from "./kernel.ts";
import { copyRow } from "./run.ts";
import {
  cutUnits,
  forEachRun,
  forEachUnit,
  type SignalShape,
  signalShape,
  signalStep,
  stage,
  tileBytes,
  type Unit,
  type UnitCut,
  usedSignalBytes,
} from "./signal.ts";
import type { Target } from "./target.ts";
import { forEachTile, productTile, type RowTiles, rowTiles } from "./tile.ts";

/** Floats of staged input and of results in scratch: about half of a 512 KiB L2. */
const stagedFloats = 64 * 1024;

/**
 * pack(weights, packed, rows…): [tile][contraction][tap][row of the tile], from w [O, C, k²] or, for the backward pass,
 * transposed and turned by 180°.
 */
export function pack(module: ModuleBuilder, taps: number, height: number, transposed: boolean): FunctionSignature {
  return namedFunction(
    module,
    `pack taps=${taps} height=${height} transposed=${transposed}`,
    ["weights", "packed", "contraction", "outputs", "tall", "low"],
    (f, o) => {
      const sink = f.let(o.packed);
      const outStep = transposed ? taps * 4 : f.let(i32.mul(o.contraction, taps * 4)).get;
      const depthStep = transposed ? f.let(i32.mul(o.outputs, taps * 4)).get : taps * 4;
      forEachTile(f, height, o.tall, o.low, (rows, first) => {
        const source = f.let(i32.add(o.weights, i32.mul(first, outStep)));
        f.loop(0, o.contraction, 1, () => {
          for (let tap = 0; tap < taps; tap++) {
            for (let r = 0; r < rows; r++) {
              const from = i32.add(source.get, i32.add(i32.mul(outStep, r), (transposed ? taps - 1 - tap : tap) * 4));
              f.store(sink.get, f32.load(from), (tap * rows + r) * 4);
            }
          }
          f.advance(source, depthStep);
          f.advance(sink, rows * taps * 4);
        });
      });
    },
  );
}

/**
 * Scratch memory of a product over units, byte offsets from the thread's scratch; `packed` is an address where the
 * weights are kept.
 */
interface ProductLayout {
  readonly coefficients: number;
  readonly packed: number;
  readonly signals: number;
  readonly results: number;
  readonly step: number;
  readonly bytes: number;
}

const roundUp = (bytes: number): number => Math.ceil(bytes / 64) * 64;

function productLayout(
  contraction: number,
  outputs: number,
  taps: number,
  coefficientCount: number,
  cut: UnitCut,
  keptAt: number | undefined,
): ProductLayout {
  const step = signalStep(cut);
  const unkept = roundUp(coefficientCount * coefficientBytes);
  const signals = keptAt === undefined ? unkept + roundUp(contraction * outputs * taps * 4) : unkept;
  const packed = keptAt ?? unkept;
  const results = signals + contraction * step;
  return { coefficients: 0, packed, signals, results, step, bytes: results + outputs * step };
}

/** Everything that a product over units needs to know, for either direction. */
export interface Product {
  readonly shape: SignalShape;
  readonly size: WindowSize;
  readonly tiles: RowTiles;
  readonly cut: UnitCut;
  readonly layout: ProductLayout;
  readonly taps: number;
  /** The weights were packed before the plan's run. */
  readonly kept: boolean;
}

/** `wholeImages`: no image is cut into bands. */
export function planProduct(
  channels: number,
  outputs: number,
  size: WindowSize,
  coefficientCount: number,
  target: Target,
  { threads, keep }: Pick<Addresses, "threads" | "keep">,
  source: string,
  wholeImages = false,
): Product {
  const shape = signalShape(channels, size);
  const fitting = Math.floor(stagedFloats / Math.max(shape.contraction, outputs));
  const least = wholeImages ? (shape.height + 2 * shape.padding) * shape.rowStride : 0;
  const cut = cutUnits(shape, size.batch, Math.max(fitting, least), threads);
  const taps = shape.tapBytes.length;
  const keptAt = keep?.(shape.contraction * outputs * taps * 4, source);
  const layout = productLayout(shape.contraction, outputs, taps, coefficientCount, cut, keptAt);
  return { shape, size, tiles: rowTiles(outputs, target), cut, layout, taps, kept: keep !== undefined };
}

export const productOperands = [
  "x",
  "xStride",
  "weights",
  "channels",
  "contraction",
  "outputs",
  "tall",
  "low",
  "batch",
  "rows",
  "bands",
  "images",
  "units",
  "packedAt",
  "signalsAt",
  "resultsAt",
  "step",
] as const;

export function productValues(
  product: Product,
  at: { x: number; xStride: number; weights: number },
  channels: number,
  outputs: number,
): Record<(typeof productOperands)[number], number> {
  const { shape, size, tiles, cut, layout } = product;
  return {
    ...at,
    channels,
    contraction: shape.contraction,
    outputs,
    tall: tiles.tall,
    low: tiles.low,
    batch: size.batch,
    rows: cut.rows,
    bands: cut.bands,
    images: cut.images,
    units: cut.units,
    packedAt: layout.packed,
    signalsAt: layout.signals,
    resultsAt: layout.results,
    step: layout.step,
  };
}

/**
 * Packs the weights, then for each of the thread's units stages x, multiplies, and lets `finish` take the results from
 * scratch.
 */
export function emitProduct(
  f: FunctionBuilder,
  module: ModuleBuilder,
  target: Target,
  product: Product,
  o: Readonly<Record<(typeof productOperands)[number], Expression>>,
  worker: { scratch: Expression; thread: Expression; threads: Expression; shared: Expression },
  options: { withComposite: boolean; transposed: boolean },
  finish: (unit: Unit, results: Expression) => void,
): void {
  const { shape, size, tiles, taps, kept } = product;
  const within = (offset: Expression): Expression => f.let(i32.add(worker.scratch, offset)).get;
  const packed = kept ? o.packedAt : within(o.packedAt);
  const signals = within(o.signalsAt);
  const results = within(o.resultsAt);
  const stageFunction = stage(module, target, shape, size, options.withComposite);
  if (!kept) {
    const packFunction = pack(module, taps, tiles.height, options.transposed);
    f.call(packFunction, [o.weights, packed, o.contraction, o.outputs, o.tall, o.low]);
  }
  const rowPackedBytes = f.let(i32.mul(o.contraction, taps * 4)).get;
  forEachUnit(f, shape, o, threadSlice(f, o.units, worker), (unit) => {
    const from = i32.add(o.x, i32.mul(unit.firstImage, o.xStride));
    f.call(stageFunction, [
      from,
      o.xStride,
      signals,
      o.step,
      o.channels,
      worker.scratch,
      unit.images,
      unit.firstRow,
      unit.rows,
    ]);
    const used = usedSignalBytes(f, shape, unit, tileBytes(target));
    f.loop(0, used, tileBytes(target), (p) => {
      forEachTile(f, tiles.height, o.tall, o.low, (height, row) => {
        const tile = productTile(module, target, height, shape.tapBytes);
        const c = i32.add(i32.add(results, p.get), i32.mul(row, o.step));
        f.call(tile, [
          i32.add(packed, i32.mul(row, rowPackedBytes)),
          i32.add(signals, p.get),
          c,
          o.contraction,
          o.step,
          o.step,
        ]);
      });
    });
    finish(unit, results);
  });
}

/** A unit's results from scratch to where they belong, or added to what is there, without the idle columns. */
export function copyResults(
  f: FunctionBuilder,
  product: Product,
  unit: Unit,
  results: Expression,
  o: { readonly outputs: Expression; readonly step: Expression },
  sink: { readonly address: Expression; readonly stride: Expression; readonly plane: number },
  write: Write = "overwrite",
): void {
  const from = f.let(results);
  const to = f.let(i32.add(sink.address, i32.mul(unit.firstImage, sink.stride)));
  f.loop(0, o.outputs, 1, () => {
    forEachRun(f, product.shape, unit, (planeByte, signalByte, image, bytes) => {
      const row = f.let(i32.add(i32.add(to.get, i32.mul(image, sink.stride)), planeByte)).get;
      copyRow(f, f.let(i32.add(from.get, signalByte)).get, row, bytes, write);
    });
    f.advance(from, o.step);
    f.advance(to, sink.plane);
  });
}

/** What of a product stands in the code as constants. */
export const shapeKey = ({ shape, size, tiles, kept }: Product): string =>
  `${size.height}x${size.width} k=${size.kernel} s=${size.stride} p=${size.padding} gathered=${shape.gathered} ` +
  `tile=${tiles.height} kept=${kept}`;
