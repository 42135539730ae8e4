// train: everything that decides a run, as plain JSON: schema, type and defaults, made from the rows of settings.ts.
// Resolved in resolveConfig.ts, saved with the run.
import * as z from "zod";
import { isRecord } from "../checkpoint/record.ts";
import { modelFieldSchemas } from "./modelSettings.ts";
import { dataSettings, runSettings, type Setting, settings, variantSetting } from "./settings.ts";

type Rows = Readonly<Record<string, Setting>>;

const schemas = <R extends Rows>(rows: R) =>
  Object.fromEntries(Object.entries(rows).map(([key, { schema }]) => [key, schema])) as {
    [K in keyof R]: R[K]["schema"];
  };

const defaults = <R extends Rows>(rows: R) =>
  Object.fromEntries(Object.entries(rows).map(([key, row]) => [key, row.default])) as {
    [K in keyof R]: z.output<R[K]["schema"]>;
  };

const modelSchema = z.strictObject({
  /**
   * Named net of src/networks, e.g. "BC-100-12" or "121"; the other fields change it. Number of classes and channels
   * come from the data.
   */
  variant: variantSetting.schema,
  ...modelFieldSchemas,
});

const dataSchema = z.strictObject(schemas(dataSettings));
const configSchema = z.strictObject({ model: modelSchema, data: dataSchema, ...schemas(runSettings) });

/** All settings of a training run, resolved. */
export type TrainConfig = z.infer<typeof configSchema>;

/**
 * Schema of TrainConfig; unknown keys are errors. A configuration that was saved before a setting existed or was
 * renamed is read as it was meant.
 */
export const trainConfigSchema = z.preprocess(asOfToday, configSchema);

/** The paper's settings where the paper has one (section 4.2), otherwise the plainest choice. */
export const defaultTrainConfig: TrainConfig = {
  model: { variant: variantSetting.default },
  data: defaults(dataSettings),
  ...defaults(runSettings),
};

/** The schema of every setting by its dotted path, those included that a network's family adds under `model`. */
export const settingSchemas: ReadonlyMap<string, z.ZodType> = new Map<string, z.ZodType>([
  ...Object.entries(modelSchema.shape).map(([key, schema]): [string, z.ZodType] => [`model.${key}`, schema]),
  ...[...settings].map(([path, { schema }]): [string, z.ZodType] => [path, schema]),
]);

/**
 * A configuration as runs once saved it, with today's keys. What a setting was called then is an unknown key where
 * today's is there too.
 */
function asOfToday(saved: unknown): unknown {
  if (!isRecord(saved)) return saved;
  const config = Object.fromEntries(
    Object.entries(saved).map(([key, value]) => [key, isRecord(value) ? { ...value } : value]),
  );
  for (const [path, row] of settings) {
    const [key = path, group] = path.split(".").reverse();
    const holder = group === undefined ? config : config[group];
    if (!isRecord(holder) || key in holder) continue;
    if (row.formerly !== undefined && row.formerly in holder) {
      holder[key] = holder[row.formerly];
      delete holder[row.formerly];
    } else if (row.addedLater) holder[key] = row.default;
  }
  return config;
}
