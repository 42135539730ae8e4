// bench: a step taken apart: which kernels take the time, and whether arithmetic, memory or neither holds them back.
import type { KernelCall } from "../src/plan/plan.ts";
import { type CallGroup, kernelsOf } from "./gate.ts";
import type { MachineLimits } from "./machine.ts";
import { median } from "./statistics.ts";

/** `compute`: above 60 % of the multiply-add peak. `memory`: above 60 % of the copy bandwidth. `overhead`: neither. */
export type Limit = "compute" | "memory" | "overhead";

export interface RooflineRow {
  /** Kernels that run together and the first one's geometry, or these with its path and channels. */
  readonly what: string;
  readonly calls: number;
  readonly ms: number;
  /** Of the whole step, 0 to 1. */
  readonly share: number;
  readonly macs: number;
  readonly gflops: number;
  readonly peakShare: number;
  /** Bytes that the calls must touch once; what a kernel reads twice is not in it. */
  readonly bytes: number;
  readonly gigabytesPerSecond: number;
  readonly bandwidthShare: number;
  readonly limit: Limit;
}

export interface Roofline {
  readonly limits: MachineLimits;
  /**
   * Sum over the calls of their median times. CPU: as thread 0 saw them, waiting for other threads included. GPU: by
   * the device's clock, each dispatch in a pass of its own, so that nothing overlaps.
   */
  readonly ms: number;
  readonly calls: number;
  readonly groups: readonly RooflineRow[];
  readonly dearest: readonly RooflineRow[];
}

const limitShare = 0.6;

const square = (height: number, width: number): string => `${height}×${width}`;

/** Window, stride and output plane, or the plane; empty for calls over vectors. */
function geometry({ args }: KernelCall): string {
  if ("plane" in args) return `plane ${args.plane}`;
  if (!("size" in args)) return "";
  const { size } = args;
  if ("windowHeight" in size) {
    return `${square(size.windowHeight, size.windowWidth)} → ${square(size.outHeight, size.outWidth)}`;
  }
  const stride = size.stride === 1 ? "" : `/${size.stride}`;
  return `${square(size.kernel, size.kernel)}${stride} → ${square(size.outHeight, size.outWidth)}`;
}

/** Channels in and out of a convolution's call, from its views. */
function channels({ args }: KernelCall): string {
  if ("x" in args && "y" in args && typeof args.y === "object") return `${args.x.channels}→${args.y.channels}`;
  if ("dy" in args && "dx" in args && typeof args.dy === "object") return `${args.dx.channels}→${args.dy.channels}`;
  if ("x" in args && "dy" in args && typeof args.dy === "object") return `${args.x.channels}→${args.dy.channels}`;
  return "x" in args ? `${args.x.channels}` : "";
}

const joined = (...parts: readonly string[]): string => parts.filter((part) => part !== "").join(" ");

function toRow(
  what: string,
  calls: readonly KernelCall[],
  ms: number,
  totalMs: number,
  limits: MachineLimits,
): RooflineRow {
  const macs = calls.reduce((sum, call) => sum + call.macs, 0);
  const bytes = calls.reduce((sum, call) => sum + call.trafficBytes, 0);
  const gflops = (2 * macs) / ms / 1e6;
  const gigabytesPerSecond = bytes / ms / 1e6;
  const peakShare = gflops / limits.gflops;
  const bandwidthShare = gigabytesPerSecond / limits.gigabytesPerSecond;
  const limit = peakShare > limitShare ? "compute" : bandwidthShare > limitShare ? "memory" : "overhead";
  return {
    what,
    calls: calls.length,
    ms,
    share: ms / totalMs,
    macs,
    gflops,
    peakShare,
    bytes,
    gigabytesPerSecond,
    bandwidthShare,
    limit,
  };
}

/**
 * `groups`: all calls of a plan in order. `rounds`: milliseconds of every call, from one or more runs; where a group's
 * lie in it says nothing.
 */
export function readRoofline(
  groups: readonly CallGroup[],
  rounds: readonly (readonly number[])[],
  limits: MachineLimits,
): Roofline {
  let calls = 0;
  const timed = groups.flatMap((group) => {
    const begin = calls;
    calls += group.length;
    const sums = rounds.map((round) => round.slice(begin, calls).reduce((sum, ms) => sum + ms, 0));
    const [first] = group;
    return first ? [{ group, first, ms: median(sums) }] : [];
  });
  const totalMs = timed.reduce((sum, { ms }) => sum + ms, 0);
  const alike = Map.groupBy(timed, ({ group, first }) =>
    joined(kernelsOf(group), geometry(first), first.recompute ? "again" : ""),
  );
  const byTime = (a: { readonly ms: number }, b: { readonly ms: number }): number => b.ms - a.ms;
  return {
    limits,
    ms: totalMs,
    calls,
    groups: [...alike]
      .map(([what, members]) => {
        const ms = members.reduce((sum, member) => sum + member.ms, 0);
        return toRow(
          what,
          members.flatMap(({ group }) => group),
          ms,
          totalMs,
          limits,
        );
      })
      .sort(byTime),
    dearest: timed
      .toSorted(byTime)
      .slice(0, 10)
      .map(({ group, first, ms }) =>
        toRow(joined(kernelsOf(group), first.path, channels(first), geometry(first)), group, ms, totalMs, limits),
      ),
  };
}
