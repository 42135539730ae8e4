// analyze/report: a matrix as coloured squares, with its scale. Viridis, whose lightness rises evenly, so that it reads
// without colour vision and on paper.
import { type Html, html } from "./html.ts";

export interface HeatMapCell {
  readonly column: number;
  readonly row: number;
  readonly value: number;
  /** What it is, for the hover and for people who do not see it. */
  readonly title: string;
}

export interface HeatMap {
  readonly title: string;
  /** One sentence with the facts, for people who do not see it. */
  readonly description: string;
  readonly columns: readonly string[];
  readonly rows: readonly string[];
  readonly cells: readonly HeatMapCell[];
  /** Columns in a frame, as the figure frames transitions and classifier. */
  readonly framed?: readonly number[];
  readonly xLabel: string;
  readonly yLabel: string;
  /** What the darkest and the lightest colour mean. */
  readonly low: number;
  readonly high: number;
}

const STOPS = [
  [68, 1, 84],
  [65, 68, 135],
  [42, 120, 142],
  [34, 168, 132],
  [122, 209, 81],
  [253, 231, 37],
] as const;
const LEFT = 30;
const TOP = 6;
const SIDE = 420;

/** rgb() of a share in 0…1. */
export function heatColour(share: number): string {
  const at = Math.min(1, Math.max(0, share)) * (STOPS.length - 1);
  const from = Math.min(STOPS.length - 2, Math.floor(at));
  const mixed = [0, 1, 2].map((channel) => {
    const [low, high] = [STOPS[from]?.[channel] ?? 0, STOPS[from + 1]?.[channel] ?? 0];
    return Math.round(low + (high - low) * (at - from));
  });
  return `rgb(${mixed.join(" ")})`;
}

export function heatMap(map: HeatMap): Html {
  const unit = SIDE / Math.max(map.columns.length, map.rows.length);
  const [width, height] = [map.columns.length * unit, map.rows.length * unit];
  const gap = unit > 8 ? 1 : 0.3;
  const share = (value: number): number => (map.high > map.low ? (value - map.low) / (map.high - map.low) : 0);
  const every = (count: number): number => [1, 2, 5, 10, 20, 50].find((step) => step * unit >= 15) ?? count;
  const ticks = (labels: readonly string[]): readonly number[] =>
    labels.flatMap((label, at) => (label !== "" && at % every(labels.length) === 0 ? [at] : []));
  const named = map.columns.flatMap((label, at) => (/^\d/.test(label) ? [] : [at]));
  return html`<figure class="heat">
<figcaption><h3>${map.title}</h3></figcaption>
<svg viewBox="0 0 ${LEFT + SIDE + 8} ${(TOP + height + 40).toFixed(1)}" role="img" aria-label="${map.title}: ${map.description}">
${map.cells.map(
  ({ column, row, value, title }) =>
    html`<rect x="${(LEFT + column * unit).toFixed(2)}" y="${(TOP + row * unit).toFixed(2)}" width="${(unit - gap).toFixed(2)}" height="${(unit - gap).toFixed(2)}" fill="${heatColour(share(value))}"><title>${title}</title></rect>
`,
)}${(map.framed ?? []).map((column) => {
  const rows = map.cells.filter((cell) => cell.column === column).map(({ row }) => row);
  const [first, last] = [Math.min(...rows), Math.max(...rows)];
  return html`<rect class="frame" x="${(LEFT + column * unit - 1).toFixed(2)}" y="${(TOP + first * unit - 1).toFixed(2)}" width="${(unit - gap + 2).toFixed(2)}" height="${((last - first + 1) * unit - gap + 2).toFixed(2)}"/>
`;
})}${ticks(map.rows).map(
  (at) =>
    html`<text class="tick" x="${LEFT - 6}" y="${(TOP + (at + 0.5) * unit).toFixed(1)}" dy="0.35em" text-anchor="end">${map.rows[at]}</text>
`,
)}${[
  ...new Set([
    ...ticks(map.columns).filter((at) => !named.includes(at) && (unit > 22 || !named.includes(at + 1))),
    ...named,
  ]),
].map(
  (at) =>
    html`<text class="tick" x="${(LEFT + (at + 0.5) * unit).toFixed(1)}" y="${(TOP + height + 14).toFixed(1)}" text-anchor="middle">${map.columns[at]}</text>
`,
)}<text class="tick unit" x="${(LEFT + width / 2).toFixed(1)}" y="${(TOP + height + 32).toFixed(1)}" text-anchor="middle">${map.xLabel}</text>
<text class="tick unit" transform="translate(9 ${(TOP + height / 2).toFixed(1)}) rotate(-90)" text-anchor="middle">${map.yLabel}</text>
</svg>
</figure>
`;
}

/** The scale of heat maps: a bar of the colours with the values at its ends and in its middle. */
export function heatScale(low: number, high: number, what: string, format: (value: number) => string): Html {
  const steps = 48;
  const width = 260;
  const bars = Array.from({ length: steps }, (_, at) => {
    const x = ((at * width) / steps).toFixed(2);
    return html`<rect x="${x}" y="0" width="${(width / steps + 0.4).toFixed(2)}" height="12" fill="${heatColour(at / (steps - 1))}"/>`;
  });
  const ends = [
    [0, "start"],
    [width / 2, "middle"],
    [width, "end"],
  ] as const;
  return html`<figure class="heat-scale"><figcaption>${what}</figcaption><svg viewBox="0 0 ${width} 30" width="${width}" height="30" role="img" aria-label="Colours from ${format(low)}, dark, to ${format(high)}, light">${bars}${ends.map(
    ([x, anchor]) =>
      html`<text class="tick" x="${x}" y="26" text-anchor="${anchor}">${format(low + ((high - low) * x) / width)}</text>`,
  )}</svg></figure>
`;
}
