// backends/wasm: dWeight of a 3×3 convolution in Winograd's domain: dg = Gᵀ[Σ over tiles of (A dY Aᵀ) ⊙ (Bᵀ d B)]G.
//
// Shapes: as convGradWeight.ts; the sums are [36][C][O], O rounded up to whole product tiles.
// Parallel: threads share the units of tiles, each into sums of its own; a second phase adds them in thread order and
// maps them back.
// Traffic: a unit's dY is transformed once, tiles by outputs; then x a few channels at a time, combined with all of it
// in L2.
// Numerics: a chain over a unit's tiles, then over the thread's units, then over the threads
// (test/conformance/winograd.ts).
// Measured: 121, batch 8: 210 → 107 ms a step; BC-100-12, batch 64: 150 → 114 ms (two Zen threads, 2026-11).
import type { KernelTable, WindowSize } from "../../plan/plan.ts";
import { type Expression, f32x4, i32, type ModuleBuilder, v128 } from "./assembler.ts";
import { coefficientBytes, coefficients, compositeValues } from "./composite.ts";
import { type Addresses, type CompiledKernel, phase, threadSlice } from "./kernel.ts";
import { clear, copyRow } from "./run.ts";
import { forEachUnit, tileBytes } from "./signal.ts";
import { type Target, tileShape } from "./target.ts";
import { addTile, outerTile } from "./tile.ts";
import { fillTables, forEachBlockRun, oddLines, side, tile, tilingKey, wholeLines } from "./winogradTiles.ts";
import {
  frequencies,
  kernelGradient,
  transformColumns,
  transformGradient,
  transformRows,
} from "./winogradTransforms.ts";

/** Tiles of a unit: the length of a product's chain; shorter ones spend their time on adding sums to memory. */
const unitTiles = 32;
/**
 * Floats of transformed operands and sums that a few channels of x work on: not much more than a quarter of a megabyte.
 */
const stagedFloats = 96 * 1024;
/** Outputs that are transformed at once. */
const lanes = 4;

/**
 * Whether it pays, by a core's cycles a tile: direct 9·C·O at 0.7 of the product tile's speed; here 36/16·C·O, outputs
 * rounded up, a quarter more for adding up, 25·C and 40·O for the transformations, and 100·C·O for the backward
 * transformation, once.
 */
export function gradWinogradPays(size: WindowSize, channels: number, outputs: number): boolean {
  const { batch, height, width, kernel, stride, padding } = size;
  if (kernel !== 3 || stride !== 1 || padding !== 1) return false;
  const padded = Math.ceil(outputs / 16) * 16;
  const tiles = batch * Math.ceil(height / side) * Math.ceil(width / side);
  const direct = ((9 / 16) * batch * height * width * channels * outputs) / 0.7;
  const here = tiles * (1.25 * (36 / 16) * channels * padded + 25 * channels + 40 * outputs) + 100 * channels * padded;
  return here < 0.85 * direct;
}

export function emitWinogradGradWeight(
  module: ModuleBuilder,
  target: Target,
  args: Readonly<KernelTable["convGradWeight"]>,
  at: Addresses,
): CompiledKernel {
  const { x, dy, size, composite } = args;
  const channels = x.channels;
  const outputs = dy.channels;
  const width = tileBytes(target);
  // The padding depends on the widest tile, not on the target's, so that every target cuts the work alike.
  const padded = Math.ceil(outputs / 16) * 16;
  const tiling = tile(size, unitTiles, at.threads);
  const height = tileShape(target).rows;
  const perChannel = tiling.tiles + padded;
  const fitting = Math.floor((stagedFloats / frequencies - tiling.tiles * padded) / perChannel);
  const block = Math.min(channels, Math.max(height, fitting - (fitting % height)));
  const inputStep = oddLines(block * tiling.tiles * 4);
  const gradientStep = oddLines(padded * tiling.tiles * 4);
  const planeBytes = oddLines(tiling.blockRoom);
  const zerosAt = wholeLines(channels * coefficientBytes) + tiling.tableBytes;
  const columnsAt = zerosAt + tiling.zeroBytes;
  const planesAt = columnsAt + wholeLines(tiling.columnBytes + 64);
  const sumTileAt = planesAt + lanes * planeBytes;
  const gradientAt = sumTileAt + wholeLines(height * width);
  const inputAt = gradientAt + frequencies * gradientStep;
  const partialBytes = frequencies * channels * padded * 4;
  const run = phase(
    module,
    `convGradWeightWinograd ${tilingKey(size, tiling)} composite=${composite?.eps ?? "none"}`,
    {
      x: at.view(x),
      xStride: at.batchStride(x),
      dy: at.view(dy),
      dyStride: at.batchStride(dy),
      channels,
      outputs,
      padded,
      block,
      ...compositeValues(composite, at),
      batch: size.batch,
      rows: tiling.tileRows * side,
      bands: tiling.bands,
      images: tiling.images,
      units: tiling.units,
      tablesAt: wholeLines(channels * coefficientBytes),
      zerosAt,
      columnsAt,
      planesAt,
      sumTileAt,
      gradientAt,
      inputAt,
      inputStep,
      gradientStep,
      planeBytes,
    },
    (f, o, worker) => {
      if (composite) {
        const { mean, variance, gamma, beta } = o;
        f.call(coefficients(module, composite.eps), [mean, variance, gamma, beta, o.channels, worker.scratch]);
      }
      const within = (offset: Expression): Expression => f.let(i32.add(worker.scratch, offset)).get;
      const [tables, zeros, columns, planes, sumTile, gradient, input] = [
        within(o.tablesAt),
        within(o.zerosAt),
        within(o.columnsAt),
        within(o.planesAt),
        within(o.sumTileAt),
        within(o.gradientAt),
        within(o.inputAt),
      ];
      const tileStep = tiling.tiles * 4;
      const outputBytes = f.let(i32.shl(o.padded, 2)).get;
      const channelPartial = f.let(i32.mul(o.channels, outputBytes)).get;
      const partialStep = f.let(i32.mul(channelPartial, frequencies)).get;
      const partial = f.let(i32.add(worker.shared, i32.mul(worker.thread, partialStep))).get;
      fillTables(f, tiling, tables);
      clear(f, zeros, tiling.zeroBytes);
      clear(f, columns, tiling.columnBytes + 64);
      clear(f, planes, f.let(i32.mul(o.planeBytes, lanes)).get);
      clear(f, gradient, f.let(i32.mul(o.gradientStep, frequencies)).get);
      clear(f, input, f.let(i32.mul(o.inputStep, frequencies)).get);
      clear(f, partial, partialStep);
      const planeOf = size.height * size.width * 4;
      const down = transformColumns(
        module,
        target,
        size.height,
        size.width,
        tiling.columnRowBytes,
        composite !== undefined,
      );
      const along = transformRows(module, target, tiling.columnRowBytes);
      const up = transformGradient(module, target, tiling.blockRowBytes);
      forEachUnit(f, { height: size.height }, o, threadSlice(f, o.units, worker), (unit) => {
        const tileRows = f.let(i32.shrU(i32.add(unit.rows, side - 1), 2)).get;
        const tiles = f.let(i32.mul(i32.mul(unit.images, tileRows), tiling.columns)).get;
        const quads = f.let(i32.and(i32.add(tiles, 3), -4)).get;
        // dY in blocks with zeros at the images' edges, four channels at a time. A band that ends inside a block has
        // rows below it that belong to no image: they are zeros since the planes were cleared, or, after a higher band,
        // cleared again.
        f.loop(0, o.outputs, lanes, (output) => {
          const count = f.let(f.minimum(lanes, i32.sub(o.outputs, output.get))).get;
          f.if(i32.or(i32.ltS(count, lanes), i32.remU(unit.rows, side)), () =>
            clear(f, planes, f.let(i32.mul(o.planeBytes, lanes)).get),
          );
          f.loop(0, count, 1, (lane) => {
            const source = f.let(
              i32.add(
                i32.add(o.dy, i32.mul(unit.firstImage, o.dyStride)),
                i32.mul(i32.add(output.get, lane.get), planeOf),
              ),
            ).get;
            const plane = f.let(i32.add(planes, i32.mul(lane.get, o.planeBytes))).get;
            forEachBlockRun(f, size, tiling, unit, (planeByte, blockByte, image, bytes) => {
              const from = f.let(i32.add(i32.add(source, i32.mul(image, o.dyStride)), planeByte)).get;
              copyRow(f, from, f.let(i32.add(plane, blockByte)).get, bytes);
            });
          });
          const blocks = i32.add(tables, tileStep);
          const sink = i32.add(gradient, i32.shl(output.get, 2));
          f.call(up, [planes, o.planeBytes, blocks, sink, o.gradientStep, outputBytes, tiles]);
        });
        // Places up to a whole number of four tiles hold an earlier unit's numbers.
        f.loop(0, i32.mul(o.gradientStep, frequencies), o.gradientStep, (frequency) => {
          const rest = f.let(i32.add(i32.add(gradient, frequency.get), i32.mul(tiles, outputBytes))).get;
          clear(f, rest, f.let(i32.mul(i32.sub(quads, tiles), outputBytes)).get);
        });
        f.loop(0, o.channels, o.block, (first) => {
          const count = f.let(f.minimum(o.block, i32.sub(o.channels, first.get))).get;
          const source = f.let(i32.add(i32.add(o.x, i32.mul(unit.firstImage, o.xStride)), i32.mul(first.get, planeOf)));
          const coefficient = f.let(i32.add(worker.scratch, i32.mul(first.get, coefficientBytes)));
          const sink = f.let(input);
          f.loop(0, count, 1, () => {
            f.call(down, [
              source.get,
              o.xStride,
              columns,
              coefficient.get,
              zeros,
              unit.images,
              unit.firstRow,
              tileRows,
            ]);
            f.call(along, [columns, tables, sink.get, o.inputStep, quads]);
            f.advance(source, planeOf);
            f.advance(coefficient, coefficientBytes);
            f.advance(sink, tileStep);
          });
          const a = f.let(input);
          const b = f.let(gradient);
          const c = f.let(i32.add(partial, i32.mul(first.get, outputBytes)));
          f.loop(0, frequencies, 1, () => {
            const multiply = (rows: number, row: Expression): void => {
              const aRow = f.let(i32.add(a.get, i32.mul(row, tileStep))).get;
              const cRow = f.let(i32.add(c.get, i32.mul(row, outputBytes))).get;
              f.loop(0, outputBytes, width, (column) => {
                const bColumn = i32.add(b.get, column.get);
                f.call(outerTile(module, target, rows), [
                  aRow,
                  tileStep,
                  bColumn,
                  outputBytes,
                  sumTile,
                  width,
                  i32.shl(quads, 2),
                ]);
                f.call(addTile(module, target, rows), [sumTile, i32.add(cRow, column.get), outputBytes]);
              });
            };
            const whole = f.let(i32.sub(count, i32.remU(count, height))).get;
            f.loop(0, whole, height, (row) => multiply(height, row.get));
            for (let rest = 1; rest < height; rest++) {
              f.if(i32.eq(i32.sub(count, whole), rest), () => multiply(rest, whole));
            }
            f.advance(a, o.inputStep);
            f.advance(b, o.gradientStep);
            f.advance(c, channelPartial);
          });
        });
      });
    },
  );
  const values = { dWeight: at.buffer(args.dWeight), channels, outputs, padded };
  const finish = phase(module, "convGradWeightWinograd, back", values, (f, o, worker) => {
    const { start, end } = threadSlice(f, o.channels, worker);
    const outputBytes = f.let(i32.shl(o.padded, 2)).get;
    const step = f.let(i32.mul(o.channels, outputBytes)).get;
    const threadStep = f.let(i32.mul(step, frequencies)).get;
    const outStep = f.let(i32.mul(o.channels, 36)).get;
    f.loop(start, end, 1, (channel) => {
      f.loop(0, o.outputs, lanes, (output) => {
        const first = f.let(
          i32.add(worker.shared, i32.add(i32.mul(channel.get, outputBytes), i32.shl(output.get, 2))),
        ).get;
        const sums = kernelGradient(f, (frequency) => {
          const sum = f.let(v128.zero);
          const part = f.let(i32.add(first, i32.mul(step, frequency)));
          f.loop(0, worker.threads, 1, () => {
            f.set(sum, f32x4.add(sum.get, v128.load(part.get)));
            f.advance(part, threadStep);
          });
          return sum.get;
        });
        const to = f.let(i32.add(o.dWeight, i32.add(i32.mul(output.get, outStep), i32.mul(channel.get, 36))));
        for (let lane = 0; lane < lanes; lane++) {
          f.if(i32.ltS(i32.add(output.get, lane), o.outputs), () => {
            for (const [tap, sum] of sums.entries()) f.store(to.get, f32x4.extractLane(sum, lane), tap * 4);
          });
          f.advance(to, outStep);
        }
      });
    });
  });
  return {
    phases: [run, finish],
    scratchBytes: inputAt + frequencies * inputStep,
    sharedBytes: at.threads * partialBytes,
  };
}
