// run: what a run starts from — first values, the weights of another model, or the checkpoint of a run that goes on.
import { readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { TrainedModel, TrainingState } from "../checkpoint/checkpoint.ts";
import { type DamagedCheckpoint, loadCheckpoint, loadNewestWhole } from "../checkpoint/store.node.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Normalization } from "../data/normalization.ts";
import { InputError, UsageError } from "../errors.ts";
import { adaptModel } from "../formats/adapt.ts";
import { loadNetwork } from "../formats/network.node.ts";
import { createNetwork } from "../model/create.ts";
import type { Model } from "../model/model.ts";
import {
  modelRules,
  type NetworkSpec,
  namedSpec,
  networkTitle,
  parameterCount,
  variantName,
  variantNames,
} from "../networks/registry.ts";
import type { TrainConfig } from "../train/config.ts";
import { requireFit } from "../train/footprint.ts";
import { configuredSpec, type PartialTrainConfig, resolveConfig } from "../train/resolveConfig.ts";
import { parseRunState } from "../train/runState.ts";
import { CONFIG } from "./folder.node.ts";

/** The run that a checkpoint's folder lies in: <run>/checkpoints/<checkpoint>. */
export function runOf(path: string): string {
  const parent = dirname(resolve(path));
  return basename(parent) === "checkpoints" ? dirname(parent) : path;
}

export interface ResumePoint {
  /** undefined where the run died before its first checkpoint: it begins again. */
  readonly saved?: { readonly trained: TrainedModel; readonly training: TrainingState; readonly folder: string };
  /** Newer checkpoints that do not load. */
  readonly damaged: readonly DamagedCheckpoint[];
  readonly config: TrainConfig;
}

/**
 * Where the run at `path`, a run's folder or a checkpoint's, can go on. Of a run whose last checkpoint is damaged that
 * is the newest whole one.
 * @throws InputError when there is nothing to go on from
 * @throws VerificationError when every checkpoint is damaged
 */
export async function findResumePoint(path: string): Promise<ResumePoint> {
  const newest =
    runOf(path) === path ? await loadNewestWhole(path) : { checkpoint: await loadCheckpoint(path), damaged: [] };
  const { checkpoint, damaged } = newest;
  if (checkpoint === undefined) {
    const config = await unsavedConfig(path);
    if (config === undefined) throw newest.missing;
    return { damaged, config };
  }
  const { trained, training, folder } = checkpoint;
  if (training === undefined) {
    throw new InputError(
      `${path}: holds a model without its training state, expected the folder of a run or of a checkpoint; a new ` +
        "run can start from its weights (--init-from)",
      { path },
    );
  }
  return { saved: { trained, training, folder }, damaged, config: parseRunState(training.run, path).config };
}

/** The configuration of a run that has saved no checkpoint, if it is one. */
async function unsavedConfig(path: string): Promise<TrainConfig | undefined> {
  const file = join(path, CONFIG);
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return resolveConfig({ file: JSON.parse(text), fileName: file }).config;
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new InputError(`${file}: is not JSON, expected the settings of the run`, { file }, { cause });
  }
}

/**
 * The configuration that a run was started with.
 * @throws InputError when it cannot be continued, as findResumePoint
 */
export async function savedConfig(path: string): Promise<TrainConfig> {
  return (await findResumePoint(path)).config;
}

/**
 * Settings for a new run that starts from the weights at `path`: those of the run that they are from, or where there is
 * none, the network's.
 * @throws InputError when there is no model at `path`
 */
export async function settingsFrom(path: string): Promise<PartialTrainConfig> {
  const { trained, training } = await loadNetwork(path);
  if (training !== undefined) return parseRunState(training.run, path).config;
  return { model: modelSettings(trained.model.spec) };
}

/** The settings that name a network: its variant, or another one of its family and every field. */
function modelSettings(spec: NetworkSpec): TrainConfig["model"] {
  const variant = variantName(spec);
  if (variant !== undefined) return { variant };
  const relative = variantNames.find((name) => namedSpec(name).family === spec.family) ?? "";
  const fields = Object.entries(spec).filter(([field]) => field in modelRules);
  return { variant: relative, ...Object.fromEntries(fields) };
}

/** What a new run begins with. */
export interface FirstState {
  readonly model: Model;
  /** How its weights expect images, where they were trained on such channels; the data's own otherwise. */
  readonly normalization: Normalization;
}

/**
 * The network of `config` for `dataset`, with first values, or with those of the model at `initFrom`: a run of ours or
 * weights of another tool, whose classifier is made anew where the classes are others. `report` receives what was
 * matched, assumed and made anew.
 * @throws UsageError when that model is another network than `config` asks for
 * @throws InputError when a run's model has as many classes in another order or by other names
 * @throws ResourceError when it cannot fit, as requireFit
 */
export async function firstState(
  config: TrainConfig,
  dataset: Dataset,
  initFrom: string | undefined,
  report: (line: string) => void,
): Promise<FirstState> {
  const { classes, channels, name, mean, std } = dataset;
  const normalization = { mean, std };
  const spec = configuredSpec(config, { classes: classes.length, channels });
  requireFit(config, spec, dataset, config.device);
  if (initFrom === undefined) {
    return { model: createNetwork(spec, { seed: config.seed, fan: config.initFan }), normalization };
  }
  const { trained, notes, hasHead, namesClasses, own } = await loadNetwork(initFrom, "last", report);
  for (const line of notes) report(line);
  const different = trained.classes.findIndex((label, index) => label !== classes[index]);
  if (own && different >= 0 && trained.classes.length === classes.length) {
    throw new InputError(
      `${initFrom}: class ${different} is "${trained.classes[different]}" there and "${classes[different]}" in ` +
        `${name}; expected the same classes, or another number of them, which gets a new classifier`,
      { path: initFrom },
    );
  }
  const shapeOf = (of: NetworkSpec): string =>
    JSON.stringify({ ...of, dropRate: 0, numClasses: classes.length, inChannels: channels });
  if (shapeOf(trained.model.spec) !== shapeOf(spec)) {
    throw new UsageError(
      `${initFrom}: holds another network (${parameterCount(trained.model.spec)} parameters) than the settings ask ` +
        `for (${networkTitle(spec, config.model.variant)}, ${parameterCount(spec)} parameters); leave out --model and ` +
        "its settings to take the network as it is",
      { path: initFrom },
    );
  }
  const keepHead = hasHead && !(namesClasses && different >= 0);
  const { model, changes } = adaptModel(trained.model, spec, {
    keepHead,
    hasHead,
    seed: config.seed,
    source: initFrom,
  });
  for (const line of changes) report(line);
  // Their first batch norm's statistics are of images that were normalised so.
  const expected = trained.preprocessing;
  if (expected.mean.length !== channels) return { model, normalization };
  const shown = (of: readonly number[]): string => of.map((value) => Number(value.toPrecision(3))).join(", ");
  report(
    `images are normalised as these weights expect: mean ${shown(expected.mean)}, deviation ${shown(expected.std)}`,
  );
  return { model, normalization: { mean: expected.mean, std: expected.std } };
}
