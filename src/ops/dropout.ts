// ops: dropout (paper, section 4.2: 0.2 after each convolution but the first). The mask is a function of seed, step,
// stream and element, never stored, so the op is its own adjoint: the backward pass draws the same mask again.
import { noMacs, type Op } from "./op.ts";
import { dropoutKey, dropThreshold, isKept } from "./random.ts";

type DropoutAttrs = { readonly rate: number; readonly stream: number };

/**
 * y = x/(1 − rate) where kept, else 0, in expectation x. Element i counts through the op's own tensor in row-major
 * order.
 */
export const dropout: Op<DropoutAttrs> = {
  name: "dropout",
  outputs: ["dropped"],
  contraction: false,
  shapes: ([x]) => [x],
  macs: noMacs,
  reference([x], [y], { rate, stream }, { seed, step }) {
    const key = dropoutKey(seed, step, stream);
    const threshold = dropThreshold(rate);
    for (let i = 0; i < x.data.length; i++) y.data[i] = isKept(i, key, threshold) ? x.data[i] / (1 - rate) : 0;
  },
  gradient: ({ dOutputs: [dy], attrs, emit }) => emit(dropout, [dy], attrs),
};
