// backends/webgpu: one dispatch as data, and the WGSL text around its body.
//
// All memory of a program lies in a few large buffers ("spaces"). A shader sees them through windows, arrays of f32
// that every operand indexes from its own offset; offsets and channel counts are numbers of the call, so layers of one
// geometry share one pipeline. Feature maps may lie in a space of f16, which only the accessors know: a body loads and
// stores f32.

/** Which large buffer an operand lies in. `maps`: feature maps in f16. `tables`: constants of the plan, u32. */
export type Space = "persistent" | "arena" | "maps" | "scratch" | "tables";

/** What a space is an array of. */
const typeOf = (space: Space): "f32" | "f16" | "u32" => (space === "maps" ? "f16" : space === "tables" ? "u32" : "f32");
export const wordBytes = (space: Space): 2 | 4 => (typeOf(space) === "f16" ? 2 : 4);

/** A run of a space's words. */
export interface Operand {
  readonly space: Space;
  readonly start: number;
  readonly words: number;
  /** Words between its first and last that are not its own: the other channels of a view of several images. */
  readonly skipped?: number;
}

export interface Dispatch {
  /** Kernel and part, e.g. "conv 1×1". */
  readonly label: string;
  /**
   * The body reads with `load_name(i)` and writes with `store_name(i, value)`, or with `stored_name(i, value)`, which
   * returns what will be read there; i counts words from the operand's start.
   */
  readonly operands: Readonly<Record<string, Operand>>;
  /** u32 numbers of the call: `call.name` in the body. */
  readonly numbers: Readonly<Record<string, number>>;
  /** WGSL with `fn body(group: u32, lane: u32)`, run by `size` lanes of each of `groups` workgroups. */
  readonly code: string;
  readonly size: number;
  readonly groups: number;
  /**
   * Lanes of a subgroup, where the code uses subgroup matrices; body then takes as a third argument which of the
   * workgroup's subgroups it runs in.
   */
  readonly lanes?: number;
  /**
   * vec4f of workgroup memory that the body sees as `memory`, none by default. Dispatches that are run as one share it.
   */
  readonly memory?: number;
  /** The dispatches that it is made of, for a device that cannot show one shader the operands of both. */
  readonly apart?: readonly [Dispatch, Dispatch];
}

/** Workgroups along one dimension of a dispatch, WebGPU's guaranteed limit; more are folded into the second. */
export const gridWidth = 65535;

/** Bind group slots; windows come after them. */
export const slots = { call: 0, run: 1, tables: 2, windows: 3 } as const;

/** Run scalars as they lie in their uniform buffer. */
export const runWords = { learningRate: 0, seed: 1, step: 2, corrections: 3, count: 8 } as const;

/** Every dispatch has its numbers at a multiple of this: the largest alignment that WebGPU lets a device ask for. */
export const callBytes = 256;

/** Names of the call's words in order: operand offsets, then numbers. */
export function callWords({ operands, numbers }: Dispatch): string[] {
  const names = [...Object.keys(operands), ...Object.keys(numbers), "groups"];
  if (names.length * 4 > callBytes) throw new RangeError(`a dispatch has ${names.length} numbers, at most 64 fit`);
  return names;
}

/** What a body can do with an operand. */
const verbs = ["load", "store", "stored"] as const;

/** The accessors of an operand that the code uses. */
function accessors(name: string, space: Space, from: string, code: string) {
  const word = `${from}[call.${name} + i]`;
  const [value, narrow] = { f32: [word, "value"], f16: [`f32(${word})`, "f16(value)"], u32: [word, ""] }[typeOf(space)];
  const all = {
    load: `fn load_${name}(i: u32) -> ${typeOf(space) === "u32" ? "u32" : "f32"} { return ${value}; }`,
    store: `fn store_${name}(i: u32, value: f32) { ${word} = ${narrow}; }`,
    stored: `fn stored_${name}(i: u32, value: f32) -> f32 { ${
      typeOf(space) === "f16"
        ? `let half = nearestHalf(value); ${word} = f16(half); return half;`
        : `${word} = value; return value;`
    } }`,
  };
  return verbs.flatMap((verb) => (code.includes(`${verb}_${name}(`) ? [all[verb]] : []));
}

/** Bytes that a dispatch must move at least: each of its operands' words once for reading and once for writing. */
export function movedBytes({ operands, code }: Dispatch): number {
  return Object.entries(operands).reduce((sum, [name, { space, words, skipped = 0 }]) => {
    return sum + accessors(name, space, "", code).length * (words - skipped) * wordBytes(space);
  }, 0);
}

/**
 * A value of f16 as f32, which converting cannot change any more (but for subnormals, by 2⁻²⁵). By bits, because WGSL
 * leaves it open which way f16(value) rounds, and drivers take f32(f16(value)) for the value itself. NaN stays NaN.
 */
const nearestHalf = `fn nearestHalf(value: f32) -> f32 {
  let bits = bitcast<u32>(value);
  let rounded = select(bits + 0xfffu + ((bits >> 13u) & 1u), bits, (bits & 0x7f800000u) == 0x7f800000u);
  return bitcast<f32>(rounded & 0xffffe000u);
}
`;

/** The whole shader. `windowOf` says which window an operand is seen through. Equal texts share a pipeline. */
export function shaderText(dispatch: Dispatch, windowOf: (operand: string) => number): string {
  const { operands, code, size, lanes, memory = 0 } = dispatch;
  const windows = new Map<number, Space>();
  const texts = Object.entries(operands).flatMap(([name, { space }]) => {
    if (space !== "tables") windows.set(windowOf(name), space);
    const from = space === "tables" ? "tables" : `window${windowOf(name)}`;
    return accessors(name, space, from, code);
  });
  const enabled = [
    ...(lanes || [...windows.values()].includes("maps") ? ["f16"] : []),
    ...(lanes ? ["subgroups", "subgroup_size_control", "chromium_experimental_subgroup_matrix"] : []),
  ];
  return `${enabled.map((extension) => `enable ${extension};\n`).join("")}struct Call { ${callWords(dispatch)
    .map((name) => `${name}: u32`)
    .join(", ")} }
struct Run { learningRate: f32, seed: u32, step: u32, firstCorrection: f32, secondCorrection: f32 }
@group(0) @binding(${slots.call}) var<uniform> call: Call;
@group(0) @binding(${slots.run}) var<uniform> run: Run;
@group(0) @binding(${slots.tables}) var<storage, read> tables: array<u32>;
${[...windows]
  .sort(([a], [b]) => a - b)
  .map(
    ([i, space]) =>
      `@group(0) @binding(${slots.windows + i}) var<storage, read_write> window${i}: array<${typeOf(space)}>;\n`,
  )
  .join("")}
${texts.some((text) => text.includes("nearestHalf(")) ? nearestHalf : ""}${texts.join("\n")}
${memory > 0 ? `var<workgroup> memory: array<vec4f, ${memory}>;\n` : ""}${code}
@compute @workgroup_size(${size})${lanes ? ` @subgroup_size(${lanes})` : ""}
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) lane: u32${lanes ? ", @builtin(subgroup_id) subgroup: u32" : ""}) {
  let group = id.y * ${gridWidth}u + id.x;
  if (group < call.groups) { body(group, lane${lanes ? ", subgroup" : ""}); }
}
`;
}

/** WGSL f32 literal. */
export function f32(value: number): string {
  const text = String(Math.fround(value));
  return /[.e]/.test(text) ? `${text}f` : `${text}.0f`;
}

/**
 * A float as a number of a call: `bitcast<f32>(call.name)` in the body. Unlike a literal it may be anything, ∞ and NaN
 * too.
 */
export const f32Bits = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0;

/** Lanes of a workgroup whose threads work alone. */
export const loneLanes = 64;

/** A dispatch whose body is `fn each(i: u32)`, for every i below `count`. */
export function forEach(count: number, dispatch: Pick<Dispatch, "label" | "operands" | "numbers" | "code">): Dispatch {
  return {
    ...dispatch,
    numbers: { ...dispatch.numbers, count },
    code: `${dispatch.code}
fn body(group: u32, lane: u32) {
  let i = group * ${loneLanes}u + lane;
  if (i < call.count) { each(i); }
}`,
    size: loneLanes,
    groups: Math.ceil(count / loneLanes),
  };
}

/** The same dispatch with a suffix at every name that its code declares. */
function suffixed({ operands, numbers, code, ...rest }: Dispatch, suffix: string): Dispatch {
  const named = <T>(record: Readonly<Record<string, T>>): Record<string, T> =>
    Object.fromEntries(Object.entries(record).map(([name, value]) => [name + suffix, value]));
  const declared = [...code.matchAll(/\b(?:fn|struct|var<workgroup>) (\w+)/g)].map(([, name]) => name);
  const accessors = Object.keys(operands).flatMap((name) => verbs.map((verb) => `${verb}_${name}`));
  const own = new Set([...declared, ...accessors, ...Object.keys(numbers).map((name) => `call.${name}`)]);
  return {
    ...rest,
    operands: named(operands),
    numbers: named(numbers),
    code: code.replaceAll(/\b(?:call\.)?\w+\b/g, (word) => (own.has(word) ? word + suffix : word)),
  };
}

/** Two dispatches that need nothing of each other as one: its first workgroups are a's. */
export function beside(a: Dispatch, b: Dispatch): Dispatch {
  if (a.size !== b.size) throw new RangeError(`${a.label} has workgroups of ${a.size}, ${b.label} of ${b.size}`);
  const [first, second] = [suffixed(a, "_a"), suffixed(b, "_b")];
  return {
    label: `${a.label}, ${b.label}`,
    operands: { ...first.operands, ...second.operands },
    numbers: { ...first.numbers, ...second.numbers, groups_a: a.groups },
    code: `${first.code}
${second.code}
fn body(group: u32, lane: u32) {
  if (group < call.groups_a) { body_a(group, lane); } else { body_b(group - call.groups_a, lane); }
}`,
    size: a.size,
    groups: a.groups + b.groups,
    memory: Math.max(a.memory ?? 0, b.memory ?? 0),
    apart: [a, b],
  };
}

/**
 * WGSL `total(value, lane)`: the sum of every lane's value, the same in each. Lanes are added in one fixed order, in
 * four chains so that rounding has less of a way, and so the sum does not depend on the device's scheduling.
 */
export function totalOf(type: "f32" | "vec2f", size: number): string {
  return `var<workgroup> lanes: array<${type}, ${size}>;
fn total(value: ${type}, lane: u32) -> ${type} {
  lanes[lane] = value;
  workgroupBarrier();
  var sums = array(lanes[0], lanes[1], lanes[2], lanes[3]);
  for (var i = 4u; i < ${size}u; i += 4u) {
    sums[0] += lanes[i];
    sums[1] += lanes[i + 1u];
    sums[2] += lanes[i + 2u];
    sums[3] += lanes[i + 3u];
  }
  workgroupBarrier();
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}`;
}
