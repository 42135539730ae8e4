// bench: lines over a common abscissa as one SVG file that needs nothing else, for the results that are kept
// (bench/results).

export interface PlotLine {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Plot {
  readonly title: string;
  readonly xName: string;
  readonly yName: string;
  readonly lines: readonly PlotLine[];
}

const size = { width: 460, height: 300, left: 62, right: 16, top: 58, bottom: 46 } as const;
/** Distinct also without colour vision. */
const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"] as const;

/** Round values from 0 that cover `high`, five to ten of them. */
function ticks(high: number): number[] {
  const magnitude = 10 ** Math.floor(Math.log10(high));
  const step = [0.1, 0.2, 0.25, 0.5, 1].map((part) => part * magnitude).find((width) => high / width <= 8) ?? magnitude;
  return Array.from({ length: Math.ceil(high / step - 1e-9) + 1 }, (_, index) => Number((index * step).toPrecision(6)));
}

const escapeXml = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** A rise in proportion to x is a straight line through 0: both axes begin there. */
function panel({ title, xName, yName, lines }: Plot, at: number): string {
  const points = lines.flatMap((line) => line.points);
  const xTicks = ticks(Math.max(...points.map(([x]) => x)));
  const yTicks = ticks(Math.max(...points.map(([, y]) => y)));
  const [xHigh, yHigh] = [xTicks.at(-1) ?? 1, yTicks.at(-1) ?? 1];
  const right = size.width - size.right;
  const bottom = size.height - size.bottom;
  const px = (x: number): string => (size.left + (x / xHigh) * (right - size.left)).toFixed(1);
  const py = (y: number): string => (bottom - (y / yHigh) * (bottom - size.top)).toFixed(1);
  const text = (x: number | string, y: number | string, anchor: string, words: string, more = ""): string =>
    `<text x="${x}" y="${y}" text-anchor="${anchor}"${more}>${escapeXml(words)}</text>`;
  let legendAt = size.left;
  return [
    `<g transform="translate(${at} 0)">`,
    text(size.left, 20, "start", title, ' font-weight="600" font-size="13"'),
    ...yTicks.flatMap((y) => [
      `<line x1="${size.left}" x2="${right}" y1="${py(y)}" y2="${py(y)}" stroke="#ddd"/>`,
      text(size.left - 7, Number(py(y)) + 4, "end", String(y)),
    ]),
    ...xTicks.map((x) => text(px(x), bottom + 17, "middle", String(x))),
    text((size.left + right) / 2, bottom + 36, "middle", xName),
    text(14, 0, "middle", yName, ` transform="translate(0 ${(size.top + bottom) / 2}) rotate(-90 14 0)"`),
    ...lines.flatMap(({ name, points: own }, index) => {
      const colour = colours[index % colours.length];
      const from = legendAt;
      legendAt += 34 + name.length * 6.2;
      return [
        `<line x1="${from}" x2="${from + 16}" y1="38" y2="38" stroke="${colour}" stroke-width="2.5"/>`,
        text(from + 21, 42, "start", name),
        `<polyline fill="none" stroke="${colour}" stroke-width="2" ` +
          `points="${own.map(([x, y]) => `${px(x)},${py(y)}`).join(" ")}"/>`,
        ...own.map(
          ([x, y]) =>
            `<circle cx="${px(x)}" cy="${py(y)}" r="3" ` +
            `fill="${colour}"><title>${escapeXml(`${name}: ${x}, ${y}`)}</title></circle>`,
        ),
      ];
    }),
    "</g>",
  ].join("\n");
}

/** Panels side by side. */
export function plotSvg(plots: readonly Plot[]): string {
  const width = plots.length * size.width;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${size.height}" width="${width}" height="${size.height}" font-family="system-ui, sans-serif" font-size="11" fill="#222" role="img">
<title>${escapeXml(plots.map(({ title }) => title).join("; "))}</title>
<rect width="100%" height="100%" fill="#fff"/>
${plots.map((plot, index) => panel(plot, index * size.width)).join("\n")}
</svg>
`;
}
