// analyze/report: a line chart as inline SVG. One hover strip per abscissa carries all values there, so no script is
// needed.
import { type Html, html } from "./html.ts";

export interface ChartPoint {
  readonly x: number;
  readonly y: number;
}

export interface ChartSeries {
  readonly name: string;
  /** CSS class that colours the line: "train", "validation", "trace" or "rate". */
  readonly tone: "train" | "validation" | "trace" | "rate";
  readonly points: readonly ChartPoint[];
}

export interface Chart {
  readonly title: string;
  /** One sentence with the facts of the chart, for people who do not see it. */
  readonly description: string;
  readonly series: readonly ChartSeries[];
  /** Upper end of the abscissa, which counts epochs from 0. */
  readonly xMax: number;
  /** Of the ticks, and of the values. */
  readonly formatTick: (value: number) => string;
  readonly formatValue: (value: number) => string;
  /** A horizontal line that means something, e.g. chance. */
  readonly reference?: { readonly value: number; readonly name: string };
  readonly height: number;
  readonly wide?: boolean;
}

const MARGIN = { left: 52, right: 52, top: 14, bottom: 34 };

export function lineChart(chart: Chart): Html {
  const width = chart.wide ? 1040 : 500;
  const plotWidth = width - MARGIN.left - MARGIN.right;
  const plotHeight = chart.height - MARGIN.top - MARGIN.bottom;
  const finite = chart.series.flatMap((series) => series.points.map((point) => point.y)).filter(Number.isFinite);
  const yTicks = linearTicks(finite, chart.reference?.value);
  const yHigh = yTicks.at(-1) ?? 1;
  const x = (value: number): number => MARGIN.left + (value / chart.xMax) * plotWidth;
  const y = (value: number): number => MARGIN.top + (1 - value / yHigh) * plotHeight;

  const legend = chart.series.map((series) => html`<li><span class="key ${series.tone}"></span>${series.name}</li>`);
  return html`<figure class="chart${chart.wide ? " wide" : ""}">
<figcaption><h3>${chart.title}</h3><ul class="legend">${legend}</ul></figcaption>
<svg viewBox="0 0 ${width} ${chart.height}" role="img" aria-label="${chart.title}: ${chart.description}">
${yTicks.map((tick) => {
  const at = y(tick).toFixed(1);
  return html`<line class="grid" x1="${MARGIN.left}" x2="${width - MARGIN.right}" y1="${at}" y2="${at}"/>
<text class="tick" x="${MARGIN.left - 9}" y="${at}" dy="0.35em" text-anchor="end">${chart.formatTick(tick)}</text>
`;
})}${epochTicks(chart.xMax).map((tick) => {
  const at = x(tick).toFixed(1);
  const bottom = chart.height - MARGIN.bottom;
  return html`<line class="axis" x1="${at}" x2="${at}" y1="${bottom}" y2="${bottom + 4}"/>
<text class="tick" x="${at}" y="${bottom + 17}" text-anchor="middle">${tick}</text>
`;
})}<text class="tick unit" x="${width - MARGIN.right + 14}" y="${chart.height - MARGIN.bottom + 17}">epoch</text>
${chart.reference && referenceLine(chart.reference, y(chart.reference.value), width)}
${chart.series.map((series) => seriesMarks(series, x, y))}
${endLabels(chart, x, y)}
${hoverStrips(chart, x, plotHeight)}
</svg>
</figure>
`;
}

function referenceLine(reference: { value: number; name: string }, at: number, width: number): Html {
  return html`<line class="reference" x1="${MARGIN.left}" x2="${width - MARGIN.right}" y1="${at.toFixed(1)}" y2="${at.toFixed(1)}"/>
<text class="tick" x="${width - MARGIN.right - 4}" y="${(at - 5).toFixed(1)}" text-anchor="end">${reference.name}</text>`;
}

function seriesMarks(series: ChartSeries, x: (value: number) => number, y: (value: number) => number): Html {
  let path = "";
  let pen = "M";
  for (const point of series.points) {
    // A value that is not a number breaks the line, it is not drawn through.
    if (!Number.isFinite(point.y)) {
      pen = "M";
      continue;
    }
    path += `${pen}${x(point.x).toFixed(1)} ${y(point.y).toFixed(1)}`;
    pen = "L";
  }
  const drawn = series.points.filter((point) => Number.isFinite(point.y));
  const dots =
    (series.tone === "train" || series.tone === "validation") && drawn.length <= 25
      ? drawn.map(
          (point) =>
            html`<circle class="dot ${series.tone}" cx="${x(point.x).toFixed(1)}" cy="${y(point.y).toFixed(1)}" r="2.6"/>`,
        )
      : undefined;
  return html`<path class="line ${series.tone}" d="${path}"/>${dots}`;
}

/** The last value of each series beside its end, pushed apart where they would touch. */
function endLabels(chart: Chart, x: (value: number) => number, y: (value: number) => number): readonly Html[] {
  const lineHeight = 13;
  const labels = chart.series
    .filter((series) => series.tone === "train" || series.tone === "validation")
    .flatMap((series) => {
      const last = series.points.filter((point) => Number.isFinite(point.y)).at(-1);
      return last ? [{ tone: series.tone, x: x(last.x) + 7, y: y(last.y), text: chart.formatValue(last.y) }] : [];
    })
    .sort((a, b) => a.y - b.y);
  labels.forEach((label, index) => {
    const above = labels[index - 1];
    if (above && label.y - above.y < lineHeight) label.y = above.y + lineHeight;
  });
  return labels.map(
    (label) =>
      html`<text class="end ${label.tone}" x="${label.x.toFixed(1)}" y="${label.y.toFixed(1)}" dy="0.35em">${label.text}</text>`,
  );
}

function hoverStrips(chart: Chart, x: (value: number) => number, plotHeight: number): readonly Html[] {
  const named = chart.series.filter((series) => series.tone !== "trace");
  const abscissae = [...new Set(named.flatMap((series) => series.points.map((point) => point.x)))].sort(
    (a, b) => a - b,
  );
  const step = abscissae.length > 1 ? (x(abscissae.at(-1) ?? 0) - x(abscissae[0] ?? 0)) / (abscissae.length - 1) : 40;
  return abscissae.map((abscissa) => {
    const values = named.flatMap((series) => {
      const point = series.points.find((candidate) => candidate.x === abscissa);
      return point ? [`${series.name} ${chart.formatValue(point.y)}`] : [];
    });
    const at = x(abscissa);
    return html`<g class="hover"><line x1="${at.toFixed(1)}" x2="${at.toFixed(1)}" y1="${MARGIN.top}" y2="${MARGIN.top + plotHeight}"/>
<rect x="${(at - step / 2).toFixed(1)}" y="${MARGIN.top}" width="${step.toFixed(1)}" height="${plotHeight}"><title>${[`epoch ${Number(abscissa.toFixed(2))}`, ...values].join("\n")}</title></rect></g>
`;
  });
}

/** Four to seven round values from 0 that cover the data. */
function linearTicks(values: readonly number[], reference = 0): number[] {
  const high = Math.max(reference, ...(values.length > 0 ? values : [1]), 1e-12);
  const magnitude = 10 ** Math.floor(Math.log10(high / 5));
  const step =
    [1, 2, 2.5, 5, 10].map((factor) => factor * magnitude).find((size) => high / size <= 6) ?? 10 * magnitude;
  return Array.from({ length: Math.ceil(high / step - 1e-9) + 1 }, (_, index) =>
    Number((index * step).toPrecision(12)),
  );
}

/** At most eleven whole epochs at a round distance. */
function epochTicks(xMax: number): number[] {
  const step = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500].find((size) => xMax / size <= 10) ?? 1000;
  return Array.from({ length: Math.floor(xMax / step) + 1 }, (_, index) => index * step);
}
