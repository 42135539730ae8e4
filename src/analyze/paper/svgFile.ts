// analyze/paper: a figure of the page as an SVG file of its own, for pages that show it as an image: colours and fonts
// come with it, a legend is drawn in it, and it follows the reader's light or dark mode.
import { analysisStyle } from "../report/analysisPage.ts";
import { type Html, html, raw } from "../report/html.ts";
import type { PlotSeries } from "../report/plot.ts";
import { reportStyle } from "../report/style.ts";
import { drawingStyle } from "./page.ts";

const LINE = 20;

/**
 * `figure`: markup with one svg element that says its viewBox. `legend`: of a plot, whose page has it beside the svg.
 */
export function svgFile(figure: Html, legend: readonly PlotSeries[] = []): string {
  const [svg = ""] = /<svg[\s\S]*<\/svg>/.exec(figure.markup) ?? [];
  const [, width = "", height = ""] = /viewBox="0 0 ([\d.]+) ([\d.]+)"/.exec(svg) ?? [];
  const top = legend.length * LINE + (legend.length > 0 ? 8 : 0);
  const style = colours(reportStyle) + rules(reportStyle + analysisStyle + drawingStyle);
  const all = Number(height) + top;
  const keys = legend.map(({ name, tone, dashed, marks }, index) => {
    const y = 12 + index * LINE;
    const mark =
      marks === "dots"
        ? html`<circle class="dot tone${tone}" cx="18" cy="${y}" r="4"/>`
        : html`<path class="line tone${tone}${dashed ? " dashed" : ""}" d="M6 ${y}h24"/>`;
    return html`${mark}<text class="tick" x="38" y="${y}" dy="0.35em">${name}</text>
`;
  });
  return html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${all}" width="${width}" height="${all}">
<style>${raw(style)}</style>
<rect width="100%" height="100%" class="ground"/>
${keys}${raw(svg.replace("<svg", `<svg y="${top}" width="${width}" height="${height}"`))}
</svg>
`.markup;
}

/** The custom properties, light and dark. */
function colours(style: string): string {
  const root = /:root\{[\s\S]*?\}\n@media \(prefers-color-scheme:dark\)\{:root\{[\s\S]*?\}\}/.exec(style);
  return `${root?.[0] ?? ""}\n`;
}

/** Of a style sheet, the lines that figures use; what stands within a media query is for the page's layout. */
function rules(style: string): string {
  const own = 'text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}.ground{fill:var(--paper)}\n';
  const isWhole = (line: string): boolean => line.split("{").length === line.split("}").length;
  const used = style.split("\n").filter((line) => isWhole(line) && USED.test(line));
  return own + used.join("\n");
}

const USED =
  /^(:root\{--tone|@media \(prefers-color-scheme:dark\)\{:root\{--tone|\.(line|dot|grid|tick|wire|slab|module|block|flow)\b)/;
