// analyze/report: the network as the paper's figure 1 draws it: layers in a row, an arc for every connection of a
// block.
import { connectionsIn } from "../../networks/registry.ts";
import { formatInteger } from "../format.ts";
import type { Summary } from "../summary.ts";
import { type Html, html, raw } from "./html.ts";

const WIDTH = 1040;
const HEIGHT = 150;
const BASELINE = 118;
/** Free space between two blocks, where the transition stands. */
const GAP = 46;

/** Each block shows its input and its layers as ticks, and an arc from everything that a layer reads. */
export function networkDrawing({ blocks, connections, wiring }: Summary): Html {
  const steps = blocks.reduce((total, { layers }) => total + layers, 0);
  const unit = (WIDTH - 40 - GAP * (blocks.length - 1)) / steps;
  let left = 20;
  const drawn = blocks.map((block, index) => {
    const { layers, reach, title } = block;
    const start = left;
    left += layers * unit + GAP;
    let arcs = "";
    let ticks = "";
    for (let to = 0; to <= layers; to++) {
      const x = start + to * unit;
      ticks += `M${x.toFixed(1)} ${BASELINE - 5}v10`;
      for (let from = Math.max(0, to - reach); from < to; from++) {
        const span = (to - from) * unit;
        const rise = Math.min(BASELINE - 8, 10 + 0.42 * span ** 0.92);
        const low = start + from * unit;
        // A cubic's top lies at 3/4 of its control points' height.
        const control = (BASELINE - 6 - rise / 0.75).toFixed(1);
        arcs +=
          `M${low.toFixed(1)} ${BASELINE - 6}C${low.toFixed(1)} ${control} ${x.toFixed(1)} ${control} ` +
          `${x.toFixed(1)} ${BASELINE - 6}`;
      }
    }
    const end = start + layers * unit;
    const transition =
      index < blocks.length - 1
        ? html`<path class="transition" d="M${(end + 9).toFixed(1)} ${BASELINE}h${GAP - 18}m-5 -4l5 4l-5 4"/>`
        : undefined;
    return html`<g><title>${title}: ${layers} layers, ${formatInteger(connectionsIn(block))} connections</title>
<path class="arcs" style="--density:${Math.min(0.6, 4.2 / layers).toFixed(2)}" d="${raw(arcs)}"/><path class="ticks" d="${raw(ticks)}"/>
<text class="tick" x="${((start + end) / 2).toFixed(1)}" y="${HEIGHT - 8}" text-anchor="middle">block ${index + 1} · ${layers} layers</text></g>${transition}
`;
  });
  const counts = blocks.map(({ layers }) => layers).join(", ");
  return html`<svg class="network" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Blocks of ${counts} layers; ${wiring}, ${formatInteger(connections)} connections in all.">
${drawn}</svg>
`;
}
