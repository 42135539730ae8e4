// analyze: several runs side by side: what they came to, what they differ in, and their curves over one another.
import type { EpochMetrics } from "../train/events.ts";
import { formatDuration, formatInteger, formatPercent, table } from "./format.ts";
import { analysisStyle } from "./report/analysisPage.ts";
import type { ReportSetting } from "./report/data.ts";
import { type Html, html } from "./report/html.ts";
import { page } from "./report/page.ts";
import { type PlotSeries, plot, toneOf } from "./report/plot.ts";

/** A run as its folder describes it. */
export interface RunSummary {
  readonly folder: string;
  readonly network: string;
  /** Learned numbers; missing where the run never began. */
  readonly params?: number;
  readonly state: "running" | "finished" | "stopped";
  /** ISO 8601. */
  readonly startedAt: string;
  readonly notes: string;
  readonly epochsPlanned: number;
  readonly epochs: readonly EpochMetrics[];
  /** Of the epochs that are done. */
  readonly seconds: number;
  readonly settings: readonly Pick<ReportSetting, "key" | "value">[];
}

/** Runs that a page can tell apart: six colours, whole and dashed. */
export const MOST_COMPARED = 12;
const TONES = 6;

export function finalOf({ epochs }: RunSummary): EpochMetrics | undefined {
  return epochs.at(-1);
}

/** The first epoch with the lowest validation error. */
export function bestOf({ epochs }: RunSummary): EpochMetrics | undefined {
  return epochs.reduce<EpochMetrics | undefined>(
    (best, epoch) => (best === undefined || epoch.valTop1Error < best.valTop1Error ? epoch : best),
    undefined,
  );
}

/** Settings that are not the same in all runs: the key, then the value in each. */
export function differences(runs: readonly RunSummary[]): [string, ...string[]][] {
  const keys = [...new Set(runs.flatMap(({ settings }) => settings.map(({ key }) => key)))];
  const valueIn = (run: RunSummary, key: string): string => run.settings.find((row) => row.key === key)?.value ?? "";
  return keys
    .map((key): [string, ...string[]] => [key, ...runs.map((run) => valueIn(run, key))])
    .filter(([, ...values]) => new Set(values).size > 1);
}

const HEADINGS = ["run", "network", "parameters", "epochs", "final error", "lowest", "loss", "time", "state", "notes"];
const NUMBERS = [2, 3, 4, 5, 6, 7];

function cells(run: RunSummary): string[] {
  const final = finalOf(run);
  return [
    run.folder,
    run.network,
    run.params === undefined ? "–" : formatInteger(run.params),
    `${run.epochs.length} of ${run.epochsPlanned}`,
    formatPercent(final?.valTop1Error ?? Number.NaN, 2),
    formatPercent(bestOf(run)?.valTop1Error ?? Number.NaN, 2),
    final?.valLoss.toFixed(4) ?? "–",
    formatDuration(run.seconds),
    run.state,
    run.notes,
  ];
}

/** A line for each run. */
export function runsTable(runs: readonly RunSummary[]): string {
  return table([HEADINGS, ...runs.map(cells)], NUMBERS);
}

/** The same as a self-contained page, with the curves of all runs over one another. */
export function comparisonPage(runs: readonly RunSummary[], command: string): string {
  const differing = differences(runs);
  const title = `${runs.length} runs compared`;
  return page(
    title,
    `${analysisStyle}.runs td:first-child,.runs th,.runs .number{white-space:nowrap}.runs td:last-child{white-space:normal;min-width:16ch}`,
    html`<header><h1>${title}</h1></header>
<section aria-labelledby="results"><h2 id="results">Results</h2><div class="scroll"><table class="layers runs"><thead><tr>${HEADINGS.map((name, at) => html`<th scope="col"${numeric(at)}>${name}</th>`)}</tr></thead><tbody>
${runs.map(
  (run, index) => html`<tr>${cells(run).map((cell, at) =>
    at === 0
      ? html`<td><span class="key tone${toneOf(index)}${index >= TONES ? " dashed" : ""}"></span>${cell}</td>`
      : html`<td${numeric(at)}>${cell}</td>`,
  )}</tr>
`,
)}</tbody></table></div></section>
<section aria-labelledby="curves"><h2 id="curves">Learning</h2><div class="charts">
${curve(
  runs,
  "Validation error",
  "percent of the validation images",
  (epoch) => epoch.valTop1Error,
  (value) => `${Number(value.toFixed(2))} %`,
)}
${curve(
  runs,
  "Training error",
  "percent of the training images",
  (epoch) => epoch.trainTop1Error,
  (value) => `${Number(value.toFixed(2))} %`,
)}
${curve(
  runs,
  "Validation loss",
  "nats",
  (epoch) => epoch.valLoss,
  (value) => String(Number(value.toPrecision(4))),
)}
${curve(
  runs,
  "Training loss",
  "nats",
  (epoch) => epoch.trainLoss,
  (value) => String(Number(value.toPrecision(4))),
)}
</div></section>
<section aria-labelledby="settings"><h2 id="settings">What they differ in</h2>${
      differing.length === 0
        ? html`<p class="quiet">All their settings are the same.</p>`
        : html`<div class="scroll"><table class="settings"><thead><tr><th scope="col">setting</th>${runs.map(({ folder }) => html`<th scope="col">${folder}</th>`)}</tr></thead><tbody>
${differing.map(
  ([key, ...values]) => html`<tr><th scope="row">${key}</th>${values.map((value) => html`<td>${value}</td>`)}</tr>
`,
)}</tbody></table></div>`
    }<pre>${command}</pre></section>`,
  );
}

const numeric = (column: number): Html | undefined => (NUMBERS.includes(column) ? html` class="number"` : undefined);

function curve(
  runs: readonly RunSummary[],
  title: string,
  unit: string,
  of: (epoch: EpochMetrics) => number,
  format: (value: number) => string,
): Html {
  const series = runs.map(
    ({ folder, epochs }, index): PlotSeries => ({
      name: folder,
      tone: toneOf(index),
      dashed: index >= TONES,
      marks: epochs.length === 1 ? "dots" : "line",
      points: epochs.map((epoch) => ({
        x: epoch.epoch,
        y: of(epoch),
        title: `${folder}, epoch ${epoch.epoch}: ${format(of(epoch))}`,
      })),
    }),
  );
  const ends = runs.map((run) => `${run.folder} ${format(run.epochs.map(of).at(-1) ?? Number.NaN)}`);
  return plot({
    title,
    description: `at the end ${ends.join(", ")}.`,
    series,
    x: { label: "epoch", scale: "linear", format: String },
    y: { label: unit, scale: "linear", format },
  });
}
