// run: what the report of a run shows, gathered from the run.
import { constantGuess } from "../analyze/classErrors.ts";
import type {
  ReportConfusion,
  ReportData,
  ReportEvaluation,
  ReportFact,
  ReportImage,
  ReportSetting,
} from "../analyze/report/data.ts";
import { renderReport } from "../analyze/report.ts";
import { summarize } from "../analyze/summary.ts";
import type { Dataset } from "../data/dataset.ts";
import { networkTitle } from "../networks/registry.ts";
import type { TrainConfig } from "../train/config.ts";
import type { StartEvent } from "../train/events.ts";
import type { RunFolder } from "./folder.node.ts";

export interface ReportContext {
  readonly start: StartEvent;
  readonly dataset: Dataset;
  readonly folder: RunFolder;
  readonly settings: readonly ReportSetting[];
  readonly environment: readonly ReportFact[];
  /** The command line of the run. */
  readonly command: string;
  readonly startedAt: Date;
}

export interface ReportResults {
  readonly evaluation?: ReportEvaluation;
  readonly images: readonly ReportImage[];
  readonly confusions: readonly ReportConfusion[];
}

/** Where the run stands. */
export interface ReportStanding {
  readonly state: ReportData["state"];
  /** Of a run that failed: why. */
  readonly reason?: string;
  /** Of a run that finished. */
  readonly results?: ReportResults;
}

/** Writes the run's report as it stands. @throws ResourceError when it cannot be written */
export async function writeReport(context: ReportContext, standing: ReportStanding): Promise<void> {
  const { state, reason, results = { images: [], confusions: [] } } = standing;
  const { start, dataset, folder, settings, environment, command, startedAt } = context;
  const { height, width, name, classes, citation } = dataset;
  const summary = summarize(start.spec, { height, width, batch: start.config.batchSize });
  await folder.writeReport(
    renderReport({
      title: `${modelTitle(start)} on ${name}`,
      state,
      ...(reason === undefined ? {} : { reason }),
      startedAt: `${startedAt.toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short", timeZone: "UTC" })} UTC`,
      elapsedSeconds: folder.epochs.reduce((total, epoch) => total + epoch.seconds, 0),
      data: {
        name,
        trainCount: start.trainCount,
        validationCount: start.valCount,
        classes,
        ...(citation === undefined ? {} : { citation }),
        constant: constantGuess(dataset.val, classes),
      },
      notes: start.config.notes,
      epochsPlanned: start.config.epochs,
      epochs: folder.epochs,
      steps: folder.steps,
      summary,
      peakBytes: start.peakBytes,
      ...(results.evaluation === undefined ? {} : { evaluation: results.evaluation }),
      images: results.images,
      confusions: results.confusions,
      config: settings,
      environment,
      command,
    }),
  );
}

/**
 * Every setting as dotted path, value as text, and where it came from: `sources`, or for those that a resumed run kept,
 * what they came from `before`.
 */
export function settingRows(
  { model, data, ...rest }: TrainConfig,
  sources: Readonly<Record<string, string>>,
  before: Readonly<Record<string, unknown>> = {},
): ReportSetting[] {
  const values: [string, unknown][] = [
    ...Object.entries(model).map(([key, value]): [string, unknown] => [`model.${key}`, value]),
    ...Object.entries(data).map(([key, value]): [string, unknown] => [`data.${key}`, value]),
    ...Object.entries(rest),
  ];
  return values.map(([key, value]) => {
    const earlier = before[key];
    const source = sources[key] ?? (typeof earlier === "string" ? earlier : "given");
    return { key, value: typeof value === "string" ? value : JSON.stringify(value), source };
  });
}

/** DenseNet-BC-40-12, or the variant it was made from where settings changed it. */
export function modelTitle(start: StartEvent): string {
  return networkTitle(start.spec, start.config.model.variant);
}
