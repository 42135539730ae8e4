// formats/onnx: tensors that are known before an image comes: read only when somebody wants their numbers. Portable.
import { elementCount, type FileTensor } from "../weightFile.ts";

/** More than a chain of views of a weight ever is; each reads the one before. */
export const MAX_VIEWS = 24;
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
