// cli: a training run as people follow it. `train` and `demo` share it; what a run is stands in run/.
import { classErrors, meanClassError, worstFirst } from "../analyze/classErrors.ts";
import { formatInteger, formatPercent } from "../analyze/format.ts";
import { networkTitle } from "../networks/registry.ts";
import { memoryLine } from "../run/memory.ts";
import {
  type FinishedEvent,
  type OpenedEvent,
  type RunOptions,
  recoveredSentence,
  runTraining,
} from "../run/run.node.ts";
import type { StartEvent, TrainEvent } from "../train/events.ts";
import { sayChoice } from "./backend.ts";
import { commandLine, quoted } from "./commandLine.ts";
import { say } from "./output.ts";
import { Progress } from "./progress.ts";
import { listenForStop, type StopCause } from "./signals.ts";

export interface Followed {
  /** 0, or that of the signal that stopped the run. */
  readonly code: number;
  /** undefined when the run was stopped before its end. */
  readonly finished?: FinishedEvent;
}

/** Trains, and says on stderr how it goes. `onEvent` gets what the record of the run gets. */
export async function followRun(
  options: Omit<RunOptions, "signal" | "report" | "command">,
  onEvent?: (event: TrainEvent) => void,
): Promise<Followed> {
  const progress = new Progress();
  let opened: OpenedEvent | undefined;
  let start: StartEvent | undefined;
  let savedStep = 0;
  let finished: FinishedEvent | undefined;
  const stop = listenForStop((cause) => {
    if (opened === undefined) {
      if (cause !== "closed") progress.line(`${WHY[cause]}: nothing was trained yet, so nothing is saved`);
      return "now";
    }
    const done = start !== undefined && savedStep === start.totalSteps;
    progress.line(
      done
        ? `${WHY[cause]}: all epochs are done and saved; finishing the report`
        : `${WHY[cause]}: finishing the step and saving; once more to stop at once`,
    );
    return undefined;
  });
  try {
    const run = runTraining({ ...options, command: commandLine(), signal: stop.signal, report: say });
    for await (const event of run) {
      if (event.type === "opened") {
        opened = event;
        sayChoice(options.config, event.backend);
        continue;
      }
      if (event.type === "finished") {
        finished = event;
        continue;
      }
      onEvent?.(event);
      if (event.type === "checkpoint") savedStep = event.step;
      if (event.type === "start" && opened !== undefined) {
        start = event;
        for (const line of introduction(event, opened)) progress.line(line);
      }
      progress.show(event);
      if (event.type === "recovered") progress.line(recoveredSentence(event));
      if (event.type === "end" && event.epochs < options.config.epochs) {
        progress.line(
          `ended after epoch ${event.epochs} of ${options.config.epochs}: the validation error had no new low for ` +
            `${options.config.patience} epochs`,
        );
      }
      if (event.type === "interrupted" && opened !== undefined) {
        progress.line(
          `stopped after step ${event.step} and saved; go on with: densenet train --resume ${quoted(opened.folder)}`,
        );
      }
    }
  } finally {
    progress.clear();
    stop.release();
  }
  return { code: stop.exitCode() ?? 0, ...(finished === undefined ? {} : { finished }) };
}

const WHY: Readonly<Record<StopCause, string>> = {
  SIGINT: "SIGINT",
  SIGTERM: "SIGTERM",
  SIGHUP: "SIGHUP",
  closed: "nobody reads the output any more",
  failed: "the output cannot be written any more",
};

function introduction(start: StartEvent, opened: OpenedEvent): string[] {
  const { backend, params, trainCount, valCount, classes, resumedAtStep, totalSteps, config } = start;
  const threads = `${backend.name} with ${backend.threads} ${backend.threads === 1 ? "thread" : "threads"}`;
  const title = networkTitle(start.spec, config.model.variant);
  const goesOn =
    resumedAtStep < totalSteps
      ? `goes on after step ${resumedAtStep} of ${totalSteps}`
      : `has done its ${config.epochs} epochs already; a new run can start from its weights: densenet train ` +
        `--init-from ${quoted(opened.folder)}`;
  return [
    `${title}: ${formatInteger(params)} parameters, on ${backend.device ?? threads}`,
    memoryLine(start, opened.memoryBytes),
    `${opened.dataset}: ${formatInteger(trainCount)} images of ${classes.length} classes to train on, ` +
      `${formatInteger(valCount)} to measure with`,
    ...(resumedAtStep > 0 ? [goesOn] : []),
    `writes to ${opened.folder}`,
  ];
}

/** What a run came to, for people. */
export function closingLines(finished: FinishedEvent): string[] {
  const { final, best, constant, evaluation, classes, folder, report } = finished;
  const errors = classErrors(evaluation.confusion);
  const [worst] = worstFirst(errors);
  return [
    `validation error ${formatPercent(final.valTop1Error, 2)} after epoch ${final.epoch} (loss ` +
      `${final.valLoss.toFixed(4)}; always naming "${constant.name}" gives ${formatPercent(constant.error)})`,
    ...(worst === undefined || worst.error === 0
      ? []
      : [
          `by class ${formatPercent(meanClassError(errors), 2)} on average, worst "${classes[worst.label]}" with ` +
            `${formatPercent(worst.error)} of its ${formatInteger(worst.count)}`,
        ]),
    ...(best.valTop1Error === final.valTop1Error
      ? []
      : [`lowest was ${formatPercent(best.valTop1Error, 2)} after epoch ${best.epoch}`]),
    `run     ${folder}`,
    `report  ${report}`,
  ];
}
