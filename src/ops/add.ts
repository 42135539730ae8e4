// ops: sum of any number of equal tensors: the shortcut of residual nets (paper, equation 1), and the gradients of
// several consumers.
import { expectShape, type NoAttrs, noMacs, type Op } from "./op.ts";

/** a, b, … → y = a + b + …, added from left to right. */
export const add: Op<NoAttrs> = {
  name: "add",
  outputs: ["sum"],
  contraction: true,
  shapes(inputs) {
    inputs.forEach((shape, i) => {
      expectShape("add", `input ${i}`, shape, inputs[0]);
    });
    return [inputs[0]];
  },
  macs: noMacs,
  reference(inputs, [y]) {
    for (let i = 0; i < y.data.length; i++) {
      let sum = 0;
      for (const input of inputs) sum += input.data[i];
      y.data[i] = sum;
    }
  },
  gradient: ({ inputs, dOutputs: [dy] }) => inputs.map(() => dy),
};
