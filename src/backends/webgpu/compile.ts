// backends/webgpu: plans → shaders, a memory map, and for each plan its dispatches in order. Pure: no device is needed.
//
// Persistent buffers of all roles lie in one space, the arena (the largest of the plans') in a second, working memory
// in a third. The plan's f16 buffers lie in a space of their own. A space that one binding can show whole is seen
// whole; a larger one through windows around what each dispatch touches.
import { ResourceError } from "../../errors.ts";
import { type BufferName, dtypeBytes, type Plan, type PlanBuffer } from "../../plan/plan.ts";
import { channelLayout } from "../../plan/reading.ts";
import { byRole, type Persistent, type PersistentRole, persistentOf, persistentRoles } from "../persistent.ts";
import {
  callBytes,
  callWords,
  type Dispatch,
  gridWidth,
  movedBytes,
  type Operand,
  type Space,
  shaderText,
  wordBytes,
} from "./dispatch.ts";
import type { Addresses, Target } from "./kernel.ts";
import { emitNext } from "./kernels.ts";

/** Spaces that shaders write to. */
export const memorySpaces = ["arena", "maps", "persistent", "scratch"] as const satisfies readonly Space[];
export type MemorySpace = (typeof memorySpaces)[number];

/** What one binding shows. */
export interface Window {
  readonly space: MemorySpace;
  readonly start: number;
  readonly words: number;
}

export interface Step {
  readonly label: string;
  /** Index into the program's shaders. */
  readonly shader: number;
  readonly windows: readonly Window[];
  /** Byte offset of its numbers among the program's calls. */
  readonly callOffset: number;
  readonly grid: readonly [width: number, height: number];
  /** Index of the plan's kernel call that it belongs to, of several that run together the first. */
  readonly call: number;
  /** Bytes that it must move at least. */
  readonly movedBytes: number;
}

export interface Shader {
  readonly label: string;
  readonly text: string;
  /** How many windows it binds. */
  readonly windows: number;
}

export interface Program {
  readonly shaders: readonly Shader[];
  readonly steps: ReadonlyMap<string, readonly Step[]>;
  readonly calls: Uint32Array<ArrayBuffer>;
  readonly tables: Uint32Array<ArrayBuffer>;
  readonly words: Readonly<Record<MemorySpace, number>>;
  /** `plan` is needed for arena buffers. */
  address(buffer: PlanBuffer, plan?: string): Address;
}

type Address = Operand & { readonly space: MemorySpace };

/**
 * Words that a window's start and a space's length are multiples of: in f16, the largest offset alignment that WebGPU
 * lets a device ask for.
 */
const grain = 128;
const align = (words: number): number => Math.ceil(words / grain) * grain;

interface Layout {
  readonly base: Readonly<Record<PersistentRole, number>>;
  readonly roleBytes: Persistent["roleBytes"];
  /** By plan: where its arena buffers lie. */
  readonly arenas: ReadonlyMap<string, Arena>;
  readonly words: Readonly<Record<Exclude<MemorySpace, "scratch">, number>>;
}

interface Arena {
  readonly starts: ReadonlyMap<BufferName, Pick<Address, "space" | "start">>;
  readonly words: Readonly<Record<"arena" | "maps", number>>;
}

/** As the plan says. */
function layOutArena({ buffers, arenaBytes, f16ArenaBytes }: Plan): Arena {
  const own = [...buffers.values()].filter(({ role }) => role === "arena");
  const starts = own.map(({ name, offset, dtype }) => {
    const space = dtype === "f16" ? "maps" : "arena";
    return [name, { space, start: offset / wordBytes(space) }] as const;
  });
  const words = {
    arena: (arenaBytes - f16ArenaBytes) / wordBytes("arena"),
    maps: f16ArenaBytes / wordBytes("maps"),
  };
  return { starts: new Map(starts), words };
}

function layOutSpaces(plans: Readonly<Record<string, Plan>>): Layout {
  const { roleBytes } = persistentOf(plans);
  const base = byRole(() => 0);
  let persistent = 0;
  for (const role of persistentRoles) {
    base[role] = persistent;
    persistent += align(roleBytes[role] / 4);
  }
  const arenas = new Map(Object.entries(plans).map(([name, plan]) => [name, layOutArena(plan)]));
  const largest = (space: "arena" | "maps"): number =>
    align(Math.max(0, ...[...arenas.values()].map(({ words }) => words[space])));
  return { base, roleBytes, arenas, words: { persistent, arena: largest("arena"), maps: largest("maps") } };
}

/**
 * Runs of a space that hold the operands, as few as possible. None is longer than a binding, but for operands that
 * overlap or nearly so.
 */
function cover(operands: readonly Operand[], space: Space, bindingBytes: number) {
  const limit = bindingBytes / wordBytes(space);
  const windows: { start: number; end: number }[] = [];
  for (const { start, words } of operands.toSorted((a, b) => a.start - b.start)) {
    const from = Math.floor(start / grain) * grain;
    const end = align(start + words);
    const last = windows.at(-1);
    const overlaps = last !== undefined && from < last.end;
    const longer = last && Math.max(last.end, end);
    if (last && longer !== undefined && (overlaps || longer - last.start <= limit)) last.end = longer;
    else windows.push({ start: from, end });
  }
  return windows.map(({ start, end }) => ({ start, words: end - start }));
}

/** A dispatch, its windows, and which of them shows each operand. */
interface Shown {
  readonly dispatch: Dispatch;
  readonly windows: readonly Window[];
  readonly of: ReadonlyMap<string, number>;
}

/**
 * A dispatch through windows, or each that it is made of where the device cannot show one shader all that both touch.
 */
function show(dispatch: Dispatch, words: Program["words"], target: Target): readonly Shown[] {
  const { windows, of } = windowsOf(dispatch, words, target.bindingBytes);
  const refusal = refusalOf(dispatch, windows, target);
  if (!refusal) return [{ dispatch, windows, of }];
  if (!dispatch.apart) throw refusal;
  return dispatch.apart.flatMap((one) => show(one, words, target));
}

/** Why the device cannot bind these windows at once. */
function refusalOf({ label }: Dispatch, windows: readonly Window[], target: Target): ResourceError | undefined {
  const mebibytes = (size: number): string => (size / 2 ** 20).toFixed(0);
  const limit = target.bindingBytes;
  const bytes = Math.max(...windows.map((window) => window.words * wordBytes(window.space)));
  if (bytes > limit) {
    return new ResourceError(
      `${label} touches ${mebibytes(bytes)} MiB that belong together, but this GPU shows a shader at most ` +
        `${mebibytes(limit)} MiB at once: lower the batch size`,
      { bytes, limit },
    );
  }
  if (windows.length > target.windows) {
    return new ResourceError(
      `${label} touches memory in ${windows.length} pieces of at most ${mebibytes(limit)} MiB, but this GPU shows a ` +
        `shader at most ${target.windows} at once: lower the batch size`,
      { windows: windows.length, limit: target.windows },
    );
  }
  return undefined;
}

function windowsOf(
  { operands }: Dispatch,
  words: Program["words"],
  bindingBytes: number,
): Pick<Shown, "windows" | "of"> {
  const windows: Window[] = [];
  const of = new Map<string, number>();
  for (const space of memorySpaces) {
    const own = Object.entries(operands).filter(([, operand]) => operand.space === space);
    if (own.length === 0) continue;
    const whole = words[space] * wordBytes(space) <= bindingBytes;
    const covered = whole
      ? [{ start: 0, words: words[space] }]
      : cover(
          own.map(([, operand]) => operand),
          space,
          bindingBytes,
        );
    for (const [name, { start }] of own) {
      of.set(name, windows.length + covered.findIndex((window) => start < window.start + window.words));
    }
    windows.push(...covered.map((window) => ({ space, ...window })));
  }
  return { windows, of };
}

export function compileProgram(plans: Readonly<Record<string, Plan>>, target: Target): Program {
  const { base, roleBytes, arenas, words: fixed } = layOutSpaces(plans);
  const address: Program["address"] = ({ name, role, offset, bytes, dtype }, plan) => {
    const words = bytes / dtypeBytes[dtype];
    if (role !== "arena") return { space: "persistent", start: base[role] + offset / 4, words };
    const place = plan === undefined ? undefined : arenas.get(plan)?.starts.get(name);
    if (!place) throw new RangeError(`${name} lies in no arena of plan ${plan}`);
    return { ...place, words };
  };
  const tables: number[] = [0];
  let scratchWords = 0;
  const emitted: { readonly plan: string; readonly call: number; readonly dispatch: Dispatch }[] = [];
  for (const [plan, { buffers, calls }] of Object.entries(plans)) {
    const find = (name: string): PlanBuffer => {
      const buffer = buffers.get(name);
      if (buffer) return buffer;
      throw new RangeError(`a kernel call of plan ${plan} names buffer ${name}, which the plan does not have`);
    };
    let index = 0;
    while (index < calls.length) {
      let scratch = 0;
      const at: Addresses = {
        buffer: (name) => address(find(name), plan),
        role: (role) => ({ space: "persistent", start: base[role], words: roleBytes[role] / 4 }),
        batchStride({ buffer }) {
          const { channels, plane } = channelLayout(find(buffer));
          return channels * plane;
        },
        view({ buffer, offset, channels }) {
          const found = find(buffer);
          const { space, start } = address(found, plan);
          const { images, channels: all, plane } = channelLayout(found);
          const others = (images - 1) * plane;
          const words = others * all + channels * plane;
          return { space, start: start + offset * plane, words, skipped: others * (all - channels) };
        },
        scratch(words) {
          const start = scratch;
          scratch += align(words);
          return { space: "scratch", start, words };
        },
        table(words) {
          const start = tables.length;
          for (const word of words) tables.push(word);
          return { space: "tables", start, words: words.length };
        },
      };
      const emission = emitNext(calls.slice(index, index + 3), at, target);
      for (const dispatch of emission.dispatches) {
        if (dispatch.groups > 0) emitted.push({ plan, call: index, dispatch });
      }
      scratchWords = Math.max(scratchWords, scratch);
      index += emission.calls;
    }
  }
  const words = { ...fixed, scratch: align(scratchWords) };
  const shaders = new Map<string, Shader & { readonly index: number }>();
  const steps = new Map<string, Step[]>(Object.keys(plans).map((name) => [name, []]));
  const shown = emitted.flatMap(({ plan, call, dispatch }) =>
    show(dispatch, words, target).map((one) => ({ plan, call, ...one })),
  );
  const calls = new Uint32Array((shown.length * callBytes) / 4);
  shown.forEach(({ plan, call, dispatch, windows, of }, index) => {
    const text = shaderText(dispatch, (operand) => of.get(operand) ?? 0);
    const shader = shaders.get(text) ?? { label: dispatch.label, text, windows: windows.length, index: shaders.size };
    shaders.set(text, shader);
    const callOffset = index * callBytes;
    callWords(dispatch).forEach((name, word) => {
      const operand = dispatch.operands[name];
      const start = operand && operand.space !== "tables" ? windows[of.get(name) ?? 0]?.start : 0;
      calls[callOffset / 4 + word] = operand
        ? operand.start - (start ?? 0)
        : (dispatch.numbers[name] ?? dispatch.groups);
    });
    const width = Math.min(dispatch.groups, gridWidth);
    const grid = [width, Math.ceil(dispatch.groups / width)] as const;
    const moved = movedBytes(dispatch);
    steps
      .get(plan)
      ?.push({ label: dispatch.label, shader: shader.index, windows, callOffset, grid, call, movedBytes: moved });
  });
  return { shaders: [...shaders.values()], steps, calls, tables: Uint32Array.from(tables), words, address };
}
