// plan: the names of the recompute policies. A leaf, so that settings can be checked without loading the planner.

/** What is computed a second time in the backward pass instead of being kept. Never changes results. */
export const recomputePolicies = ["none", "bottleneck"] as const;
/**
 * `bottleneck`: the outputs of the 1×1 convolutions inside dense layers, whose memory grows with every layer, live only
 * for a moment.
 */
export type RecomputePolicy = (typeof recomputePolicies)[number];
