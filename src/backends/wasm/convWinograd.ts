// backends/wasm: the convolution and its input's gradient through Winograd's transformation (winograd.ts), where
// conv.ts finds that it pays.
import type { KernelTable } from "../../plan/plan.ts";
import { i32, type ModuleBuilder } from "./assembler.ts";
import {
  clearedSums,
  coefficientBytes,
  coefficients,
  compositeGradFinish,
  compositeGradRow,
  compositeValues,
  foldPartials,
  sumBytes,
} from "./composite.ts";
import { type Addresses, type CompiledKernel, partialsOf, phase } from "./kernel.ts";
import { copyRow } from "./run.ts";
import type { Target } from "./target.ts";
import { emitWinograd, planWinograd, weightsPhase, winogradKey, winogradOperands } from "./winograd.ts";
import { forEachBlockRun } from "./winogradTiles.ts";

export function emitWinogradConv(
  module: ModuleBuilder,
  target: Target,
  args: Readonly<KernelTable["conv"]>,
  at: Addresses,
): CompiledKernel {
  const { x, y, size, composite } = args;
  const winograd = planWinograd(size, x.channels, y.channels, composite ? x.channels : 0, target, at.threads);
  const plane = size.height * size.width * 4;
  const weightsAt = at.keep?.(winograd.weightBytes, args.weight) ?? 0;
  const kept = at.keep !== undefined;
  const weights = weightsPhase(module, winograd, at.buffer(args.weight), weightsAt, { transposed: false, kept });
  const run = phase(
    module,
    `convWinograd ${winogradKey(winograd)} composite=${composite?.eps ?? "none"} kept=${kept}`,
    {
      ...winogradOperands(winograd, { x: at.view(x), xStride: at.batchStride(x), weightsAt }),
      y: at.view(y),
      yStride: at.batchStride(y),
      ...compositeValues(composite, at),
    },
    (f, o, worker) => {
      if (composite) {
        const { mean, variance, gamma, beta, contraction } = o;
        f.call(coefficients(module, composite.eps), [mean, variance, gamma, beta, contraction, worker.scratch]);
      }
      emitWinograd(
        f,
        module,
        target,
        winograd,
        o,
        worker,
        { withComposite: composite !== undefined, kept },
        (unit, output, results) => {
          const sink = f.let(i32.add(i32.add(o.y, i32.mul(unit.firstImage, o.yStride)), i32.mul(output, plane))).get;
          forEachBlockRun(f, size, winograd.tiling, unit, (planeByte, resultByte, image, bytes) => {
            const to = f.let(i32.add(i32.add(sink, i32.mul(image, o.yStride)), planeByte)).get;
            copyRow(f, f.let(i32.add(results, resultByte)).get, to, bytes);
          });
        },
      );
    },
  );
  return {
    phases: kept ? [run] : [weights, run],
    prepare: kept ? [weights] : [],
    scratchBytes: winograd.scratchBytes,
    sharedBytes: kept ? 0 : winograd.weightBytes,
  };
}

/**
 * dx of a 3×3 convolution: the product over dy with turned weights, then back through ReLU and normalize, where there is
 * a composite.
 */
export function emitWinogradGradInput(
  module: ModuleBuilder,
  target: Target,
  args: Readonly<KernelTable["convGradInput"]>,
  at: Addresses,
): CompiledKernel {
  const { dy, dx, size, composite } = args;
  if (!composite) return emitPlainGradInput(module, target, args, at);
  const { normalize, grad, x } = composite;
  const channels = dx.channels;
  const winograd = planWinograd(size, dy.channels, channels, channels, target, at.threads);
  const plane = size.height * size.width * 4;
  const accumulate = args.write === "accumulate";
  const weightsAt = Math.ceil((at.threads * channels * sumBytes) / 64) * 64;
  const run = phase(
    module,
    `convGradInputWinograd ${winogradKey(winograd)} composite=${normalize.eps} accumulate=${accumulate}`,
    {
      ...winogradOperands(winograd, { x: at.view(dy), xStride: at.batchStride(dy), weightsAt }),
      dx: at.view(dx),
      dxStride: at.batchStride(dx),
      source: at.view(x),
      sourceStride: at.batchStride(x),
      ...compositeValues(normalize, at),
    },
    (f, o, worker) => {
      f.call(coefficients(module, normalize.eps), [o.mean, o.variance, o.gamma, o.beta, o.outputs, worker.scratch]);
      const gradRow = compositeGradRow(module, target, accumulate, false);
      const sums = clearedSums(f, worker, o.outputs);
      emitWinograd(
        f,
        module,
        target,
        winograd,
        o,
        worker,
        { withComposite: false, kept: false },
        (unit, output, results) => {
          const channelAt = f.let(i32.mul(output, plane)).get;
          const source = f.let(i32.add(i32.add(o.source, i32.mul(unit.firstImage, o.sourceStride)), channelAt)).get;
          const sink = f.let(i32.add(i32.add(o.dx, i32.mul(unit.firstImage, o.dxStride)), channelAt)).get;
          forEachBlockRun(f, size, winograd.tiling, unit, (planeByte, resultByte, image, bytes) => {
            f.call(gradRow, [
              i32.add(results, resultByte),
              i32.add(i32.add(source, i32.mul(image, o.sourceStride)), planeByte),
              i32.add(i32.add(sink, i32.mul(image, o.dxStride)), planeByte),
              bytes,
              i32.add(worker.scratch, i32.mul(output, coefficientBytes)),
              partialsOf(worker),
            ]);
          });
          f.call(foldPartials(module), [partialsOf(worker), i32.add(sums, i32.mul(output, sumBytes))]);
        },
      );
    },
  );
  return {
    phases: [
      weightsPhase(module, winograd, at.buffer(args.weight), weightsAt, { transposed: true, kept: false }),
      run,
      compositeGradFinish(module, normalize, grad, at),
    ],
    scratchBytes: winograd.scratchBytes,
    sharedBytes: weightsAt + winograd.weightBytes,
  };
}

function emitPlainGradInput(
  module: ModuleBuilder,
  target: Target,
  { dy, dx, size, weight, write }: Readonly<KernelTable["convGradInput"]>,
  at: Addresses,
): CompiledKernel {
  const winograd = planWinograd(size, dy.channels, dx.channels, 0, target, at.threads);
  const plane = size.height * size.width * 4;
  const run = phase(
    module,
    `convGradInputWinograd ${winogradKey(winograd)} composite=none write=${write}`,
    {
      ...winogradOperands(winograd, { x: at.view(dy), xStride: at.batchStride(dy), weightsAt: 0 }),
      dx: at.view(dx),
      dxStride: at.batchStride(dx),
    },
    (f, o, worker) => {
      const how = { withComposite: false, kept: false };
      emitWinograd(f, module, target, winograd, o, worker, how, (unit, output, results) => {
        const sink = f.let(i32.add(i32.add(o.dx, i32.mul(unit.firstImage, o.dxStride)), i32.mul(output, plane))).get;
        forEachBlockRun(f, size, winograd.tiling, unit, (planeByte, resultByte, image, bytes) => {
          const to = f.let(i32.add(i32.add(sink, i32.mul(image, o.dxStride)), planeByte)).get;
          copyRow(f, f.let(i32.add(results, resultByte)).get, to, bytes, write);
        });
      });
    },
  );
  return {
    phases: [weightsPhase(module, winograd, at.buffer(weight), 0, { transposed: true, kept: false }), run],
    scratchBytes: winograd.scratchBytes,
    sharedBytes: winograd.weightBytes,
  };
}
