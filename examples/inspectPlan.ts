// A network before any device: its sizes, and what one update costs, with and without recomputation, down to the kernel
// calls.
//   node examples/inspectPlan.ts BC-100-12
import {
  buildGraph,
  differentiate,
  macs,
  namedSpec,
  parameterCount,
  planTraining,
  printPlan,
  variantNames,
} from "densenet";

const [name = "BC-100-12"] = process.argv.slice(2);
console.log(`networks by name: ${variantNames.join(", ")}`);
const spec = namedSpec(name);
const size = { height: 32, width: 32 };
console.log(
  `${name}: ${parameterCount(spec)} parameters, ${(macs(spec, size) / 1e6).toFixed(1)} M multiply-adds an image`,
);

const graph = differentiate(buildGraph(spec, { batch: 64, ...size, mode: "training" }));
for (const recompute of ["none", "bottleneck"] as const) {
  const plan = planTraining(graph, { recompute, optimizer: { momentum: 0.9, nesterov: true, weightDecay: 1e-4 } });
  console.log(`recompute ${recompute}: ${plan.calls.length} kernel calls, ${(plan.peakBytes / 1e6).toFixed(0)} MB`);
  if (recompute === "none") console.log(printPlan(plan).split("\n").slice(0, 12).join("\n"));
}
