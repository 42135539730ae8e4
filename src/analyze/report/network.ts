// analyze/report: the network as the paper's figure 1 draws it: layers in a row, an arc for every connection of a dense block.
import { formatInteger } from "../format.ts";
import type { Summary } from "../summary.ts";
import { type Html, html, raw } from "./html.ts";

const WIDTH = 1040;
const HEIGHT = 150;
const BASELINE = 118;
/** Free space between two blocks, where the transition stands. */
const GAP = 46;

/** Block ℓ shows its input and its layers as ticks, and L(L+1)/2 arcs between them. */
export function networkDrawing(summary: Summary): Html {
  const blocks = summary.spec.blockConfig;
  const steps = blocks.reduce((total, layers) => total + layers, 0);
  const unit = (WIDTH - 40 - GAP * (blocks.length - 1)) / steps;
  let left = 20;
  const drawn = blocks.map((layers, index) => {
    const start = left;
    left += layers * unit + GAP;
    let arcs = "";
    let ticks = "";
    for (let to = 0; to <= layers; to++) {
      const x = start + to * unit;
      ticks += `M${x.toFixed(1)} ${BASELINE - 5}v10`;
      for (let from = 0; from < to; from++) {
        const reach = (to - from) * unit;
        const rise = Math.min(BASELINE - 8, 10 + 0.42 * reach ** 0.92);
        const low = start + from * unit;
        // A cubic's top lies at 3/4 of its control points' height.
        const control = (BASELINE - 6 - rise / 0.75).toFixed(1);
        arcs += `M${low.toFixed(1)} ${BASELINE - 6}C${low.toFixed(1)} ${control} ${x.toFixed(1)} ${control} ${x.toFixed(1)} ${BASELINE - 6}`;
      }
    }
    const end = start + layers * unit;
    const transition =
      index < blocks.length - 1
        ? html`<path class="transition" d="M${(end + 9).toFixed(1)} ${BASELINE}h${GAP - 18}m-5 -4l5 4l-5 4"/>`
        : undefined;
    return html`<g><title>Dense block ${index + 1}: ${layers} layers, ${formatInteger((layers * (layers + 1)) / 2)} connections</title>
<path class="arcs" style="--density:${Math.min(0.6, 4.2 / layers).toFixed(2)}" d="${raw(arcs)}"/><path class="ticks" d="${raw(ticks)}"/>
<text class="tick" x="${((start + end) / 2).toFixed(1)}" y="${HEIGHT - 8}" text-anchor="middle">block ${index + 1} · ${layers} layers</text></g>${transition}
`;
  });
  return html`<svg class="network" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Dense blocks of ${blocks.join(", ")} layers; every layer is connected to all before it in its block, ${formatInteger(summary.connections)} connections in all.">
${drawn}</svg>
`;
}
