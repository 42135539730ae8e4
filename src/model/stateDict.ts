// model: a network's numbers under torchvision's state-dict paths, between memory and safetensors. Portable.
import { InputError } from "../errors.ts";
import { buildGraph, type NetworkSpec, smallestInput } from "../networks/registry.ts";
import type { Tensor } from "./tensor.ts";

export interface StateTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Parameters and running statistics by path (`features.conv0.weight`, `features.norm5.running_mean`), in the network's order. */
export type StateDict = ReadonlyMap<string, StateTensor>;

/** A network with its numbers. */
export interface Model {
  readonly spec: NetworkSpec;
  readonly state: StateDict;
  /** Training batches that the running statistics have seen: every batch norm's num_batches_tracked. */
  readonly batchesTracked: number;
}

/** Running statistics are state, not parameters: they have no gradient and no momentum. */
export function isStatistic(path: string): boolean {
  return path.endsWith(".running_mean") || path.endsWith(".running_var");
}

/** Shape of every parameter and running statistic of the network. */
export function stateShapes(spec: NetworkSpec): ReadonlyMap<string, readonly number[]> {
  const side = smallestInput(spec);
  const { tensors } = buildGraph(spec, { batch: 1, height: side, width: side, mode: "inference" });
  return new Map(
    tensors.filter(({ kind }) => kind === "parameter" || kind === "state").map(({ name, shape }) => [name, shape]),
  );
}

/** As torchvision's model.state_dict() has it: `num_batches_tracked` (I64, no dimensions) behind each running variance. */
export function stateDictTensors({ state, batchesTracked }: Model): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  for (const [path, { shape, data }] of state) {
    tensors.set(path, { dtype: "F32", shape, data });
    if (path.endsWith(".running_var")) {
      const counter = path.replace(/running_var$/, "num_batches_tracked");
      tensors.set(counter, { dtype: "I64", shape: [], data: BigInt64Array.of(BigInt(batchesTracked)) });
    }
  }
  return tensors;
}

/** The published files of 2017 say `denselayer1.norm.1.weight` for `denselayer1.norm1.weight` (torchvision's own pattern). */
const OLD_KEY = /^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$/;

const LISTED = 3;

/**
 * The network `spec` with the numbers of `tensors`; old key names are understood, and num_batches_tracked may be absent, as in old files.
 * @throws InputError naming the tensors that are missing, unexpected or of another shape; `source` names the file.
 */
export function loadStateDict(spec: NetworkSpec, tensors: ReadonlyMap<string, Tensor>, source: string): Model {
  const found = new Map<string, Tensor>();
  for (const [key, tensor] of tensors) {
    const path = key.replace(OLD_KEY, "$1$2");
    if (found.has(path))
      throw new InputError(`${source}: has ${path} twice, under its old name and its new one`, { path });
    found.set(path, tensor);
  }
  const shapes = stateShapes(spec);
  const missing = [...shapes.keys()].filter((path) => !found.has(path));
  if (missing.length > 0) {
    throw new InputError(`${source}: lacks ${listed(missing)} of the ${shapes.size} tensors that the network needs`, {
      file: source,
      missing,
    });
  }
  const counters = [...shapes.keys()]
    .filter((path) => path.endsWith(".running_var"))
    .map((path) => path.replace(/running_var$/, "num_batches_tracked"));
  const known = new Set([...shapes.keys(), ...counters]);
  const unexpected = [...found.keys()].filter((path) => !known.has(path));
  if (unexpected.length > 0) {
    throw new InputError(`${source}: has ${listed(unexpected)}, which the network does not have`, {
      file: source,
      unexpected,
    });
  }
  const state = new Map<string, StateTensor>();
  for (const [path, shape] of shapes) state.set(path, checked(path, shape, found.get(path) as Tensor, source));
  return {
    spec,
    state,
    batchesTracked: Math.max(0, ...counters.map((path) => countOf(found.get(path), path, source))),
  };
}

function checked(path: string, shape: readonly number[], tensor: Tensor, source: string): StateTensor {
  if (tensor.shape.join() !== shape.join()) {
    throw new InputError(
      `${source}: ${path} has shape [${tensor.shape.join(", ")}], the network expects [${shape.join(", ")}]`,
      {
        file: source,
        path,
        shape: tensor.shape,
        expected: shape,
      },
    );
  }
  if (tensor.dtype !== "F32" && tensor.dtype !== "F64") {
    throw new InputError(`${source}: ${path} has dtype ${tensor.dtype}, expected F32 or F64`, { file: source, path });
  }
  const data = tensor.dtype === "F32" ? tensor.data : Float32Array.from(tensor.data);
  const odd = data.findIndex((value) => !Number.isFinite(value));
  if (odd !== -1) {
    throw new InputError(`${source}: ${path} holds ${data[odd]} at position ${odd}, expected finite numbers`, {
      file: source,
      path,
    });
  }
  return { shape, data };
}

function countOf(tensor: Tensor | undefined, path: string, source: string): number {
  if (tensor === undefined) return 0;
  if (tensor.data.length !== 1 || (tensor.dtype !== "I64" && tensor.dtype !== "I32")) {
    throw new InputError(
      `${source}: ${path} is a ${tensor.dtype} of shape [${tensor.shape.join(", ")}], expected one I64`,
      {
        file: source,
        path,
      },
    );
  }
  return Number(tensor.data[0]);
}

function listed(paths: readonly string[]): string {
  const more = paths.length - LISTED;
  return paths.slice(0, LISTED).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
