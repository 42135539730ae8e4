// ops: rectified linear unit. A NaN passes through in both directions, so that a diverging net is seen and not silently
// cut to zero.
import { expectShape, type NoAttrs, noMacs, type Op } from "./op.ts";

/** y = max(x, 0). */
export const relu: Op<NoAttrs> = {
  name: "relu",
  outputs: ["y"],
  contraction: false,
  shapes: ([x]) => [x],
  macs: noMacs,
  reference([x], [y]) {
    for (let i = 0; i < x.data.length; i++) y.data[i] = Math.max(x.data[i], 0);
  },
  gradient: ({ inputs: [x], dOutputs: [dy], emit }) => emit(reluGrad, [x, dy], {}),
};

/** (x, dy) → dx = dy where x > 0, else 0; at x = 0 the derivative is taken as 0. */
export const reluGrad: Op<NoAttrs> = {
  name: "reluGrad",
  outputs: ["dx"],
  contraction: false,
  shapes([x, dy]) {
    expectShape("reluGrad", "output gradient", dy, x);
    return [x];
  },
  macs: noMacs,
  reference([x, dy], [dx]) {
    for (let i = 0; i < x.data.length; i++) dx.data[i] = x.data[i] <= 0 ? 0 : dy.data[i];
  },
};
