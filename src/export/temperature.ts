// export: the temperature of a calibration, where a softmax of somebody else's follows the file. Portable.
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { UsageError } from "../errors.ts";
import type { ExportFormatName, ExportOptions } from "./export.ts";

/**
 * The network whose logits are those of `trained` over its temperature: weight and bias of the classifier are divided by
 * it, so that any softmax of them gives calibrated probabilities. Labels and their order stay.
 * @throws UsageError where it has no calibration
 */
export function withTemperature(trained: TrainedModel): TrainedModel {
  const { calibration, model } = trained;
  if (calibration === undefined) {
    throw new UsageError(
      "--calibrated: the network has no calibration, expected a run that held validation images out",
    );
  }
  const { temperature } = calibration;
  const state = new Map(model.state);
  for (const path of ["classifier.weight", "classifier.bias"]) {
    const tensor = state.get(path);
    if (tensor === undefined) throw new RangeError(`the network has no ${path}`);
    state.set(path, { ...tensor, data: tensor.data.map((value) => value / temperature) });
  }
  return { ...trained, model: { ...model, state }, calibration: { ...calibration, temperature: 1 } };
}

/** What a consumer of the file must know that computes a softmax itself; undefined where none is left to do. */
export function temperatureNote(
  { calibration }: TrainedModel,
  format: ExportFormatName,
  { probabilities }: ExportOptions = {},
): string | undefined {
  const isApplied = format === "html" || probabilities;
  if (calibration === undefined || calibration.temperature === 1 || isApplied) return undefined;
  return (
    `logits are as trained: divide them by the calibration's temperature, ${calibration.temperature.toFixed(3)}, before ` +
    "a softmax, or write them divided with densenet export --calibrated"
  );
}
