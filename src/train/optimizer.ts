// train: what goes with the choice of an optimizer: its settings in a plan, and the rate and decay that hold where
// nobody says others.
import type { OptimizerSettings } from "../plan/planners.ts";
import type { TrainConfig } from "./config.ts";

/** Of sgd the paper's (section 4.2), of adamw torch.optim.AdamW's. */
export const usualRates = {
  sgd: { lr: 0.1, weightDecay: 1e-4 },
  adamw: { lr: 1e-3, weightDecay: 0.01 },
} as const satisfies Record<TrainConfig["optimizer"], Pick<TrainConfig, "lr" | "weightDecay">>;

export function optimizerOf(config: TrainConfig): OptimizerSettings {
  const { momentum, nesterov, weightDecay, betas, epsilon } = config;
  return config.optimizer === "adamw"
    ? { kind: "adamw", betas, epsilon, weightDecay }
    : { kind: "sgd", momentum, nesterov, weightDecay };
}
