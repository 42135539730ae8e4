// analyze: stochastic against deterministic connections (paper, section 5). Stochastic depth drops layers at random
// while it trains; where all layers between two are dropped, these two are directly connected, for that step:
//
//     P(s, ℓ) = Π over the layers i between them of (1 − p_i)
//
// given that both are there, with p_i the probability that layer i counts. In a dense block it is 1 for every pair.
import { UsageError } from "../errors.ts";
import { anatomyOf, type NetworkSpec } from "../networks/registry.ts";
import { type Finding, mean } from "./finding.ts";
import type { AnalysisSection } from "./report/analysisPage.ts";
import { heatMap, heatScale } from "./report/heatMap.ts";
import { type Html, html } from "./report/html.ts";

/** A run of layers on maps of one size. */
export interface ConnectedStage {
  /** From 1. */
  readonly stage: number;
  /** Probability that layer 1, 2, … counts in a training step. */
  readonly keepProbabilities: readonly number[];
  /** probabilities[ℓ − 1][s]: that layer ℓ reads what layer s made directly, s = 0 (what enters the stage) … ℓ − 1. */
  readonly probabilities: readonly (readonly number[])[];
}

/** probabilities[ℓ − 1][s] of layers that count with these probabilities. */
export function connectionProbabilities(keepProbabilities: readonly number[]): number[][] {
  return keepProbabilities.map((_, before) =>
    Array.from({ length: before + 1 }, (_, source) =>
      keepProbabilities.slice(source, before).reduce((product, keep) => product * (1 - keep), 1),
    ),
  );
}

/**
 * Of a network with stochastic depth, stage by stage.
 * @throws UsageError for a network all of whose layers always count
 */
export function stochasticConnections(spec: NetworkSpec): ConnectedStage[] {
  const { layers, blockInputs } = anatomyOf(spec);
  if (layers.every(({ keepProbability = 1 }) => keepProbability === 1)) {
    throw new UsageError(
      `stochastic connections: every layer of this ${spec.family} network always counts, expected a network with stochastic depth`,
      { family: spec.family },
    );
  }
  return blockInputs.map((_, block) => {
    const keepProbabilities = layers
      .filter((layer) => layer.block === block)
      .map(({ keepProbability = 1 }) => keepProbability);
    return { stage: block + 1, keepProbabilities, probabilities: connectionProbabilities(keepProbabilities) };
  });
}

/** Mean probability of the pairs with so many layers between them. */
function withBetween(stages: readonly ConnectedStage[], between: number): number {
  return mean(stages.flatMap(({ probabilities }) => probabilities.flatMap((row) => row.at(-1 - between) ?? [])));
}

/** The paper's sentence on stochastic and deterministic connections (section 5). */
export function connectionFindings(stages: readonly ConnectedStage[]): Finding[] {
  const apart = stages.flatMap(({ probabilities }) => probabilities.flatMap((row) => row.slice(0, -1)));
  // A layer that counts reads one of those before it directly, the last that counts too: as many pairs as layers count.
  const expected = stages.flatMap(({ keepProbabilities }) => keepProbabilities);
  const pairs = stages.map(({ probabilities }) => probabilities.flat().length);
  const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
  return [
    {
      claim:
        "There is a small probability for any two layers, between the same pooling layers, to be directly connected—if " +
        "all intermediate layers are randomly dropped.",
      place: "section 5, stochastic vs. deterministic connection",
      criterion:
        "every pair of layers of a stage that are not neighbours has a probability above 0, and below 0.5 in the mean",
      measured:
        `${apart.filter((value) => value > 0).length} of ${apart.length} pairs above 0, ${mean(apart).toFixed(3)} in the ` +
        `mean, ${Math.min(...apart).toPrecision(2)} at the least; with one layer between ` +
        `${withBetween(stages, 1).toFixed(3)}, with two ${withBetween(stages, 2).toFixed(3)}; in a step ` +
        `${total(expected).toFixed(1)} of ${total(pairs)} pairs are expected to be connected, in dense blocks of the same ` +
        "depth all",
      found: apart.every((value) => value > 0) && mean(apart) < 0.5,
    },
  ];
}

/** Probabilities of every pair of layers, as a section of a page. */
export function stochasticConnectionsSection(name: string, stages: readonly ConnectedStage[]): AnalysisSection {
  const range = { low: 0, high: 1 };
  const map = (title: string, probabilities: readonly (readonly number[])[]): Html =>
    heatMap({
      title,
      description: `probabilities of ${probabilities.flat().length} pairs of layers.`,
      columns: probabilities.map((_, before) => String(before + 1)),
      rows: probabilities.map((_, source) => String(source)),
      cells: probabilities.flatMap((row, column) =>
        row.map((value, source) => ({
          column,
          row: source,
          value,
          title: `layer ${source} to layer ${column + 1}: ${value.toPrecision(3)}`,
        })),
      ),
      xLabel: "target layer ℓ",
      yLabel: "source layer s",
      ...range,
    });
  const dense = stages[0]?.probabilities.map((row) => row.map(() => 1)) ?? [];
  return {
    id: "stochastic-connections",
    title: "Stochastic against deterministic connections",
    lede: html`The probability that two layers of a stage are directly connected in a training step of ${name}, given that both are there: that all between them are dropped. Row 0 is what enters the stage. Beside them a dense block as deep as the first stage, where every pair is connected in every step.`,
    figures: [
      html`<div class="heats">${stages.map(({ stage, probabilities }) => map(`Stage ${stage}`, probabilities))}${map("Dense block", dense)}</div>`,
      heatScale(0, 1, "probability", String),
    ],
    findings: connectionFindings(stages),
  };
}
