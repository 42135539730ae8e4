// ops: a gate per image, open with a given probability: stochastic depth (Huang et al., ECCV 2016), the paper's
// baseline in table 2. An open gate divides by its probability, so inference needs no gate. Like dropout it is its own
// adjoint.
import { expectShape, noMacs, type Op } from "./op.ts";
import { dropoutKey, dropThreshold, isKept } from "./random.ts";

type SampleGateAttrs = { readonly keepProbability: number; readonly stream: number };

/** y[n] = x[n]/keepProbability where image n is kept, else 0. keepProbability in (0, 1]. */
export const sampleGate: Op<SampleGateAttrs> = {
  name: "sampleGate",
  outputs: ["gated"],
  contraction: false,
  shapes([x]) {
    expectShape("sampleGate", "input", x, [undefined, undefined, undefined, undefined]);
    return [x];
  },
  macs: noMacs,
  reference([x], [y], { keepProbability, stream }, { seed, step }) {
    const key = dropoutKey(seed, step, stream);
    const threshold = dropThreshold(1 - keepProbability);
    const image = x.data.length / x.shape[0];
    for (let i = 0; i < x.data.length; i++) {
      y.data[i] = isKept(Math.floor(i / image), key, threshold) ? x.data[i] / keepProbability : 0;
    }
  },
  gradient: ({ dOutputs: [dy], attrs, emit }) => emit(sampleGate, [dy], attrs),
};
