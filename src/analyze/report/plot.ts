// analyze/report: points and lines over two axes, each linear or logarithmic, as inline SVG. A point's hover says what
// it is, so no script is needed.
import { type Html, html } from "./html.ts";

export interface PlotPoint {
  readonly x: number;
  readonly y: number;
  /** For the hover; without it the coordinates. */
  readonly title?: string;
  /** Written beside the point. */
  readonly label?: string;
}

/** The page's colours; a seventh series begins again. */
export type PlotTone = 0 | 1 | 2 | 3 | 4 | 5;
export const toneOf = (index: number): PlotTone => (index % 6) as PlotTone;

export interface PlotSeries {
  readonly name: string;
  readonly tone: PlotTone;
  readonly marks: "line" | "dots" | "both";
  readonly dashed?: boolean;
  readonly points: readonly PlotPoint[];
}

export interface PlotAxis {
  readonly label: string;
  readonly scale: "linear" | "log";
  readonly format: (value: number) => string;
  /** Linear axes begin at 0 unless this says otherwise. */
  readonly low?: number;
}

export interface Plot {
  readonly title: string;
  /** One sentence with the facts, for people who do not see it. */
  readonly description: string;
  readonly series: readonly PlotSeries[];
  readonly x: PlotAxis;
  readonly y: PlotAxis;
  readonly wide?: boolean;
}

const MARGIN = { left: 62, right: 18, top: 14, bottom: 44 };
const HEIGHT = 320;

interface Scale {
  readonly ticks: readonly number[];
  /** 0…1 of a value. */
  place(value: number): number;
}

export function plot({ title, description, series, x, y, wide }: Plot): Html {
  const width = wide ? 1040 : 500;
  const drawable = (point: PlotPoint): boolean =>
    Number.isFinite(point.x) &&
    Number.isFinite(point.y) &&
    (x.scale === "linear" || point.x > 0) &&
    (y.scale === "linear" || point.y > 0);
  const all = series.flatMap(({ points }) => points.filter(drawable));
  const xScale = scaleOf(
    x,
    all.map((point) => point.x),
  );
  const yScale = scaleOf(
    y,
    all.map((point) => point.y),
  );
  const [right, bottom] = [width - MARGIN.right, HEIGHT - MARGIN.bottom];
  const placeX = (value: number): string => (MARGIN.left + xScale.place(value) * (right - MARGIN.left)).toFixed(1);
  const placeY = (value: number): string => (bottom - yScale.place(value) * (bottom - MARGIN.top)).toFixed(1);
  const legend = series.map(
    ({ name, tone, dashed, marks }) =>
      html`<li><span class="key tone${tone}${dashed ? " dashed" : ""}${marks === "dots" ? " round" : ""}"></span>${name}</li>`,
  );
  return html`<figure class="chart plot${wide ? " wide" : ""}">
<figcaption><h3>${title}</h3><ul class="legend">${legend}</ul></figcaption>
<svg viewBox="0 0 ${width} ${HEIGHT}" role="img" aria-label="${title}: ${description}">
${yScale.ticks.map(
  (tick) =>
    html`<line class="grid" x1="${MARGIN.left}" x2="${right}" y1="${placeY(tick)}" y2="${placeY(tick)}"/>
<text class="tick" x="${MARGIN.left - 8}" y="${placeY(tick)}" dy="0.35em" text-anchor="end">${y.format(tick)}</text>
`,
)}${xScale.ticks.map(
  (tick) =>
    html`<line class="axis" x1="${placeX(tick)}" x2="${placeX(tick)}" y1="${bottom}" y2="${bottom + 4}"/>
<text class="tick" x="${placeX(tick)}" y="${bottom + 17}" text-anchor="middle">${x.format(tick)}</text>
`,
)}<text class="tick unit" x="${(MARGIN.left + right) / 2}" y="${HEIGHT - 6}" text-anchor="middle">${x.label}</text>
<text class="tick unit" transform="translate(12 ${(MARGIN.top + bottom) / 2}) rotate(-90)" text-anchor="middle">${y.label}</text>
${series.map(({ name, tone, marks, dashed, points }) => {
  const seen = points.filter(drawable);
  const path = seen.map((point, at) => `${at === 0 ? "M" : "L"}${placeX(point.x)} ${placeY(point.y)}`).join("");
  const line =
    marks === "dots" ? undefined : html`<path class="line tone${tone}${dashed ? " dashed" : ""}" d="${path}"/>`;
  const dots = seen.map((point) => {
    const hover = point.title ?? `${name}: ${x.format(point.x)}, ${y.format(point.y)}`;
    const radius = marks === "line" ? 5 : 3.4;
    const label =
      point.label === undefined
        ? undefined
        : html`<text class="tick" x="${(Number(placeX(point.x)) + 7).toFixed(1)}" y="${placeY(point.y)}" dy="0.35em">${point.label}</text>`;
    return html`<circle class="dot tone${tone}${marks === "line" ? " unseen" : ""}" cx="${placeX(point.x)}" cy="${placeY(point.y)}" r="${radius}"><title>${hover}</title></circle>${label}`;
  });
  return html`${line}${dots}
`;
})}</svg>
</figure>
`;
}

function scaleOf({ scale, low: given }: PlotAxis, values: readonly number[]): Scale {
  if (values.length === 0) return { ticks: [], place: () => 0 };
  const [least, most] = [Math.min(...values), Math.max(...values)];
  if (scale === "log") {
    const [low, high] = [Math.log10(least), Math.log10(most)];
    const pad = Math.max(0.05, 0.04 * (high - low));
    const place = (value: number): number => (Math.log10(value) - low + pad) / (high - low + 2 * pad);
    return { ticks: logTicks(low - pad, high + pad), place };
  }
  const from = given ?? Math.min(0, least);
  const size = (most - from || 1) / 5;
  const magnitude = 10 ** Math.floor(Math.log10(size));
  const step = ([1, 2, 2.5, 5, 10].find((factor) => factor * magnitude >= size) ?? 10) * magnitude;
  const first = Math.floor(from / step + 1e-9) * step;
  const count = Math.max(1, Math.ceil((most - first) / step - 1e-9));
  const ticks = Array.from({ length: count + 1 }, (_, at) => Number((first + at * step).toPrecision(10)));
  return { ticks, place: (value) => (value - first) / (count * step) };
}

/** 0.002 → "2·10⁻³". */
export function powerOfTen(value: number): string {
  const [factor = "", power = ""] = value.toExponential(0).split("e");
  const raised = power.replace("+", "").replace(/./g, (sign) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(sign)] ?? "⁻");
  return `${factor === "1" ? "" : `${factor}·`}10${raised}`;
}

/** Powers of ten, every second or third of them where there are many; with 2 and 5 between them where there are few. */
function logTicks(low: number, high: number): number[] {
  const factors = high - low < 2.2 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil((high - low) / 7));
  const ticks: number[] = [];
  for (let power = Math.floor(low); power <= high; power++) {
    if (power % every !== 0) continue;
    for (const factor of factors) {
      const at = power + Math.log10(factor);
      if (at >= low && at <= high) ticks.push(Number((factor * 10 ** power).toPrecision(3)));
    }
  }
  return ticks;
}
