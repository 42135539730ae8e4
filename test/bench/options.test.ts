// The benchmark's command line: what is timed by default, and usage errors that name the option.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readBenchOptions } from "../../bench/options.ts";
import { quantile } from "../../bench/statistics.ts";
import { UsageError } from "../../src/errors.ts";

const jobs = (...args: string[]): string[] =>
  readBenchOptions(args).jobs.map(({ net, mode, batch, size }) => `${net} ${mode} ${batch} ${size}`);

test("options · without nets two CIFAR nets in both modes and 121 inference", () => {
  const cifar = ["BC-40-12", "BC-100-12"].flatMap((net) => [`${net} train 64 32`, `${net} infer 64 32`]);
  assert.deepEqual(jobs(), [...cifar, "121 infer 1 224", "121 infer 8 224"]);
});

test("options · nets in any spelling, once each; mode, batch and size as asked", () => {
  assert.deepEqual(jobs("densenet121", "121", "--mode", "train"), ["121 train 8 224"]);
  assert.deepEqual(jobs("bc-100-12", "--mode", "infer", "--batch", "3", "--size", "64"), ["BC-100-12 infer 3 64"]);
});

for (const [args, sentence] of [
  [["--bach", "3"], /no option --bach; did you mean --batch\?/],
  [["--batch", "0"], /--batch: got "0", expected a whole number from 1 to 65536/],
  [["--threads", "1.5"], /--threads: got "1.5"/],
  [["--steps", ""], /--steps: got ""/],
  [["--mode", "fast"], /--mode: got "fast", expected one of train, infer, both/],
  [["--device", "gpu"], /--device: got "gpu", expected one of cpu, webgpu/],
  [["--device", "webgpu", "--threads", "2"], /--threads is for --device cpu/],
  [["--device", "webgpu", "--variant", "default"], /--variant is for --device cpu/],
  [["--variant", "slow"], /--variant: got "slow", expected one of default/],
  [["--recompute", "all"], /--recompute: got "all", expected one of none, bottleneck/],
  [["CB-100-12"], /did you mean BC-100-12\?/],
] as const) {
  test(`options · ${args.join(" ")} is a usage error`, () => {
    assert.throws(
      () => readBenchOptions(args),
      (error) => error instanceof UsageError && sentence.test(error.message),
    );
  });
}

// numpy.quantile's default (linear) method on the same numbers.
test("quantile · between two values in proportion, any order", () => {
  assert.equal(quantile([40, 10, 30, 20], 0.5), 25);
  assert.equal(quantile([7], 0.99), 7);
  assert.ok(Math.abs(quantile([1, 2, 3, 4, 5], 0.9) - 4.6) < 1e-12);
});
