// analyze/report: images with their predictions, settings, environment and layers.
import { formatBytes, formatCount, formatInteger, formatPercent } from "../format.ts";
import type { Summary } from "../summary.ts";
import type { ReportFact, ReportImage, ReportSetting } from "./data.ts";
import { type Html, html } from "./html.ts";

export function imageGrid(images: readonly ReportImage[]): Html {
  return html`<ul class="images">
${images.map((image) => {
  const verdict = image.label === undefined ? "unknown" : image.label === image.prediction ? "right" : "wrong";
  const truth = image.label === undefined ? "" : `, is ${image.label}`;
  return html`<li class="${verdict}"><img src="${image.dataUri}" alt="${image.name}: taken for ${image.prediction}${truth}" title="${image.name}">${image.evidenceUri && html`<img class="evidence" src="${image.evidenceUri}" alt="where the evidence for ${image.prediction} lies">`}
<p><b>${image.prediction}</b> <span>${formatPercent(100 * image.score, 0)}</span></p><div class="score" aria-hidden="true"><span style="width:${(image.score * 100).toFixed(0)}%"></span></div>
${verdict === "wrong" ? html`<p class="truth">is ${image.label}</p>` : undefined}</li>
`;
})}</ul>
`;
}

export function settingsTable(settings: readonly ReportSetting[]): Html {
  return html`<table class="settings"><thead><tr><th scope="col">setting</th><th scope="col">value</th><th scope="col">from</th></tr></thead><tbody>
${settings.map(
  (
    setting,
  ) => html`<tr${setting.source === "default" ? html`` : html` class="chosen"`}><th scope="row">${setting.key}</th><td>${setting.value}</td><td class="source">${setting.source}</td></tr>
`,
)}</tbody></table>
`;
}

export function factsTable(facts: readonly ReportFact[]): Html {
  return html`<table class="settings"><tbody>
${facts.map(
  (fact) => html`<tr><th scope="row">${fact.name}</th><td>${fact.value}</td></tr>
`,
)}</tbody></table>
`;
}

/** One row per stage (stem, blocks, transitions, head); every layer is one click away. */
export function layerTables(summary: Summary): Html {
  const stages = new Map<string, { rows: number; params: number; macs: number; out: string }>();
  for (const layer of summary.layers) {
    const name = stageOf(layer.path, summary.blocks);
    const stage = stages.get(name) ?? { rows: 0, params: 0, macs: 0, out: "" };
    stages.set(name, {
      rows: stage.rows + 1,
      params: stage.params + layer.params,
      macs: stage.macs + layer.macs,
      out: `${layer.height}×${layer.width}`,
    });
  }
  const mostMacs = Math.max(1, ...[...stages.values()].map((stage) => stage.macs));
  return html`<div class="scroll"><table class="layers"><thead><tr><th scope="col">stage</th><th scope="col" class="number">layers</th><th scope="col" class="number">leaves</th><th scope="col" class="number">parameters</th><th scope="col" class="number">multiply-adds</th></tr></thead><tbody>
${[...stages].map(
  ([
    name,
    stage,
  ]) => html`<tr><th scope="row">${name}</th><td class="number">${stage.rows}</td><td class="number">${stage.out}</td><td class="number">${formatInteger(stage.params)}</td><td class="number bar plain"><span style="width:calc((100% - 64px) * ${(stage.macs / mostMacs).toFixed(2)})"></span>${formatCount(stage.macs)}</td></tr>
`,
)}</tbody><tfoot><tr><th scope="row">all</th><td class="number">${summary.layers.length}</td><td></td><td class="number">${formatInteger(summary.params)}</td><td class="number">${formatCount(summary.macs)}</td></tr></tfoot></table></div>
<p class="quiet">Activations of a training step with ${summary.batch} images: ${formatBytes(summary.activationBytesNaive)} if every concatenation and activation were stored${summary.activationBytesPlanned === undefined ? "" : `, ${formatBytes(summary.activationBytesPlanned)} as planned here`}.</p>
<details><summary>Every layer</summary><div class="scroll"><table class="layers"><thead><tr><th scope="col">path</th><th scope="col">kind</th><th scope="col" class="number">maps</th><th scope="col" class="number">leaves</th><th scope="col" class="number">parameters</th><th scope="col" class="number">multiply-adds</th></tr></thead><tbody>
${summary.layers.map(
  (
    layer,
  ) => html`<tr><th scope="row">${layer.path}</th><td>${spaced(layer.kind)}</td><td class="number">${layer.inChannels} → ${layer.outChannels}</td><td class="number">${layer.height}×${layer.width}</td><td class="number">${formatInteger(layer.params)}</td><td class="number">${layer.macs === 0 ? "" : formatCount(layer.macs)}</td></tr>
`,
)}</tbody></table></div></details>
`;
}

/** The block or transition that a module belongs to; before and behind them stand the stem and the head. */
function stageOf(path: string, blocks: Summary["blocks"]): string {
  const block = blocks.find((candidate) => path.startsWith(`${candidate.path}.`));
  const stage = block?.path ?? /^.*\btransition\d+/.exec(path)?.[0];
  if (stage !== undefined) return stage.slice(stage.lastIndexOf(".") + 1);
  return /^features\.(conv0|norm0|relu0|pool0)$/.test(path) ? "stem" : "head";
}

/** batchNorm → batch norm */
function spaced(kind: string): string {
  return kind.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}
