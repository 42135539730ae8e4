// formats/onnx: tensors that are known before an image comes: read only when somebody wants their numbers. Portable.
import { elementCount, type FileTensor } from "../weightFile.ts";
import { isOrder, type NodeReader } from "./node.ts";

/** More than a chain of views of a weight ever is; each reads the one before. */
const MAX_VIEWS = 24;
/** Bottlenecks of the widest network have 4096 maps; what is larger is no number for each of them. */
const MAX_EXPANDED = 65_536;

/** A constant with the number of views between it and the file. */
export interface Constant extends FileTensor {
  readonly views: number;
}

export function constantOf({ shape, dtype, read }: FileTensor): Constant {
  return { shape, dtype, read, views: 0 };
}

/** The same numbers under another shape. */
export function reshaped({ dtype, read, views }: Constant, shape: readonly number[]): Constant {
  return { shape, dtype, read, views: views + 1 };
}

/** Axis i of the result is axis `order[i]` of `tensor`. */
export function transposed({ shape, dtype, read, views }: Constant, order: readonly number[]): Constant {
  const sizes = order.map((axis) => shape[axis]);
  const strides = order.map((axis) => elementCount(shape.slice(axis + 1)));
  const move = (): Float32Array<ArrayBuffer> => {
    const from = read();
    const out = new Float32Array(from.length);
    const at = new Array<number>(sizes.length).fill(0);
    for (let i = 0, place = 0; i < out.length; i++) {
      out[i] = from[place];
      for (let axis = sizes.length - 1; axis >= 0; axis--) {
        place += strides[axis];
        if (++at[axis] < sizes[axis]) break;
        place -= strides[axis] * sizes[axis];
        at[axis] = 0;
      }
    }
    return out;
  };
  return { shape: sizes, dtype, read: move, views: views + 1 };
}

/**
 * What `node` makes of the constant `x` where that is a view of it; undefined where it is something else. `operand` is
 * its other input.
 */
export function viewOf(node: NodeReader, x: Constant, operand: Constant | undefined): Constant | undefined {
  if (x.views >= MAX_VIEWS) throw node.fail(`is the ${x.views}th view of one constant`);
  const { shape } = x;
  const given = operand && integersOf(operand);
  const axes = node.ints("axes") ?? given;
  switch (node.op) {
    case "Identity":
    case "Cast":
    case "CastLike":
      return x;
    case "Shape": {
      const sizes = shape.slice(node.int("start", 0), node.int("end", shape.length));
      return constantOf({ shape: [sizes.length], dtype: "I64", read: () => Float32Array.from(sizes) });
    }
    case "Squeeze": {
      const dropped = axes?.map((axis) => (axis < 0 ? axis + shape.length : axis));
      return reshaped(
        x,
        shape.filter((size, i) => size !== 1 || (dropped !== undefined && !dropped.includes(i))),
      );
    }
    case "Unsqueeze": {
      const rank = shape.length + (axes?.length ?? 0);
      const added = axes?.map((axis) => (axis < 0 ? axis + rank : axis)) ?? [];
      const sizes = [...shape];
      return reshaped(
        x,
        Array.from({ length: rank }, (_, i) => (added.includes(i) ? 1 : (sizes.shift() ?? 1))),
      );
    }
    case "Reshape": {
      const to = given?.map((size, i) => (size === 0 ? (shape[i] ?? 0) : size));
      if (to === undefined || to.filter((size) => size < 0).length > 1) return undefined;
      const count = elementCount(shape);
      const known = elementCount(to.filter((size) => size >= 0));
      const sizes = to.map((size) => (size < 0 ? count / known : size));
      if (elementCount(sizes) !== count) throw node.fail(`makes [${to.join(", ")}] of [${shape.join(", ")}]`);
      return reshaped(x, sizes);
    }
    case "Transpose": {
      const order = node.ints("perm") ?? shape.map((_, i) => i).reverse();
      if (!isOrder(order, shape.length)) throw node.fail(`has the order ${order.join(", ")} for ${shape.length} axes`);
      return transposed(x, order);
    }
    case "Expand":
      return given && expanded(x, given);
    default:
      return undefined;
  }
}

/** One number everywhere in `shape`; undefined where `tensor` has several, or the result would be large. */
export function expanded({ shape, dtype, read, views }: Constant, to: readonly number[]): Constant | undefined {
  const count = elementCount(to);
  if (elementCount(shape) !== 1 || !(count <= MAX_EXPANDED)) return undefined;
  return { shape: to, dtype, read: () => new Float32Array(count).fill(read()[0]), views: views + 1 };
}

/** [C] whose element c is `of(operands at c)`. */
export function perChannel(
  channels: number,
  operands: readonly FileTensor[],
  of: (...values: number[]) => number,
): FileTensor {
  return {
    shape: [channels],
    dtype: "F32",
    read: () => {
      const numbers = operands.map((operand) => operand.read());
      return Float32Array.from({ length: channels }, (_, c) => of(...numbers.map((values) => values[c])));
    },
  };
}

/** [C], `value` everywhere. */
export function filled(channels: number, value: number): FileTensor {
  return { shape: [channels], dtype: "F32", read: () => new Float32Array(channels).fill(value) };
}

/** Integers of a shape, of axes and the like; undefined where there are too many to be one. */
export function integersOf({ shape, read }: FileTensor): readonly number[] | undefined {
  return elementCount(shape) <= 64 ? [...read()] : undefined;
}
