// ops: the classifier's affine map (paper, table 1: "fully-connected") and its adjoints.
import { expectShape, type NoAttrs, type Op, type Shape } from "./op.ts";

function linearMacs(x: Shape, w: Shape): number {
  return x[0] * w[0] * w[1];
}

/** y[n,k] = Σ_f x[n,f]·w[k,f] + b[k]. x [N,F], w [K,F], b [K] → y [N,K]. */
export const linear: Op<NoAttrs> = {
  name: "linear",
  outputs: ["y"],
  contraction: true,
  shapes([x, w, b]) {
    expectShape("linear", "input", x, [undefined, undefined]);
    expectShape("linear", "weight", w, [undefined, x[1]]);
    expectShape("linear", "bias", b, [w[0]]);
    return [[x[0], w[0]]];
  },
  macs: ([x, w]) => linearMacs(x, w),
  reference([x, w, b], [y]) {
    const [batch, features] = x.shape;
    const classes = w.shape[0];
    for (let n = 0; n < batch; n++) {
      for (let k = 0; k < classes; k++) {
        let sum = b.data[k];
        for (let f = 0; f < features; f++) sum += x.data[n * features + f] * w.data[k * features + f];
        y.data[n * classes + k] = sum;
      }
    }
  },
  gradient: ({ inputs: [x, w], dOutputs: [dy], emit }) => emit(linearGrad, [x, w, dy], {}),
};

/** (x, w, dy) → dx = dy·w [N,F], dw = dyᵀ·x [K,F], db = Σ_n dy [K]. */
export const linearGrad: Op<NoAttrs> = {
  name: "linearGrad",
  outputs: ["dx", "dw", "db"],
  contraction: true,
  shapes([x, w, dy]) {
    expectShape("linearGrad", "input", x, [undefined, undefined]);
    expectShape("linearGrad", "weight", w, [undefined, x[1]]);
    expectShape("linearGrad", "output gradient", dy, [x[0], w[0]]);
    return [x, w, [w[0]]];
  },
  macs: ([x, w]) => 2 * linearMacs(x, w),
  reference([x, w, dy], [dx, dw, db]) {
    const [batch, features] = x.shape;
    const classes = w.shape[0];
    for (let n = 0; n < batch; n++) {
      for (let f = 0; f < features; f++) {
        let sum = 0;
        for (let k = 0; k < classes; k++) sum += dy.data[n * classes + k] * w.data[k * features + f];
        dx.data[n * features + f] = sum;
      }
    }
    for (let k = 0; k < classes; k++) {
      for (let f = 0; f < features; f++) {
        let sum = 0;
        for (let n = 0; n < batch; n++) sum += dy.data[n * classes + k] * x.data[n * features + f];
        dw.data[k * features + f] = sum;
      }
      let sum = 0;
      for (let n = 0; n < batch; n++) sum += dy.data[n * classes + k];
      db.data[k] = sum;
    }
  },
};
