// The suite can fail on a GPU. Mistakes planted in the text of shaders turn conformance cases red that are green
// without them.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createWebgpuBackend, type WebgpuBackend } from "../../../src/backends/webgpu/webgpu.ts";
import type { KernelName } from "../../../src/plan/plan.ts";
import { titleOf } from "../../conformance/case.ts";
import { allCases } from "../../conformance/cases.ts";
import { compileCases, expectationOf, faultsIn } from "../../conformance/runCase.ts";
import { gpuOrReason, withShaders } from "./gpu.ts";

interface ShaderFault {
  readonly name: string;
  readonly kernel: KernelName;
  /** The case it is planted in: the first of the kernel whose name contains this. */
  readonly inCase: string;
  readonly tiled: boolean;
  readonly from: RegExp;
  readonly to: string;
}

const shaderFaults: readonly ShaderFault[] = [
  {
    name: "a tile's columns go one past the last",
    kernel: "conv",
    inCase: "c=20→12 7×5",
    tiled: false,
    from: /if \(column < call\.columns\)/g,
    to: "if (column <= call.columns)",
  },
  {
    name: "the last slab of the depth goes past its end",
    kernel: "conv",
    inCase: "c=20→12 7×5",
    tiled: true,
    from: /if \(first \+ k < end\)/g,
    to: "if (true)",
  },
  {
    name: "padding on the right is the next row",
    kernel: "conv",
    inCase: "c=7→2 7×5",
    tiled: false,
    from: / \|\| x >= \d+\)/g,
    to: ")",
  },
  {
    name: "the kernel is not turned",
    kernel: "convGradInput",
    inCase: "c=7→2 7×5",
    tiled: false,
    from: /column\.(top|left) - at\.([yx]);/g,
    to: "column.$1 + at.$2 - 2;",
  },
  {
    name: "dx is replaced instead of added to",
    kernel: "convGradInput",
    inCase: "c=20→12 7×5 n=3 k=1 dx(offset 8) dy(offset 5) composite accumulate",
    tiled: false,
    from: /fma\(channel\.scale, g, load_dx\(dx\)\)/g,
    to: "channel.scale * g",
  },
  {
    name: "a last part of few values counts as a whole one",
    kernel: "channelStatistics",
    inCase: "a part of five images and one of two",
    tiled: false,
    from: /min\(call\.partCount, [^)]+\)/g,
    to: "call.partCount",
  },
  {
    name: "parts of other means are merged without their distance",
    kernel: "channelStatistics",
    inCase: "|mean|/σ=30, 65536",
    tiled: false,
    from: /fma\(away \* away, values\(i\), /g,
    to: "fma(0.0, values(i), ",
  },
  {
    name: "one part of a deep sum is left out",
    kernel: "convGradWeight",
    inCase: "c=7→2 7×5",
    tiled: false,
    from: /split < call\.splits/g,
    to: "split + 1u < call.splits",
  },
  {
    name: "a pixel's phases along both axes are confused",
    kernel: "convGradInput",
    inCase: "c=16→32 15×9",
    tiled: false,
    from: /let y = i32\(row \/ 2u % 2u\)/g,
    to: "let y = i32(row % 2u)",
  },
  {
    name: "the gate of the first image is that of all",
    kernel: "residualAdd",
    inCase: "c=8 4×3 n=9",
    tiled: false,
    from: /mix32\(image \^ key\)/g,
    to: "mix32(0u ^ key)",
  },
  {
    name: "the gradient of appended channels goes into the shortcut",
    kernel: "residualAddGrad",
    inCase: "c=8 4×3 n=9",
    tiled: false,
    from: /c < call\.shortcutChannels/g,
    to: "true",
  },
  {
    name: "pixels that the shortcut passes over get a gradient",
    kernel: "residualAddGrad",
    inCase: "c=11 7×5 n=2",
    tiled: false,
    from: /select\(0\.0, value, row == top && column == left\)/g,
    to: "value",
  },
];

const gpu = await gpuOrReason();

describe("faults planted in shaders", { skip: typeof gpu === "string" ? gpu : false }, () => {
  const backends = new Map<boolean, WebgpuBackend>();
  before(async () => {
    for (const tiled of [false, true])
      backends.set(tiled, await createWebgpuBackend({ tiled, ...(typeof gpu === "string" ? {} : { gpu }) }));
  });
  after(async () => {
    for (const backend of backends.values()) await backend.dispose();
  });

  for (const { name, kernel, inCase, tiled, from, to } of shaderFaults) {
    test(`${kernel} · ${name}`, async () => {
      const given = allCases.find((one) => one.kernel === kernel && one.name.includes(inCase));
      const sound = backends.get(tiled);
      assert.ok(given && sound);
      const expectation = await expectationOf(given, "direct");
      const wrongOn = async (backend: WebgpuBackend): Promise<readonly string[]> => {
        const program = await compileCases(backend, [given]);
        const found = faultsIn(expectation, await program.run(given, expectation.before));
        await program.dispose();
        return found;
      };
      assert.deepEqual(await wrongOn(sound), []);
      const faulty = withShaders(sound, (text) => text.replaceAll(from, to));
      assert.notDeepEqual(await wrongOn(faulty), [], titleOf(given));
    });
  }
});
