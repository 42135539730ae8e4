// backends/wasm: plans → one WebAssembly module, one memory map and, for each plan, the list of functions to call.
//
// Memory: scalars | parameters | gradients | gradient sums | moments | states | arena (the largest of the plans') |
// kept (weights as the kernels of inference want them) | shared working memory | one scratch for each thread. Addresses
// are 32-bit, so a program ends at 4 GiB.
import { ResourceError } from "../../errors.ts";
import type { Plan, PlanBuffer } from "../../plan/plan.ts";
import { channelLayout } from "../../plan/reading.ts";
import { byRole, persistentOf, persistentRoles } from "../persistent.ts";
import { ModuleBuilder } from "./assembler.ts";
import { scalarOffsets } from "./elementwise.ts";
import { type Addresses, type Phase, partialBytes } from "./kernel.ts";
import { emitKernel } from "./kernels.ts";
import type { Target } from "./target.ts";

export const pageBytes = 65536;
const pageLimit = 65536;
/** Whole vectors may be read (never used) past the end of a buffer. */
const readSlack = 256;

export interface Program {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly pages: number;
  readonly scalars: number;
  /** Byte address of a buffer; the plan decides for arena buffers. */
  address(buffer: PlanBuffer): number;
  /**
   * For each plan: function index, number of operands, operands, … as a worker reads them; scratch, shared, thread and
   * threads are added there.
   */
  readonly code: ReadonlyMap<string, Int32Array>;
  /** As `code`: what a plan runs before its first call and after parameters have changed. */
  readonly preparation: ReadonlyMap<string, Int32Array>;
  /** Buffers, and plans, that make the others prepare anew when they are written or run. */
  readonly keptSources: ReadonlySet<string>;
  readonly changesParameters: ReadonlySet<string>;
  /** For each plan: the number of phases of each kernel call, for timing. */
  readonly phasesOfCalls: ReadonlyMap<string, readonly number[]>;
  readonly shared: number;
  readonly scratch: number;
  readonly scratchBytes: number;
  readonly functionCount: number;
}

const align = (bytes: number): number => Math.ceil(bytes / 128) * 128;

function encodePhase({ function: signature, operands }: Phase): number[] {
  return [signature.index, operands.length, ...operands];
}

export function compileProgram(
  plans: Readonly<Record<string, Plan>>,
  target: Target,
  threads: number,
  shared: boolean,
  keepsWeights: boolean,
): Program {
  const { roleBytes } = persistentOf(plans);
  let top = align(1024 + scalarOffsets.bytes);
  const scalars = 1024;
  const bases = { ...byRole(() => 0), arena: 0 };
  for (const role of persistentRoles) {
    bases[role] = top;
    top += align(roleBytes[role] + readSlack);
  }
  bases.arena = top;
  top += align(Math.max(0, ...Object.values(plans).map((plan) => plan.arenaBytes)) + readSlack);

  const address = (buffer: PlanBuffer): number => bases[buffer.role] + buffer.offset;
  const module = new ModuleBuilder();
  const code = new Map<string, Int32Array>();
  const preparation = new Map<string, Int32Array>();
  const changesParameters = new Set<string>();
  const keptSources = new Set<string>();
  const phasesOfCalls = new Map<string, number[]>();
  let scratchBytes = 0;
  let sharedBytes = 0;
  for (const [name, plan] of Object.entries(plans)) {
    const find = (bufferName: string): PlanBuffer => {
      const buffer = plan.buffers.get(bufferName);
      if (!buffer)
        throw new RangeError(`a kernel call of plan ${name} names buffer ${bufferName}, which the plan does not have`);
      return buffer;
    };
    const changes = plan.calls.some(({ kernel }) => kernel === "sgd" || kernel === "adamw");
    if (changes) changesParameters.add(name);
    const keep = (bytes: number, source: string): number => {
      keptSources.add(source);
      const address = top;
      top += align(bytes + readSlack);
      return address;
    };
    const at: Addresses = {
      ...(changes || !keepsWeights ? {} : { keep }),
      threads,
      scalars,
      buffer: (bufferName) => address(find(bufferName)),
      view: ({ buffer, offset }) => {
        const found = find(buffer);
        return address(found) + offset * channelLayout(found).plane * 4;
      },
      batchStride: ({ buffer }) => {
        const { channels, plane } = channelLayout(find(buffer));
        return channels * plane * 4;
      },
      role: (role) => ({ address: bases[role], bytes: roleBytes[role] }),
    };
    const phases: number[][] = [];
    const prepare: number[][] = [];
    const counts: number[] = [];
    for (const call of plan.calls) {
      const kernel = emitKernel(module, target, call, at);
      phases.push(...kernel.phases.map(encodePhase));
      prepare.push(...(kernel.prepare ?? []).map(encodePhase));
      counts.push(kernel.phases.length);
      scratchBytes = Math.max(scratchBytes, kernel.scratchBytes);
      sharedBytes = Math.max(sharedBytes, kernel.sharedBytes);
    }
    code.set(name, Int32Array.from(phases.flat()));
    if (prepare.length > 0) preparation.set(name, Int32Array.from(prepare.flat()));
    phasesOfCalls.set(name, counts);
  }
  const sharedAt = top;
  top += align(sharedBytes + readSlack);
  const scratchAt = top + partialBytes;
  const scratchEach = align(scratchBytes + partialBytes + 4096);
  top += scratchEach * threads;
  const pages = Math.ceil((top + pageBytes) / pageBytes);
  if (pages > pageLimit) {
    throw new ResourceError(
      `these plans need ${(top / 2 ** 30).toFixed(1)} GiB, but WebAssembly memory ends at 4 GiB: lower the batch ` +
        `size or set recompute to "bottleneck"`,
      { bytes: top },
    );
  }
  return {
    bytes: module.bytes({ pages, maximumPages: pages, shared }),
    pages,
    scalars,
    address,
    code,
    preparation,
    changesParameters,
    keptSources,
    phasesOfCalls,
    shared: sharedAt,
    scratch: scratchAt,
    scratchBytes: scratchEach,
    functionCount: module.functionCount,
  };
}
