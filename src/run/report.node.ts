// run: what the report of a run shows, gathered from the run.
import type { ReportData, ReportEvaluation, ReportFact, ReportPicture, ReportSetting } from "../analyze/report/data.ts";
import { renderReport } from "../analyze/report.ts";
import { summarize } from "../analyze/summary.ts";
import type { Dataset } from "../data/dataset.ts";
import { networkTitle } from "../networks/registry.ts";
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
  readonly pictures: readonly ReportPicture[];
}

/** Writes the run's report as it stands. */
export async function writeReport(
  context: ReportContext,
  state: ReportData["state"],
  results: ReportResults = { pictures: [] },
): Promise<void> {
  const { start, dataset, folder, settings, environment, command, startedAt } = context;
  const { height, width, name, classes, citation } = dataset;
  const summary = summarize(start.spec, { height, width, batch: start.config.batchSize });
  await folder.writeReport(
    renderReport({
      title: `${modelTitle(start)} on ${name}`,
      state,
      startedAt: `${startedAt.toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short", timeZone: "UTC" })} UTC`,
      elapsedSeconds: folder.epochs.reduce((total, epoch) => total + epoch.seconds, 0),
      data: {
        name,
        trainCount: start.trainCount,
        validationCount: start.valCount,
        classes,
        ...(citation === undefined ? {} : { citation }),
      },
      epochsPlanned: start.config.epochs,
      epochs: folder.epochs,
      steps: folder.steps,
      summary,
      peakBytes: start.peakBytes,
      ...(results.evaluation === undefined ? {} : { evaluation: results.evaluation }),
      pictures: results.pictures,
      config: settings,
      environment,
      command,
    }),
  );
}

/** DenseNet-BC-40-12, or the variant it was made from where settings changed it. */
export function modelTitle(start: StartEvent): string {
  return networkTitle(start.spec, start.config.model.variant);
}
