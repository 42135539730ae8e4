// analyze: the report of a run as one HTML file that needs nothing else: no script, no network, light and dark,
// printable.
import { classErrors, meanClassError } from "./classErrors.ts";
import { formatBytes, formatDuration, formatInteger, formatPercent, wilsonInterval } from "./format.ts";
import { type ChartPoint, lineChart } from "./report/chart.ts";
import { everyClass } from "./report/classes.ts";
import { confusedPairs, confusionMatrix, hardestClasses } from "./report/confusion.ts";
import type { ReportConfusion, ReportData, ReportImage } from "./report/data.ts";
import { type Html, html } from "./report/html.ts";
import { networkDrawing } from "./report/network.ts";
import { page } from "./report/page.ts";
import { factsTable, imageGrid, layerTables, settingsTable } from "./report/sections.ts";
import { trustSection } from "./report/trust.ts";

/** More points than this of a step curve cannot be told apart on the page; they are averaged in groups. */
const MAX_TRACE_POINTS = 400;

const STATES = {
  running: "Training is running; this page is rewritten after each epoch",
  finished: "Training finished",
  interrupted: "Training was interrupted and can be resumed",
  diverged: "Training stopped because the loss was no longer a finite number",
  failed: "Training failed",
} as const;

/** One self-contained HTML document. Every value of `data` is escaped. */
export function renderReport(data: ReportData): string {
  return page(
    `${data.title} · training report`,
    "",
    html`<header>
<p class="state ${data.state}">${STATES[data.state]}${data.reason === undefined ? "" : `: ${data.reason}`}</p>
<h1>${data.title}</h1>
${lede(data)}
${data.notes === "" ? undefined : html`<p class="lede notes">${data.notes}</p>`}
${headline(data)}
${networkDrawing(data.summary)}
</header>
${curves(data)}
${mistakes(data)}
${data.evaluation && trustSection(data.evaluation, data.data.classes)}
${images(data.images)}
<section aria-labelledby="run"><h2 id="run">How it was run</h2>
<div class="columns">${settingsTable(data.config)}<div>${factsTable(data.environment)}<pre>${data.command}</pre></div></div></section>
<section aria-labelledby="layers"><h2 id="layers">The network, stage by stage</h2>${layerTables(data.summary)}</section>
<footer>${data.data.citation === undefined ? "" : `Images: ${data.data.citation} `}Network: ${data.summary.citation}.</footer>`,
  );
}

function lede(data: ReportData): Html {
  const { name, trainCount, validationCount, classes } = data.data;
  return html`<p class="lede">A ${data.summary.description} with <b>${formatInteger(data.summary.params)} parameters</b> and ${data.summary.depth} layers, trained on ${formatInteger(trainCount)} images of ${classes.length} classes (${name}) and measured on ${formatInteger(validationCount)} others. Started ${data.startedAt}.</p>`;
}

function headline(data: ReportData): Html {
  const last = data.epochs.at(-1);
  const best = data.epochs.reduce<typeof last>(
    (lowest, epoch) => (lowest === undefined || epoch.valTop1Error < lowest.valTop1Error ? epoch : lowest),
    undefined,
  );
  if (last === undefined || best === undefined) return html`<p class="lede">No epoch has finished yet.</p>`;
  const [low, high] = wilsonInterval(last.valTop1Error / 100, data.data.validationCount);
  // Zero where a resumed run had only the validation of an epoch to do.
  const speed = data.epochs.findLast((epoch) => epoch.imagesPerSecond > 0)?.imagesPerSecond;
  const classes = data.data.classes.length;
  const { constant } = data.data;
  const bestNote =
    best.epoch === last.epoch
      ? "its lowest so far"
      : `lowest ${formatPercent(best.valTop1Error)} after epoch ${best.epoch}`;
  return html`<dl class="figures">
<div><dt>Validation error after epoch ${last.epoch}</dt><dd>${formatPercent(last.valTop1Error)}<small>95 % interval ${(100 * low).toFixed(1)}–${formatPercent(100 * high)}, ${bestNote}; always naming “${constant.name}” gives ${formatPercent(constant.error)}</small></dd></div>
${classes > 5 ? html`<div><dt>Top-5 error</dt><dd>${formatPercent(last.valTop5Error)}<small>the label is not among the five first</small></dd></div>` : undefined}
<div><dt>Validation loss</dt><dd>${last.valLoss.toFixed(3)}<small>nats; ${Math.log(classes).toFixed(3)} where all classes are given the same chance</small></dd></div>
<div><dt>Speed</dt><dd>${speed === undefined ? "–" : formatInteger(speed)}<small>images per second while training</small></dd></div>
<div><dt>Time</dt><dd>${formatDuration(data.elapsedSeconds)}<small>${data.epochs.length} of ${data.epochsPlanned} epochs, ${formatBytes(data.peakBytes)} of memory</small></dd></div>
</dl>`;
}

function curves(data: ReportData): Html {
  const { epochs } = data;
  const last = epochs.at(-1);
  if (last === undefined) return html``;
  const points = (of: (epoch: (typeof epochs)[number]) => number): ChartPoint[] =>
    epochs.map((epoch) => ({ x: epoch.epoch, y: of(epoch) }));
  const xMax = data.state === "running" ? Math.max(last.epoch, data.epochsPlanned) : last.epoch;
  const rates = thinned(data.steps.map((step) => ({ x: step.epoch, y: step.learningRate })));
  const rateFormat = (value: number): string => String(Number(value.toPrecision(2)));
  return html`<section aria-labelledby="curves"><h2 id="curves">Learning</h2>
<div class="charts">
${lineChart({
  title: "Error",
  description:
    `validation error ends at ${formatPercent(last.valTop1Error)}, training error at ` +
    `${formatPercent(last.trainTop1Error)}.`,
  series: [
    { name: "training", tone: "train", points: points((epoch) => epoch.trainTop1Error) },
    { name: "validation", tone: "validation", points: points((epoch) => epoch.valTop1Error) },
  ],
  xMax,
  formatTick: (value) => `${value} %`,
  formatValue: (value) => formatPercent(value),
  reference: { value: data.data.constant.error, name: `always ${data.data.constant.name}` },
  height: 300,
})}
${lineChart({
  title: "Loss",
  description:
    `cross-entropy in nats; validation ends at ${last.valLoss.toFixed(3)}, training at ` +
    `${last.trainLoss.toFixed(3)}.`,
  series: [
    {
      name: "each update",
      tone: "trace",
      points: thinned(data.steps.map((step) => ({ x: step.epoch, y: step.loss }))),
    },
    { name: "training", tone: "train", points: points((epoch) => epoch.trainLoss) },
    { name: "validation", tone: "validation", points: points((epoch) => epoch.valLoss) },
  ],
  xMax,
  formatTick: String,
  formatValue: (value) => value.toFixed(3),
  height: 300,
})}
${lineChart({
  title: "Learning rate",
  description: `ends at ${rateFormat(last.learningRate)}.`,
  series: [
    {
      name: "of each update",
      tone: "rate",
      points: rates.length > 0 ? rates : points((epoch) => epoch.learningRate),
    },
  ],
  xMax,
  formatTick: String,
  formatValue: rateFormat,
  height: 150,
  wide: true,
})}
</div></section>`;
}

function mistakes(data: ReportData): Html {
  const { evaluation } = data;
  if (evaluation === undefined) return html``;
  return html`<section aria-labelledby="mistakes"><h2 id="mistakes">What is taken for what</h2>
<p class="quiet">${evaluation.caption}: top-1 error ${formatPercent(evaluation.top1Error, 2)}, top-5 error ${formatPercent(evaluation.top5Error, 2)}, loss ${evaluation.loss.toFixed(4)}; with every class weighing the same, top-1 error ${formatPercent(meanClassError(classErrors(evaluation.confusion)), 2)}.</p>
<div class="mistakes"><div>${confusionMatrix(evaluation.confusion, data.data.classes)}</div><div><h3>Most confused</h3>${confusedPairs(evaluation.confusion, data.data.classes)}<h3>Hardest classes</h3>${hardestClasses(evaluation.confusion, data.data.classes)}</div></div>
${confusions(data.confusions)}${everyClass(evaluation.confusion, data.data.classes)}</section>`;
}

/** Images of the cells with the most mistakes, one click away. */
function confusions(cells: readonly ReportConfusion[]): Html {
  if (cells.length === 0) return html``;
  return html`<details class="cells"><summary>Images of the most confused pairs</summary>
${cells.map(
  ({ label, prediction, count, images: shown }) =>
    html`<div class="group"><h3>${label} taken for ${prediction}: ${formatInteger(count)} ${count === 1 ? "image" : "images"}</h3>${imageGrid(shown)}</div>`,
)}</details>`;
}

function images(all: readonly ReportImage[]): Html {
  const groups = [
    {
      name: "Wrong, the surest first",
      of: all.filter((image) => image.label !== undefined && image.label !== image.prediction),
    },
    { name: "Right", of: all.filter((image) => image.label !== undefined && image.label === image.prediction) },
    { name: "Of unknown class", of: all.filter((image) => image.label === undefined) },
  ].filter((group) => group.of.length > 0);
  if (groups.length === 0) return html``;
  return html`<section aria-labelledby="images"><h2 id="images">Images it had not seen</h2>
<p class="quiet">Each with the network's answer and how sure it is.${all.some(({ evidenceUri }) => evidenceUri !== undefined) ? " Below it in colour where the evidence for the answer lies: its class activation map, whose positions add up to the logit." : ""}</p>
${groups.map((group) => html`<div class="group"><h3>${group.name}</h3>${imageGrid(group.of)}</div>`)}</section>`;
}

/** At most MAX_TRACE_POINTS points, each the mean of a run of neighbours. */
function thinned(points: readonly ChartPoint[]): ChartPoint[] {
  const group = Math.ceil(points.length / MAX_TRACE_POINTS);
  if (group <= 1) return [...points];
  return Array.from({ length: Math.ceil(points.length / group) }, (_, index) => {
    const members = points.slice(index * group, (index + 1) * group);
    const mean = members.reduce((total, point) => total + point.y, 0) / members.length;
    return { x: members.at(-1)?.x ?? 0, y: mean };
  });
}
