// train: where a run stands, as the JSON that a checkpoint carries beside weights and momenta. Everything else follows
// from it.
import * as z from "zod";
import { InputError, UsageError } from "../errors.ts";
import { type TrainConfig, trainConfigSchema } from "./config.ts";
import { settings } from "./settings.ts";

const finite = z.number();

const epochMetricsSchema = z.strictObject({
  epoch: z.int().positive(),
  trainLoss: finite,
  trainTop1Error: finite,
  trainTop5Error: finite,
  valLoss: finite,
  valTop1Error: finite,
  valTop5Error: finite,
  learningRate: finite,
  seconds: finite,
  imagesPerSecond: finite,
});

const runStateSchema = z.strictObject({
  config: trainConfigSchema,
  /** Updates done. */
  step: z.int().gte(0),
  /** Sums over the images of the current epoch. */
  running: z.strictObject({
    count: z.int().gte(0),
    loss: finite,
    top1Wrong: z.int().gte(0),
    top5Wrong: z.int().gte(0),
  }),
  /**
   * Of the finished epochs. An epoch is finished when it is validated, so `step` may stand at the end of one that is
   * not.
   */
  history: z.array(epochMetricsSchema),
  /** Images of the training split, which decides what an update number means. */
  trainCount: z.int().positive(),
});

export type RunState = z.infer<typeof runStateSchema>;

/** @throws InputError when `json`, from the training state of `source`, is not where a run can stand. */
export function parseRunState(json: unknown, source: string): RunState {
  const parsed = runStateSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new InputError(
    `${source}: the saved run state has a wrong ${issue?.path.join(".") || "form"} (${issue?.message})`,
    {
      file: source,
      field: issue?.path.join("."),
    },
  );
}

/**
 * Settings that may change when a run is resumed. It stays the same run: another device or dtype of feature maps rounds
 * differently and changes bits, not what is computed, and the saved state is f32 everywhere; the others change not one
 * bit.
 */
const FREE: ReadonlySet<string> = new Set(
  [...settings].flatMap(([path, { mayChange }]) => (mayChange ? [path.slice(path.indexOf(".") + 1)] : [])),
);

/** @throws UsageError naming the setting or the data that differ from those the run began with. */
export function requireSameRun(saved: RunState, config: TrainConfig, trainCount: number): void {
  const fixed = (of: TrainConfig): [string, string][] =>
    Object.entries({ ...of, ...of.data, ...of.model, dir: null, data: null, model: null })
      .filter(([key]) => !FREE.has(key))
      .map(([key, value]) => [key, JSON.stringify(value)]);
  const before = new Map(fixed(saved.config));
  const now = new Map(fixed(config));
  for (const key of new Set([...before.keys(), ...now.keys()])) {
    if (before.get(key) === now.get(key)) continue;
    throw new UsageError(
      `${key}: got ${now.get(key) ?? "nothing"}, but the run to resume began with ${before.get(key) ?? "nothing"}; ` +
        "a resumed run keeps its settings. A new run with others can start from its weights: initFrom (--init-from)",
      { field: key },
    );
  }
  if (saved.trainCount !== trainCount) {
    throw new UsageError(
      `data: the training split has ${trainCount} images, but the run to resume began with ${saved.trainCount}; a ` +
        "resumed run keeps its data",
      { field: "data", count: trainCount, expected: saved.trainCount },
    );
  }
}
