// backends/wasm: y = conv2d(composite(x), w), and the same sum with transposed weights for the gradient of x.
//
// Shapes: x [N, C, H, W] view, w [O, C, k, k], y [N, O, H', W'] view.
// Parallel: threads share the units of N·H (signal.ts); nothing is reduced across threads but the sums of a composite's
// gradient.
// Traffic: each unit of x is read once and staged in L2; packed weights stream from L2; y is written once.
// Numerics: every y is one chain of C·k² multiply-adds (tile.ts).
import type { WindowSize } from "../../plan/plan.ts";
import {
  type Expression,
  type FunctionBuilder,
  type FunctionSignature,
  f32,
  i32,
  type ModuleBuilder,
} from "./assembler.ts";
import {
  coefficientBytes,
  coefficients,
  compositeGradFinish,
  compositeGradRow,
  foldPartials,
  sumBytes,
} from "./composite.ts";
import { emitWinogradConv, emitWinogradGradInput } from "./convWinograd.ts";
import {
  type Addresses,
  type CompiledKernel,
  type Emit,
  namedFunction,
  type Phase,
  partialsOf,
  phase,
  threadSlice,
} from "./kernel.ts";
import { clear, copyRow } from "./run.ts";
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
import { winogradPays } from "./winograd.ts";

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
interface Product {
  readonly shape: SignalShape;
  readonly size: WindowSize;
  readonly tiles: RowTiles;
  readonly cut: UnitCut;
  readonly layout: ProductLayout;
  readonly taps: number;
  /** The weights were packed before the plan's run. */
  readonly kept: boolean;
}

function planProduct(
  channels: number,
  outputs: number,
  size: WindowSize,
  coefficientCount: number,
  target: Target,
  { threads, keep }: Pick<Addresses, "threads" | "keep">,
  source: string,
): Product {
  const shape = signalShape(channels, size);
  const cut = cutUnits(shape, size.batch, Math.floor(stagedFloats / Math.max(shape.contraction, outputs)), threads);
  const taps = shape.tapBytes.length;
  const keptAt = keep?.(shape.contraction * outputs * taps * 4, source);
  const layout = productLayout(shape.contraction, outputs, taps, coefficientCount, cut, keptAt);
  return { shape, size, tiles: rowTiles(outputs, target), cut, layout, taps, kept: keep !== undefined };
}

const productOperands = [
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

function productValues(
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
function emitProduct(
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

/** A unit's results from scratch to where they belong, without the idle columns. */
function copyResults(
  f: FunctionBuilder,
  product: Product,
  unit: Unit,
  results: Expression,
  o: { readonly outputs: Expression; readonly step: Expression },
  sink: { readonly address: Expression; readonly stride: Expression; readonly plane: number },
): void {
  const from = f.let(results);
  const to = f.let(i32.add(sink.address, i32.mul(unit.firstImage, sink.stride)));
  f.loop(0, o.outputs, 1, () => {
    forEachRun(f, product.shape, unit, (planeByte, signalByte, image, bytes) => {
      const row = f.let(i32.add(i32.add(to.get, i32.mul(image, sink.stride)), planeByte)).get;
      copyRow(f, f.let(i32.add(from.get, signalByte)).get, row, bytes);
    });
    f.advance(from, o.step);
    f.advance(to, sink.plane);
  });
}

export const emitConv: Emit<"conv"> = (module, target, args, at): CompiledKernel => {
  const { x, y, size, composite } = args;
  if (winogradPays(size, x.channels, y.channels)) return emitWinogradConv(module, target, args, at);
  const product = planProduct(x.channels, y.channels, size, composite ? x.channels : 0, target, at, args.weight);
  const plane = size.outHeight * size.outWidth * 4;
  const normalize = composite && {
    mean: at.view(composite.mean),
    variance: at.view(composite.variance),
    gamma: at.buffer(composite.gamma),
    beta: at.buffer(composite.beta),
  };
  const run = phase(
    module,
    `conv ${shapeKey(product)} composite=${composite ? composite.eps : "none"}`,
    {
      ...productValues(
        product,
        { x: at.view(x), xStride: at.batchStride(x), weights: at.buffer(args.weight) },
        x.channels,
        y.channels,
      ),
      y: at.view(y),
      yStride: at.batchStride(y),
      mean: normalize?.mean ?? 0,
      variance: normalize?.variance ?? 0,
      gamma: normalize?.gamma ?? 0,
      beta: normalize?.beta ?? 0,
    },
    (f, o, worker) => {
      if (composite)
        f.call(coefficients(module, composite.eps), [o.mean, o.variance, o.gamma, o.beta, o.channels, worker.scratch]);
      emitProduct(
        f,
        module,
        target,
        product,
        o,
        worker,
        { withComposite: composite !== undefined, transposed: false },
        (unit, results) => copyResults(f, product, unit, results, o, { address: o.y, stride: o.yStride, plane }),
      );
    },
  );
  const prepare = product.kept ? [packPhase(module, product, at.buffer(args.weight), y.channels)] : [];
  return { phases: [run], prepare, scratchBytes: product.layout.bytes, sharedBytes: 0 };
};

/** The weights of a forward product to where they are kept; one thread packs them. */
function packPhase(module: ModuleBuilder, product: Product, weights: number, outputs: number): Phase {
  const { shape, tiles, taps, layout } = product;
  return phase(
    module,
    `packWeights taps=${taps} height=${tiles.height}`,
    { weights, to: layout.packed, contraction: shape.contraction, outputs, tall: tiles.tall, low: tiles.low },
    (f, o, worker) => {
      f.if(i32.ltU(worker.thread, 1), () =>
        f.call(pack(module, taps, tiles.height, false), [o.weights, o.to, o.contraction, o.outputs, o.tall, o.low]),
      );
    },
  );
}

/** What of a product stands in the code as constants. */
const shapeKey = ({ shape, size, tiles, kept }: Product): string =>
  `${size.height}x${size.width} k=${size.kernel} s=${size.stride} p=${size.padding} gathered=${shape.gathered} ` +
  `tile=${tiles.height} kept=${kept}`;

/**
 * dx of a stride-1 convolution: the same product over dy with turned weights; then back through ReLU and normalize,
 * where there is one.
 */
export const emitConvGradInput: Emit<"convGradInput"> = (module, target, args, at): CompiledKernel => {
  const { dy, dx, size, composite } = args;
  if (size.stride !== 1 || size.kernel !== 2 * size.padding + 1) {
    throw new RangeError(
      "convGradInput takes stride 1 and same-size padding; a DenseNet's only strided convolution is its first, " +
        "whose input needs no gradient",
    );
  }
  const channels = dx.channels;
  if (composite && winogradPays(size, dy.channels, channels)) {
    return emitWinogradGradInput(module, target, { ...args, composite }, at);
  }
  const product = planProduct(dy.channels, channels, size, channels, target, { threads: at.threads }, args.weight);
  const plane = size.height * size.width * 4;
  const operands = {
    ...productValues(
      product,
      { x: at.view(dy), xStride: at.batchStride(dy), weights: at.buffer(args.weight) },
      dy.channels,
      channels,
    ),
    dx: at.view(dx),
    dxStride: at.batchStride(dx),
  };
  const accumulate = args.write === "accumulate";
  if (!composite) {
    if (accumulate) throw new RangeError("convGradInput without a composite overwrites dx");
    const run = phase(module, `convGradInput ${shapeKey(product)}`, operands, (f, o, worker) => {
      emitProduct(f, module, target, product, o, worker, { withComposite: false, transposed: true }, (unit, results) =>
        copyResults(f, product, unit, results, o, { address: o.dx, stride: o.dxStride, plane }),
      );
    });
    return { phases: [run], scratchBytes: product.layout.bytes, sharedBytes: 0 };
  }
  const { normalize, grad, x } = composite;
  const run = phase(
    module,
    `convGradInput ${shapeKey(product)} composite=${normalize.eps} accumulate=${accumulate}`,
    {
      ...operands,
      source: at.view(x),
      sourceStride: at.batchStride(x),
      mean: at.view(normalize.mean),
      variance: at.view(normalize.variance),
      gamma: at.buffer(normalize.gamma),
      beta: at.buffer(normalize.beta),
    },
    (f, o, worker) => {
      f.call(coefficients(module, normalize.eps), [o.mean, o.variance, o.gamma, o.beta, o.outputs, worker.scratch]);
      const gradRow = compositeGradRow(module, target, accumulate, false);
      const sums = f.let(i32.add(worker.shared, i32.mul(worker.thread, i32.mul(o.outputs, sumBytes)))).get;
      clear(f, sums, i32.mul(o.outputs, sumBytes));
      emitProduct(
        f,
        module,
        target,
        product,
        o,
        worker,
        { withComposite: false, transposed: true },
        (unit, results) => {
          const from = f.let(results);
          const source = f.let(i32.add(o.source, i32.mul(unit.firstImage, o.sourceStride)));
          const to = f.let(i32.add(o.dx, i32.mul(unit.firstImage, o.dxStride)));
          f.loop(0, o.outputs, 1, (channel) => {
            const coefficient = f.let(i32.add(worker.scratch, i32.mul(channel.get, coefficientBytes))).get;
            forEachRun(f, product.shape, unit, (planeByte, signalByte, image, bytes) => {
              f.call(gradRow, [
                i32.add(from.get, signalByte),
                i32.add(i32.add(source.get, i32.mul(image, o.sourceStride)), planeByte),
                i32.add(i32.add(to.get, i32.mul(image, o.dxStride)), planeByte),
                bytes,
                coefficient,
                partialsOf(worker),
              ]);
            });
            f.call(foldPartials(module), [partialsOf(worker), i32.add(sums, i32.mul(channel.get, sumBytes))]);
            f.advance(from, o.step);
            f.advance(source, plane);
            f.advance(to, plane);
          });
        },
      );
    },
  );
  return {
    phases: [run, compositeGradFinish(module, normalize, grad, at)],
    scratchBytes: product.layout.bytes,
    sharedBytes: at.threads * channels * sumBytes,
  };
};
