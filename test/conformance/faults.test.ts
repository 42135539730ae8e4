// The suite can fail. The checker that passes every kernel turns red for each planted fault.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createWasmBackend, type WasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { KernelName } from "../../src/plan/plan.ts";
import { type AnyCase, type Contents, titleOf } from "./case.ts";
import { allCases } from "./cases.ts";
import { type Fault, plantedFaults } from "./faults.ts";
import { type CaseProgram, compileCases, type Expectation, expectationOf, faultsIn } from "./runCase.ts";

const copied = (contents: Contents): Map<string, Float32Array | Int32Array> =>
  new Map([...contents].map(([name, data]) => [name, data.slice()]));

interface Planted {
  readonly given: AnyCase;
  /** The same case compiled for wrong arguments. */
  readonly broken: AnyCase;
  readonly fault: Fault<KernelName>;
}

function plant(kernel: string, fault: Fault<KernelName>): Planted {
  const given = allCases.find((candidate) => candidate.kernel === kernel && candidate.name.includes(fault.inCase));
  if (!given) throw new RangeError(`no case of ${kernel} is called ${fault.inCase}`);
  // The fault belongs to the kernel it is listed under; TypeScript cannot follow that through the table.
  const args = fault.args ? fault.args(given.args) : given.args;
  return { given, broken: { ...given, name: `${given.name} · ${fault.name}`, args } as AnyCase, fault };
}

const planted = Object.entries(plantedFaults).flatMap(([kernel, faults]) =>
  faults.map((fault) => plant(kernel, fault as Fault<KernelName>)),
);

/** One case of each kernel, with a view inside a wider buffer where the kernel has views. */
const representatives = Object.keys(plantedFaults).map((kernel) => {
  const cases = allCases.filter((given) => given.kernel === kernel);
  return cases.find((given) => given.name.includes("offset")) ?? cases[0];
});

/** Mistakes that any kernel can make, by what they leave. Each returns the buffer it changed. */
const generalFaults: Readonly<Record<string, (after: Contents, expectation: Expectation) => void>> = {
  "one float beside an output is written": (after, { outputs }) => {
    for (const [buffer, { errors }] of outputs) {
      const data = after.get(buffer);
      const beside = errors.findIndex((error) => Number.isNaN(error));
      if (data && beside >= 0) {
        data[beside] = 0;
        return;
      }
    }
    // An output that fills its buffer: the next float is the first of the guard behind it.
    (after.get("guard 1") ?? after.get("guard 0"))?.fill(0, 0, 1);
  },
  "one float of an output is not written": (after, { before, outputs }) => {
    const [[buffer, { values, errors }]] = outputs;
    const [data, old] = [after.get(buffer), before.get(buffer)];
    if (!data || !old) throw new RangeError(`${buffer} is not there`);
    const changed = errors.findLastIndex(
      (error, i) => !Number.isNaN(error) && !(Math.abs(old[i] - values[i]) <= error),
    );
    data[changed] = old[changed];
  },
  "one float is off by three bounds": (after, { outputs }) => {
    const [[buffer, { values, errors }]] = outputs;
    const judged = errors.findLastIndex((error) => error > 0);
    const data = after.get(buffer);
    if (data) data[judged] = values[judged] + 3 * errors[judged];
  },
  "an input is changed": (after, { before, outputs }) => {
    const input = [...before.keys()].find((buffer) => !outputs.has(buffer) && !buffer.startsWith("guard"));
    const data = after.get(input ?? "guard 0");
    if (data) data[0] = data[0] === 0 ? 1 : 0;
  },
};

describe("planted faults", () => {
  let backend: WasmBackend;
  let program: CaseProgram;
  before(async () => {
    backend = await createWasmBackend({ threads: 2 });
    const sound = new Set([...planted.map(({ given }) => given), ...representatives]);
    program = await compileCases(backend, [...sound, ...planted.map(({ broken }) => broken)]);
  });
  after(async () => {
    await program.dispose();
    await backend.dispose();
  });

  for (const { given, broken, fault } of planted) {
    test(`${given.kernel} · ${fault.name}`, async () => {
      const expectation = await expectationOf(given, "winograd");
      assert.deepEqual(faultsIn(expectation, await program.run(given, expectation.before)), []);
      const reads = copied(expectation.before);
      fault.reads?.(reads);
      const left = copied(await program.run(broken, reads));
      // What was hidden from the kernel comes back, so that only its outputs are judged.
      for (const [buffer, data] of expectation.before) {
        if (fault.reads && !expectation.outputs.has(buffer)) left.set(buffer, data);
      }
      fault.leaves?.(left, expectation.before);
      assert.notDeepEqual(faultsIn(expectation, left), []);
    });
  }

  for (const given of representatives) {
    for (const [name, leave] of Object.entries(generalFaults)) {
      test(`${titleOf(given)} · ${name}`, async () => {
        const expectation = await expectationOf(given, "winograd");
        const left = copied(await program.run(given, expectation.before));
        assert.deepEqual(faultsIn(expectation, left), []);
        leave(left, expectation);
        assert.equal(faultsIn(expectation, left).length, 1);
      });
    }
  }
});

describe("an engine without Winograd's kernels is not allowed their rounding", () => {
  const kernels = ["conv", "convGradInput", "convGradWeight"] as const;
  const cases = allCases.filter(
    ({ kernel, name }) => kernels.some((one) => one === kernel) && name.includes("Winograd"),
  );
  /** An element of an output that Winograd's bound lets stray at least half as far again, if the two bounds differ. */
  const between = async (given: AnyCase) => {
    const [direct, winograd] = [await expectationOf(given, "direct"), await expectationOf(given, "winograd")];
    for (const [buffer, { values, errors }] of direct.outputs) {
      const wider = winograd.outputs.get(buffer)?.errors ?? errors;
      const index = errors.findIndex((error, i) => wider[i] > 1.5 * error);
      if (index >= 0) {
        const value = values[index] + (errors[index] + wider[index]) / 2;
        return { direct, winograd, buffer, index, value };
      }
    }
    return undefined;
  };

  for (const kernel of kernels) {
    test(`${kernel} · an error between the two bounds is a fault of a direct engine only`, async () => {
      let planted = 0;
      for (const given of cases.filter((one) => one.kernel === kernel)) {
        const found = await between(given);
        if (!found) continue;
        const { direct, winograd, buffer, index, value } = found;
        const left = copied(direct.before);
        for (const [name, { values, errors }] of direct.outputs) {
          errors.forEach((error, i) => {
            if (!Number.isNaN(error)) left.get(name)?.fill(values[i], i, i + 1);
          });
        }
        left.get(buffer)?.fill(value, index, index + 1);
        assert.deepEqual(faultsIn(winograd, left), [], titleOf(given));
        assert.equal(faultsIn(direct, left).length, 1, titleOf(given));
        planted++;
      }
      assert.ok(planted >= 4, `planted in ${planted} cases`);
    });
  }
});
