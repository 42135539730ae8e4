// analyze: vectors as a map in which alike ones lie together (UMAP, McInnes et al. 2018), and a page of it with
// thumbnails. Distances within a cluster mean something, those between clusters little.
import { UMAP } from "umap-js";
import { UsageError } from "../errors.ts";
import { formatInteger } from "./format.ts";
import { nearestNeighbours } from "./neighbours.ts";
import { type Html, html } from "./report/html.ts";
import { page } from "./report/page.ts";

/** A place on the map, 0…1 each way. */
export interface MapPoint {
  readonly x: number;
  readonly y: number;
}

/** Of the graph that UMAP draws; its authors' default. */
const NEIGHBOURS = 15;
/** Fewer have no neighbourhoods. */
const FEWEST = 5;

/**
 * Where each vector lies, by the cosine of the angles between them; all pairs are compared. The same vectors and seed
 * give the same map.
 * @throws UsageError for fewer than five vectors
 */
export function embeddingMap(vectors: readonly Float32Array[], seed = 0): MapPoint[] {
  if (vectors.length < FEWEST) {
    throw new UsageError(`a map takes at least ${FEWEST} images, got ${vectors.length}`, { images: vectors.length });
  }
  // As umap-learn counts, everyone is their own first neighbour.
  const nNeighbors = Math.min(NEIGHBOURS, vectors.length - 1);
  const near = nearestNeighbours(vectors, nNeighbors - 1);
  const umap = new UMAP({ nNeighbors, random: randomFrom(seed) });
  umap.setPrecomputedKNN(
    near.map((found, own) => [own, ...found.map(({ index }) => index)]),
    near.map((found) => [0, ...found.map(({ similarity }) => Math.max(0, 1 - similarity))]),
  );
  const points = umap.fit(vectors.map((vector) => [...vector]));
  const [xs, ys] = [0, 1].map((axis) => stretched(points.map((point) => point[axis])));
  return xs.map((x, at) => ({ x, y: ys[at] }));
}

/** Onto 0…1. */
function stretched(values: readonly number[]): number[] {
  const low = values.reduce((a, b) => Math.min(a, b));
  const range = values.reduce((a, b) => Math.max(a, b)) - low;
  return values.map((value) => (range > 0 ? (value - low) / range : 0.5));
}

/** 0 ≤ u < 1: mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** An image of the map. */
export interface MapImage extends MapPoint {
  readonly file: string;
  readonly label: string;
  /** A small image: `data:image/…;base64,…`. */
  readonly dataUri: string;
}

export interface MapPage {
  readonly title: string;
  /** How the vectors were made. */
  readonly description: string;
  readonly images: readonly MapImage[];
  /** The command line that repeats it. */
  readonly command: string;
}

const SIDE = 1000;
/** Labels that have colours of their own; frames of the others are grey. */
const COLOURED = 12;

const STYLE =
  ".map svg{display:block;width:100%;min-width:860px;height:auto;background:var(--hair);border-radius:6px}" +
  ".map rect{fill:none;stroke-width:3}.map g{transform-box:fill-box;transform-origin:center}" +
  ".map g:hover{transform:scale(3.2)}.swatch{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}" +
  ".labels{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:6px 18px}";

/** One self-contained document, without a script. Every value is escaped. */
export function renderMap({ title, description, images, command }: MapPage): string {
  const counts = new Map<string, number>();
  for (const { label } of images) counts.set(label, (counts.get(label) ?? 0) + 1);
  const labels = [...counts].sort(([, a], [, b]) => b - a);
  const colours = new Map(labels.slice(0, COLOURED).map(([label], at) => [label, colourOf(at)]));
  const colour = (label: string): string => colours.get(label) ?? "#888";
  const side = Math.min(64, Math.max(16, (0.62 * SIDE) / Math.sqrt(images.length)));
  const place = (share: number): string => (share * (SIDE - side)).toFixed(1);
  return page(
    title,
    STYLE,
    html`<header><h1>${title}</h1><p class="lede">${description} Near images look alike to the network; how far clusters lie apart says little. Frames have the colour of the network’s answer; a pointer enlarges an image and says which it is.</p></header>
<section class="map"><ul class="labels">${labels.map(([label, count]) => legendItem(label, count, colour(label)))}</ul>
<div class="scroll" tabindex="0" role="region" aria-label="The map"><svg viewBox="0 0 ${SIDE} ${SIDE}" role="img" aria-label="Map of ${formatInteger(images.length)} images by what the network sees in them">
${images.map(
  ({ file, label, dataUri, x, y }) =>
    html`<g><title>${file}: ${label}</title><image href="${dataUri}" x="${place(x)}" y="${place(y)}" width="${side.toFixed(1)}" height="${side.toFixed(1)}" preserveAspectRatio="xMidYMid slice"/><rect x="${place(x)}" y="${place(y)}" width="${side.toFixed(1)}" height="${side.toFixed(1)}" stroke="${colour(label)}"/></g>
`,
)}</svg></div></section>
<footer><pre>${command}</pre></footer>`,
  );
}

function legendItem(label: string, count: number, colour: string): Html {
  return html`<li><span class="swatch" style="background:${colour}"></span>${label} <span class="quiet">${formatInteger(count)}</span></li>`;
}

/** Far apart for neighbours in the list. */
const colourOf = (at: number): string => `hsl(${Math.round((at * 137.5) % 360)} 70% ${at % 2 === 0 ? 45 : 58}%)`;
