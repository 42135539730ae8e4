// ops: stochastic depth (Huang et al., Deep Networks with Stochastic Depth, ECCV 2016), the paper's baseline in table 2.
// In training a gate with a given probability of being open stands behind every residual branch; in inference the
// branch counts with that probability. As the authors have it, an open gate does not divide by its probability.
import { expectShape, noMacs, type Op } from "./op.ts";
import { dropoutKey, dropThreshold, isKept } from "./random.ts";

const anyFeatures = [undefined, undefined, undefined, undefined];

/** What shares one draw: each image on its own, or all images of a batch, as the authors did. */
export const gateScopes = ["image", "batch"] as const;
/** An entry of `gateScopes`. */
export type GateScope = (typeof gateScopes)[number];

type SampleGateAttrs = { readonly keepProbability: number; readonly stream: number; readonly per: GateScope };

/** y[n] = x[n] where the gate of image n is open, else 0. keepProbability in (0, 1]. Its own adjoint, like dropout. */
export const sampleGate: Op<SampleGateAttrs> = {
  name: "sampleGate",
  outputs: ["gated"],
  contraction: false,
  shapes([x]) {
    expectShape("sampleGate", "input", x, anyFeatures);
    return [x];
  },
  macs: noMacs,
  reference([x], [y], { keepProbability, stream, per }, { seed, step }) {
    const key = dropoutKey(seed, step, stream);
    const threshold = dropThreshold(1 - keepProbability);
    const image = x.data.length / x.shape[0];
    for (let i = 0; i < x.data.length; i++) {
      y.data[i] = isKept(per === "image" ? Math.floor(i / image) : 0, key, threshold) ? x.data[i] : 0;
    }
  },
  gradient: ({ dOutputs: [dy], attrs, emit }) => emit(sampleGate, [dy], attrs),
};

/** y = keepProbability·x: what `sampleGate` gives on average. For inference, so it has no gradient rule. */
export const expectedGate: Op<{ readonly keepProbability: number }> = {
  name: "expectedGate",
  outputs: ["gated"],
  contraction: false,
  shapes([x]) {
    expectShape("expectedGate", "input", x, anyFeatures);
    return [x];
  },
  macs: noMacs,
  reference([x], [y], { keepProbability }) {
    for (let i = 0; i < x.data.length; i++) y.data[i] = keepProbability * x.data[i];
  },
};
