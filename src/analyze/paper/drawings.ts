// analyze/paper: figures 1 and 2, drawn from a network's spec: a dense block with all its connections, and a network of
// several blocks from image to answer.
import { type Anatomy, anatomyOf, architecture, connectionsIn, type NetworkSpec } from "../../networks/registry.ts";
import { formatInteger } from "../format.ts";
import { type Html, html, raw } from "../report/html.ts";

/** Colours there are for sources of maps. */
const TONES = 6;
const WIDTH = 500;

const fixed = (value: number): string => value.toFixed(1);

/**
 * Figure 1: the first dense block of `spec`. Each layer's maps are slabs of one colour; an arc of that colour leads to
 * everything that reads them, and the transition or classifier behind the block reads them all.
 */
export function denseBlockDrawing(spec: NetworkSpec): Html {
  const { readers } = anatomyOf(spec);
  const inBlock = readers.filter(({ block }) => block === 0);
  const layers = inBlock.filter(({ kind }) => kind === "layer");
  const last = inBlock.find(({ kind }) => kind !== "layer");
  const channels = (last?.sources ?? []).map((source) => source.channels);
  const step = (WIDTH - 74) / (channels.length - 1 || 1);
  const [baseline, slab, gap] = [206, 44, 4];
  const left = (source: number): number => 14 + source * step;
  /** Where arcs leave the maps of a source, and where they enter what reads. */
  const outOf = (source: number): number => left(source) + (Math.min(channels[source] ?? 0, 6) * gap) / 2 + 4;
  const into = (index: number): number => (index <= layers.length ? left(index) - step / 2 + 12 : WIDTH - 16);
  const top = baseline - slab - 8;
  const arcs = inBlock.flatMap(({ index, sources }) =>
    sources.map((source) => {
      const [from, to] = [outOf(source.index), into(index)];
      const rise = 12 + 0.36 * (to - from);
      const path = `M${fixed(from)} ${fixed(top)}C${fixed(from)} ${fixed(top - rise)} ${fixed(to)} ${fixed(top - rise)} ${fixed(to)} ${fixed(top + 10)}`;
      return html`<path class="wire ink${source.index % TONES}" d="${raw(path)}"><title>x${source.index} is read by ${nameOf(index, layers.length)}</title></path>`;
    }),
  );
  const slabs = channels.map((count, source) => {
    const shown = Math.min(count, 6);
    const planes = Array.from({ length: shown }, (_, at) => {
      const x = left(source) + at * gap;
      return html`<path class="slab fill${source % TONES}" d="${raw(`M${fixed(x)} ${baseline}v${-slab}l8 -8v${slab}z`)}"/>`;
    });
    return html`<g><title>x${source}: ${count} feature maps</title>${planes}<text class="tick" x="${fixed(left(source) + 8)}" y="${baseline + 20}">x<tspan class="sub" dy="4">${source}</tspan></text></g>
`;
  });
  const boxes = inBlock.map(({ index, kind }) => {
    const x = into(index);
    const isLayer = kind === "layer";
    return html`<g><rect class="module" x="${fixed(x - 13)}" y="${top + 10}" width="26" height="${slab}" rx="3"/><text class="tick strong" x="${fixed(x)}" y="${top + 10 + slab / 2}" dy="0.35em" text-anchor="middle">${isLayer ? html`H<tspan class="sub" dy="3">${index}</tspan>` : kind === "transition" ? "T" : "C"}</text></g>
`;
  });
  const connections = layers.reduce((sum, { sources }) => sum + sources.length, 0);
  const growth = channels[1] ?? 0;
  return html`<svg viewBox="0 0 ${WIDTH} 236" role="img" aria-label="A dense block of ${layers.length} layers that make ${growth} feature maps each: ${connections} connections between the layers, and all maps lead to what is behind the block.">
${arcs}${slabs}${boxes}</svg>
`;
}

function nameOf(index: number, layers: number): string {
  return index <= layers ? `H${index}` : "what is behind the block";
}

/** Figure 2: the whole network from top to bottom, a row for each dense block, with the sizes of what passes. */
export function networkFlow(spec: NetworkSpec, side: number): Html {
  const { blocks, layers } = architecture(spec, { height: side, width: side });
  const { readers } = anatomyOf(spec);
  const [box, blockHeight, rowHeight, space] = [258, 92, 32, 16];
  const middle = box / 2;
  let y = 4;
  const rows: Html[] = [];
  const text = (x: number, at: number, words: string, kind = "tick"): Html =>
    html`<text class="${kind}" x="${x}" y="${fixed(at)}" dy="0.35em">${words}</text>`;
  const plain = (words: string, beside: string): void => {
    rows.push(html`<rect class="module" x="1" y="${y}" width="${box - 2}" height="${rowHeight}" rx="4"/><text class="tick strong" x="${middle}" y="${y + rowHeight / 2}" dy="0.35em" text-anchor="middle">${words}</text>${text(box + 14, y + rowHeight / 2, beside)}
`);
    y += rowHeight;
  };
  const arrow = (): void => {
    rows.push(html`<path class="flow" d="${raw(`M${middle} ${y + 1}v${space - 4}m-4 -4l4 4l4 -4`)}"/>`);
    y += space;
  };
  const sizeOf = (path: string): string => {
    const found = layers.find((layer) => layer.path.startsWith(path));
    return found === undefined ? "" : `${found.outChannels} maps of ${found.height}×${found.width}`;
  };
  plain("input image", `${spec.inChannels} channels, ${side}×${side}`);
  arrow();
  plain("convolution", sizeOf("features.conv0"));
  for (const [index, block] of blocks.entries()) {
    arrow();
    rows.push(html`<rect class="block" x="1" y="${y}" width="${box - 2}" height="${blockHeight}" rx="6"/>
${blockArcs(readers, index, { x: 16, y: y + blockHeight - 26, width: box - 32, height: blockHeight - 36 })}
<text class="tick strong" x="${middle}" y="${y + blockHeight - 11}" dy="0.35em" text-anchor="middle">${block.title}</text>
${text(box + 14, y + 26, `${block.layers} layers`)}${text(box + 14, y + 46, `${formatInteger(connectionsIn(block))} connections`)}${text(box + 14, y + 66, `${block.inChannels} → ${block.outChannels} maps of ${block.height}×${block.width}`)}
`);
    y += blockHeight;
    arrow();
    if (index === blocks.length - 1) break;
    plain("convolution, pooling", sizeOf(`features.transition${index + 1}.pool`));
  }
  plain("global pooling, linear", `${blocks.at(-1)?.outChannels ?? 0} → ${spec.numClasses}`);
  arrow();
  plain("softmax: the answer", `${spec.numClasses} classes`);
  return html`<svg viewBox="0 0 ${WIDTH} ${y + 4}" role="img" aria-label="A network of ${blocks.length} dense blocks with transitions between them, from a ${side}×${side} image to ${spec.numClasses} classes.">
${rows}</svg>
`;
}

interface Place {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** All connections of a block, small. */
function blockArcs(readers: Anatomy["readers"], block: number, { x, y, width, height }: Place): Html {
  const layers = readers.filter((reader) => reader.block === block && reader.kind === "layer");
  const step = width / layers.length;
  const at = (index: number): number => x + index * step;
  let arcs = "";
  for (const { index, sources } of layers) {
    for (const source of sources) {
      const rise = Math.min(1, 0.25 + (index - source.index) / layers.length) * (height / 0.75);
      const [from, to] = [fixed(at(source.index)), fixed(at(index))];
      arcs += `M${from} ${y}C${from} ${fixed(y - rise)} ${to} ${fixed(y - rise)} ${to} ${y}`;
    }
  }
  const ticks = Array.from({ length: layers.length + 1 }, (_, index) => `M${fixed(at(index))} ${y - 3}v7`).join("");
  return html`<path class="wire ink0 thin" d="${raw(arcs)}"/><path class="marks" d="${raw(ticks)}"/>`;
}
