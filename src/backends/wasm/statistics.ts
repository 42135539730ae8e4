// backends/wasm: the mean and variance of a channel, their gradient, and the running averages.
//
// Parallel: threads share the channels, so that one thread sees all N planes of a channel in order and the result does
// not depend on how many threads there are.
import type { RunningEntry } from "../../plan/plan.ts";
import { type Expression, f32, f32x4, f64, i32, v128 } from "./assembler.ts";
import { type CompiledKernel, type Emit, phase, threadSlice } from "./kernel.ts";
import { forEachStretch } from "./run.ts";
import { laneSum, multiplyAdd } from "./vector.ts";

/**
 * Numerics: two passes over each plane (its mean, then Σ(x − mean)², the plane still in L1), planes merged in f64 by
 * Chan, Golub and LeVeque's update; survives |mean|/σ = 30 and more, where E[x²] − E[x]² in f32 does not.
 */
export const emitChannelStatistics: Emit<"channelStatistics"> = (module, _target, args, at): CompiledKernel => {
  const { x, batch, plane } = args;
  const run = phase(
    module,
    `channelStatistics plane=${plane}`,
    {
      x: at.view(x),
      xStride: at.batchStride(x),
      mean: at.view(args.mean),
      variance: at.view(args.variance),
      channels: x.channels,
      batch,
    },
    (f, o, worker) => {
      const { start, end } = threadSlice(f, o.channels, worker);
      f.loop(start, end, 1, (channel) => {
        const address = f.let(i32.add(o.x, i32.mul(channel.get, plane * 4)));
        const mean = f.let(f64.const(0));
        const squares = f.let(f64.const(0));
        const count = f.let(f64.const(0));
        const sum = [f.local("v128"), f.local("v128")] as const;
        const sumPlane = (term: (x: Expression, live: (value: Expression) => Expression) => Expression): Expression => {
          for (const part of sum) f.set(part, v128.zero);
          forEachStretch(f, plane * 4, (offset, stretch) => {
            const from = f.let(i32.add(address.get, offset)).get;
            for (const v of stretch.vectors)
              f.set(sum[v], f32x4.add(sum[v].get, term(stretch.load(from, v), stretch.live)));
          });
          return laneSum(f, f32x4.add(sum[0].get, sum[1].get));
        };
        f.loop(0, o.batch, 1, () => {
          const planeMean = f.let(
            f32.div(
              sumPlane((value) => value),
              f32.const(plane),
            ),
          ).get;
          const centre = f.let(f32x4.splat(planeMean)).get;
          const planeSquares = f.let(
            sumPlane((value, live) => {
              const deviation = f.let(live(f32x4.sub(value, centre))).get;
              return f32x4.mul(deviation, deviation);
            }),
          ).get;
          // With n the floats so far, m those of the plane, δ = planeMean − mean: mean += δ·m/(n + m), squares +=
          // planeSquares + δ²·n·m/(n + m).
          const delta = f.let(f64.sub(f64.fromF32(planeMean), mean.get)).get;
          const total = f.let(f64.add(count.get, f64.const(plane))).get;
          const weight = f.let(f64.div(f64.const(plane), total)).get;
          const between = f64.mul(f64.mul(delta, delta), f64.mul(count.get, weight));
          f.set(squares, f64.add(squares.get, f64.add(f64.fromF32(planeSquares), between)));
          f.set(mean, f64.add(mean.get, f64.mul(delta, weight)));
          f.set(count, total);
          f.advance(address, o.xStride);
        });
        const entry = f.let(i32.shl(channel.get, 2)).get;
        f.store(i32.add(o.mean, entry), f32.fromF64(mean.get));
        f.store(i32.add(o.variance, entry), f32.fromF64(f64.div(squares.get, count.get)));
      });
    },
  );
  return { phases: [run], scratchBytes: 0, sharedBytes: 0 };
};

/** In place: dx += (dMean + 2·(x − mean)·dVariance)/count. Traffic: reads x and dx, writes dx. */
export const emitStatisticsGrad: Emit<"statisticsGrad"> = (module, target, args, at): CompiledKernel => {
  const { dx, x, batch, plane } = args;
  const run = phase(
    module,
    `statisticsGrad plane=${plane}`,
    {
      dx: at.view(dx),
      dxStride: at.batchStride(dx),
      x: at.view(x),
      xStride: at.batchStride(x),
      mean: at.view(args.mean),
      dMean: at.view(args.dMean),
      dVariance: at.view(args.dVariance),
      channels: x.channels,
      batch,
    },
    (f, o, worker) => {
      const { start, end } = threadSlice(f, o.channels, worker);
      const perFloat = f.let(f32.div(f32.const(1), f32.fromI32U(i32.mul(o.batch, plane)))).get;
      f.loop(start, end, 1, (channel) => {
        const entry = f.let(i32.shl(channel.get, 2)).get;
        const number = (base: Expression): Expression => f32.load(i32.add(base, entry));
        const mean = f.let(f32x4.splat(number(o.mean))).get;
        const level = f.let(f32x4.splat(f32.mul(number(o.dMean), perFloat))).get;
        const slope = f.let(f32x4.splat(f32.mul(f32.mul(f32.const(2), number(o.dVariance)), perFloat))).get;
        const xAddress = f.let(i32.add(o.x, i32.mul(channel.get, plane * 4)));
        const dxAddress = f.let(i32.add(o.dx, i32.mul(channel.get, plane * 4)));
        f.loop(0, o.batch, 1, () => {
          forEachStretch(f, plane * 4, (offset, stretch) => {
            const from = f.let(i32.add(xAddress.get, offset)).get;
            const to = f.let(i32.add(dxAddress.get, offset)).get;
            for (const v of stretch.vectors) {
              const linear = multiplyAdd(target, f32x4.sub(stretch.load(from, v), mean), slope, level);
              stretch.store(to, v, f32x4.add(stretch.load(to, v), linear));
            }
          });
          f.advance(xAddress, o.xStride);
          f.advance(dxAddress, o.dxStride);
        });
      });
    },
  );
  return { phases: [run], scratchBytes: 0, sharedBytes: 0 };
};

/**
 * One phase for each consumer; thread t takes its slice of the channels. No two phases touch the same floats, so only
 * the last needs its barrier.
 */
export const emitUpdateRunningStatistics: Emit<"updateRunningStatistics"> = (
  module,
  _target,
  args,
  at,
): CompiledKernel => {
  const { momentum, count } = args;
  const update = (entry: RunningEntry) =>
    phase(
      module,
      `updateRunning momentum=${momentum} count=${count}`,
      {
        mean: at.view(entry.mean),
        variance: at.view(entry.variance),
        runningMean: at.buffer(entry.runningMean),
        runningVariance: at.buffer(entry.runningVariance),
        channels: entry.mean.channels,
      },
      (f, o, worker) => {
        const { start, end } = threadSlice(f, o.channels, worker);
        // One value has no unbiased variance: ∞·0 is NaN, as the reference's 0/0.
        const unbiased = count / (count - 1);
        f.loop(start, end, 1, (channel) => {
          const byte = f.let(i32.shl(channel.get, 2)).get;
          const blend = (running: Expression, batchValue: Expression): void => {
            const address = f.let(i32.add(running, byte)).get;
            f.store(
              address,
              f32.add(f32.mul(f32.const(1 - momentum), f32.load(address)), f32.mul(f32.const(momentum), batchValue)),
            );
          };
          blend(o.runningMean, f32.load(i32.add(o.mean, byte)));
          blend(o.runningVariance, f32.mul(f32.const(unbiased), f32.load(i32.add(o.variance, byte))));
        });
      },
    );
  return { phases: args.entries.map(update), scratchBytes: 0, sharedBytes: 0 };
};
