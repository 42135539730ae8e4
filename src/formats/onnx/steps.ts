// formats/onnx: what a network of images computes, as one expression whose leaves are the image and constants: the graph
// of an ONNX file without what only moves numbers about (layouts, casts, identities, shapes). Portable.
import type { FileTensor } from "../weightFile.ts";

/** Rows above and columns before, rows below and columns behind. */
export type Pads = readonly [top: number, left: number, bottom: number, right: number];
export type Sides = readonly [height: number, width: number];

interface Common {
  /** Of the node, for messages: `"/features/conv0/Conv" (Conv)`. */
  readonly node: string;
  /** Feature maps, or features behind the global pool; undefined for an image whose graph leaves them open. */
  readonly channels: number | undefined;
}

interface Unary extends Common {
  readonly input: Step;
}

export interface ConvStep extends Unary {
  readonly op: "conv";
  readonly weight: FileTensor; // [out, in, height, width]
  readonly bias: FileTensor | undefined; // [out]
  readonly strides: Sides;
  readonly pads: Pads;
}

/** γ(x − mean)/√(variance + ε) + β, a channel at a time; `variance` is one that means the same with our ε. */
export interface NormStep extends Unary {
  readonly op: "norm";
  readonly gamma: FileTensor;
  readonly beta: FileTensor;
  readonly mean: FileTensor;
  readonly variance: FileTensor;
}

/** factor · x + shift, a channel at a time. */
export interface ScaleStep extends Unary {
  readonly op: "scale";
  readonly factor: FileTensor;
  readonly shift: FileTensor;
}

export interface PoolStep extends Unary {
  readonly op: "averagePool" | "maxPool";
  readonly kernel: Sides;
  readonly strides: Sides;
  readonly pads: Pads;
}

/** The average of each map; `window` where it is one of a fixed size, for maps of just that size. */
export interface GlobalPoolStep extends Unary {
  readonly op: "globalPool";
  readonly window?: Sides;
}

/** Zeros around the maps. */
export interface PadStep extends Unary {
  readonly op: "pad";
  readonly pads: Pads;
}

export interface LinearStep extends Unary {
  readonly op: "linear";
  readonly weight: FileTensor; // [out, in]
  readonly bias: FileTensor | undefined; // [out]
}

export interface ConcatStep extends Common {
  readonly op: "concat";
  readonly inputs: readonly Step[];
}

export type Step =
  | (Common & { readonly op: "image" })
  | (Unary & { readonly op: "relu" | "softmax" | "sigmoid" })
  | ConvStep
  | NormStep
  | ScaleStep
  | PoolStep
  | GlobalPoolStep
  | PadStep
  | LinearStep
  | ConcatStep;
