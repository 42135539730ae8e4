// model: whether a model is complete and its values usable, asked wherever one comes from outside or is put to use.
import { InputError } from "../errors.ts";
import type { TensorRole } from "../graph/graph.ts";
import { nearestName } from "../nearestName.ts";
import { show, showSome } from "../show.ts";
import { type Model, type ModelTensor, networkTensors } from "./model.ts";

type Expected = ReturnType<typeof networkTensors>;

/**
 * Whether `model` has exactly the tensors of its network, in shape, role and number, all values finite and no running
 * variance negative.
 * @throws InputError that names `source` and the first tensors that are wrong
 */
export function requireUsable(model: Model, source = "the model"): void {
  const given: Partial<Model> | undefined = model;
  if (!(given?.state instanceof Map)) {
    throw new InputError(
      `${source}: got ${show(model)}, expected a network's spec with its tensors, as createNetwork, importStateDict ` +
        "and loadCheckpoint make it",
    );
  }
  const { spec, state, batchesTracked } = model;
  const expected = networkTensors(spec);
  requireNames(expected, [...state.keys()], source);
  requireShapes(expected, state, source);
  for (const [path, { role }] of expected) requireValues(path, role, state.get(path), source);
  if (!Number.isSafeInteger(batchesTracked) || batchesTracked < 0) {
    throw new InputError(
      `${source}: batchesTracked is ${show(batchesTracked)}, expected the number of batches that the running ` +
        "statistics have seen",
    );
  }
}

/**
 * @throws InputError with what matches, what is missing and what is unexpected, unless `given` are the names of
 * `expected`
 */
export function requireNames(expected: Expected, given: readonly string[], source: string): void {
  const found = new Set(given);
  const missing = [...expected.keys()].filter((path) => !found.has(path));
  const unexpected = given.filter((path) => !expected.has(path));
  if (missing.length === 0 && unexpected.length === 0) return;
  const matched = expected.size - missing.length;
  const near = unexpected.slice(0, 3).map((path) => {
    const nearest = nearestName(path, missing.length > 0 ? missing : expected.keys());
    return nearest === undefined ? path : `${path} (the nearest name is ${nearest})`;
  });
  const problems = [
    ...(missing.length > 0 ? [`${missing.length} ${are(missing)} missing: ${showSome(missing)}`] : []),
    ...(unexpected.length > 0
      ? [
          `${unexpected.length} ${are(unexpected)} not the network's: ` +
            `${showSome([...near, ...unexpected.slice(near.length)])}`,
        ]
      : []),
  ];
  throw new InputError(
    `${source}: ${matched} of the network's ${expected.size} tensors match; ${problems.join("; ")}`,
    {
      matched,
      missing,
      unexpected,
    },
  );
}

/** @throws InputError naming the first tensor of another shape, and how many more there are */
function requireShapes(
  expected: Expected,
  given: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  source: string,
): void {
  const shapeOf = (path: string): readonly number[] => {
    const shape: unknown = given.get(path)?.shape;
    if (Array.isArray(shape)) return shape;
    throw new InputError(`${source}: ${path} has no shape, expected a tensor with shape and data`, { path });
  };
  const others = [...expected].filter(([path, { shape }]) => shapeOf(path).join() !== shape.join());
  const [first] = others;
  if (first === undefined) return;
  const [path, { shape }] = first;
  const found = shapeOf(path);
  const transposed = found.toReversed().join() === shape.join() ? ": it is transposed" : "";
  const more =
    others.length > 1 ? ` (${others.length - 1} more ${others.length === 2 ? "differs" : "differ"} too)` : "";
  throw new InputError(
    `${source}: ${path} has shape [${found.join(", ")}], the network expects [${shape.join(", ")}]${transposed}${more}`,
    { path, shape: found, expected: shape },
  );
}

function requireValues(path: string, role: TensorRole, tensor: ModelTensor | undefined, source: string): void {
  const at = `${source}: ${path}`;
  if (tensor?.role !== role) {
    throw new InputError(`${at} has the role ${show(tensor?.role)}, in the network it is ${role}`, { path, role });
  }
  const { shape, data } = tensor;
  const count = shape.reduce((product, extent) => product * extent, 1);
  if (!(data instanceof Float32Array) || data.length !== count) {
    const what = data instanceof Float32Array ? `${data.length} numbers` : "no Float32Array";
    throw new InputError(`${at} holds ${what}, expected a Float32Array of ${count} numbers`, { path });
  }
  const odd = data.findIndex((value) => !Number.isFinite(value));
  if (odd !== -1) {
    throw new InputError(`${at} holds ${data[odd]} at position ${odd}, expected finite numbers`, { path });
  }
  const negative = role === "variance" ? data.findIndex((value) => value < 0) : -1;
  if (negative !== -1) {
    throw new InputError(`${at} holds ${data[negative]} at position ${negative}, expected variances of at least 0`, {
      path,
    });
  }
}

function are(names: readonly unknown[]): string {
  return names.length === 1 ? "is" : "are";
}
