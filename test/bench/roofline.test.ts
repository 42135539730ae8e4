// A step taken apart: the time of calls that run together is all of theirs, wherever among them the device told it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readRoofline } from "../../bench/roofline.ts";
import type { KernelCall } from "../../src/plan/plan.ts";
import { callOf } from "../conformance/case.ts";

const x = { buffer: "x", offset: 0, channels: 3 };
const shape = { batch: 2, plane: 16 };
const call = (kernel: "dropout" | "channelStatistics", macs: number): KernelCall => {
  const args = { x, mean: x, variance: x, rate: 0.1, stream: 0, ...shape };
  return { ...callOf(kernel, args), macs, trafficBytes: 1e6 } as KernelCall;
};

test("roofline · a group is one row with the time and the bytes of all its calls", () => {
  const [first, second, third] = [call("dropout", 1e6), call("channelStatistics", 0), call("dropout", 2e6)];
  const limits = { gflops: 10, gigabytesPerSecond: 10 };
  const rounds = [
    [2, 0, 1],
    [4, 0, 1],
    [9, 0, 1],
  ];
  const { ms, calls, groups, dearest } = readRoofline([[first, second], [third]], rounds, limits);
  assert.deepEqual([ms, calls], [5, 3]);
  const told = groups.map(({ what, calls: count, ms: spent, bytes, gflops }) => [what, count, spent, bytes, gflops]);
  assert.deepEqual(told, [
    ["dropout + channelStatistics plane 16", 2, 4, 2e6, 0.5],
    ["dropout plane 16", 1, 1, 1e6, 4],
  ]);
  assert.deepEqual(
    dearest.map(({ ms: spent }) => spent),
    [4, 1],
  );
});
