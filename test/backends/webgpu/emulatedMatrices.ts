// Test support: subgroup matrices of f16, emulated on an adapter that has none. Workgroups are cut into subgroups of
// consecutive lanes; a lane holds every 32nd element of a result, and a matrix of an operand is where it begins in its
// slab. What the emulated shader multiplies and sums is what the real one does: only the four functions that use the
// matrices, and the words that ask for them, are other text.
import { altered } from "./gpu.ts";

export interface EmulatedMatrices {
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

const lanes = 32;

function must(text: string, pattern: RegExp): RegExpMatchArray {
  const found = text.match(pattern);
  if (!found) throw new Error(`a shader with subgroup matrices has no ${pattern}`);
  return found;
}

/** The same shader without subgroup matrices. `fault` breaks the emulation. */
export function emulated(text: string, { M, N, K }: EmulatedMatrices, fault?: "turned"): string {
  if (!text.includes("subgroup_matrix")) return text;
  const strideOf = (name: string): number => Number(must(text, new RegExp(`fn ${name}\\([^}]*, (\\d+)u\\);? }`))[1]);
  const [ofA, ofB, ofProducts] = [strideOf("left"), strideOf("right"), strideOf("keep")];
  const own = (M * N) / lanes;
  const place = `let e = lane % ${lanes}u + ${lanes}u * i;
    let at = vec2u(e / ${N}u, e % ${N}u);`;
  const at = fault === "turned" ? "at.yx" : "at.xy";
  const texts: readonly (readonly [RegExp, string])[] = [
    [/enable subgroups;\nenable subgroup_size_control;\nenable chromium_experimental_subgroup_matrix;\n/, ""],
    [/@subgroup_size\(32\)/, ""],
    [/, @builtin\(subgroup_id\) subgroup: u32/, ""],
    [/body\(group, lane, subgroup\)/, `emulated = lane; body(group, lane, lane / ${lanes}u)`],
    [/alias Left/, "var<private> emulated: u32;\nalias Left"],
    [new RegExp(`subgroup_matrix_left<f16, ${K}, ${M}>`), "u32"],
    [new RegExp(`subgroup_matrix_right<f16, ${N}, ${K}>`), "u32"],
    [new RegExp(`subgroup_matrix_result<f32, ${N}, ${M}>`), `array<f32, ${own}>`],
    [/fn left\([^}]*}/, "fn left(at: u32) -> Left { return at; }"],
    [/fn right\([^}]*}/, "fn right(at: u32) -> Right { return at; }"],
    [
      /fn multiplied\([^}]*}/,
      `fn multiplied(a: Left, b: Right, c: Result) -> Result {
  let lane = emulated;
  var sums = c;
  for (var i = 0u; i < min(${own}u, call.groups * ${own}u); i++) {
    ${place}
    for (var k = 0u; k < min(${K}u, call.groups * ${K}u); k++) {
      sums[i] = fma(f32(slabOfA[a + at.x * ${ofA}u + k]), f32(slabOfB[b + k * ${ofB}u + at.y]), sums[i]);
    }
  }
  return sums;
}`,
    ],
    [
      /fn keep\([^}]*}/,
      `fn keep(to: u32, c: Result) {
  let lane = emulated;
  for (var i = 0u; i < min(${own}u, call.groups * ${own}u); i++) {
    ${place}
    let turned = ${at};
    products[to + turned.x * ${ofProducts}u + turned.y] = c[i];
  }
}`,
    ],
  ];
  return texts.reduce((all, [pattern, replacement]) => {
    must(all, pattern);
    return all.replace(pattern, replacement);
  }, text);
}

const emulatedFeatures = ["subgroups", "subgroup-size-control", "chromium-experimental-subgroup-matrix"];

/** A GPU whose adapter offers these matrices and whose devices emulate them. */
export function withEmulatedMatrices(gpu: GPU, matrices: EmulatedMatrices, fault?: "turned"): GPU {
  const offer = { ...matrices, componentType: "f16", resultComponentType: "f32" };
  return altered(gpu, {
    async requestAdapter(options?: GPURequestAdapterOptions) {
      const adapter = await gpu.requestAdapter(options);
      if (!adapter) return adapter;
      return altered(adapter, {
        features: new Set([...adapter.features, ...emulatedFeatures]),
        info: altered(adapter.info, { subgroupMinSize: 4, subgroupMaxSize: 64, subgroupMatrixConfigs: [offer] }),
        async requestDevice(descriptor: GPUDeviceDescriptor = {}) {
          const requiredFeatures = [...(descriptor.requiredFeatures ?? [])].filter(
            (feature) => !emulatedFeatures.includes(feature),
          );
          const device = await adapter.requestDevice({ ...descriptor, requiredFeatures });
          return altered(device, {
            createShaderModule: ({ code, ...rest }: GPUShaderModuleDescriptor) =>
              device.createShaderModule({ ...rest, code: emulated(code, matrices, fault) }),
          });
        },
      });
    },
  });
}
