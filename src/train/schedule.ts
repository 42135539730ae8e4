// train: the learning rate of every update, as a function of its number alone, so a resumed run needs no schedule
// state.
import type { TrainConfig } from "./config.ts";

export type ScheduleConfig = Pick<TrainConfig, "lr" | "schedule" | "milestones" | "gamma" | "warmupEpochs" | "epochs">;

/**
 * Learning rate of update `step` (0-based) in a run of `stepsPerEpoch` updates per epoch.
 *
 * - `multistep`: lr·gamma^m, m = milestones passed. A milestone of 0.5 in 300 epochs lowers the rate once exactly 150
 *   epochs are done, as the paper's text says (section 4.2). The official code counts from 1 and compares with ≥, so it
 *   does so one epoch earlier.
 * - `cosine`: lr·(1 + cos(π·t))/2 for each update, t from 0 after the warm-up towards 1 at the end.
 * - `constant`: lr.
 *
 * During the first warmupEpochs the result is multiplied by a factor that rises linearly and is 1 at the last warm-up
 * step.
 */
export function learningRate(config: ScheduleConfig, step: number, stepsPerEpoch: number): number {
  const warmupSteps = Math.round(config.warmupEpochs * stepsPerEpoch);
  const warmup = step < warmupSteps ? (step + 1) / warmupSteps : 1;
  return config.lr * warmup * decay(config, step, stepsPerEpoch, warmupSteps);
}

function decay(config: ScheduleConfig, step: number, stepsPerEpoch: number, warmupSteps: number): number {
  const { schedule, milestones, gamma, epochs } = config;
  switch (schedule) {
    case "constant":
      return 1;
    case "cosine": {
      const t = Math.max(0, step - warmupSteps) / (epochs * stepsPerEpoch - warmupSteps);
      return 0.5 * (1 + Math.cos(Math.PI * t));
    }
    case "multistep": {
      const epochsDone = Math.floor(step / stepsPerEpoch);
      // 1e-9: thirds of an epoch count do not come out exact in binary.
      const passed = milestones.filter((fraction) => epochsDone >= fraction * epochs - 1e-9).length;
      return gamma ** passed;
    }
  }
}
