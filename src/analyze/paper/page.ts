// analyze/paper: the paper's tables and figures beside ours as one HTML file that needs nothing else: no script, no
// network, light and dark, printable.
import { defineSpec, namedSpec, networkTitle } from "../../networks/registry.ts";
import { featureReuseSection } from "../featureReuse.ts";
import { formatBytes, formatCount, formatDuration, formatInteger, formatPercent, wilsonInterval } from "../format.ts";
import { analysisStyle } from "../report/analysisPage.ts";
import { type Html, html } from "../report/html.ts";
import { page } from "../report/page.ts";
import type { Cell, PaperDocument, RunPart } from "./document.ts";
import { denseBlockDrawing, networkFlow } from "./drawings.ts";
import { figure3Plots, figure4Left, figure4Middle, figure4Right } from "./plots.ts";

/** Figure 1's block: five layers of growth rate 4. */
export const figure1Spec = defineSpec({
  growthRate: 4,
  blockConfig: [5, 5, 5],
  numInitFeatures: 6,
  bottleneck: false,
  compression: 1,
  stem: "cifar",
});
/** Figure 2's network: three blocks. The smallest one that the paper trains. */
export const figure2Variant = "40-12";

/** Of the drawings; a file of one drawing has it too. */
export const drawingStyle = `
.wire{fill:none;stroke-width:1.5;opacity:.85}.wire.thin{stroke-width:.8;opacity:.5}
${[0, 1, 2, 3, 4, 5].map((tone) => `.wire.ink${tone}{stroke:var(--tone${tone})}.slab.fill${tone}{fill:var(--tone${tone})}`).join("")}
.slab{stroke:var(--paper);stroke-width:.8;opacity:.9}.module{fill:var(--raised);stroke:var(--faint)}
.block{fill:none;stroke:var(--right);stroke-width:1.4}.marks{stroke:var(--ink);stroke-width:1.3}
.flow{fill:none;stroke:var(--faint);stroke-width:1.4}.strong{fill:var(--ink);font-weight:600}.sub{font-size:.72em}
`;

const pageStyle = `
.lede b{color:var(--right)}
.drawing{max-width:720px}.drawing.narrow{max-width:560px}.drawing svg{display:block;width:100%}
.paper{width:100%}
.paper th,.paper td{padding:7px 14px 7px 0;border-bottom:1px solid var(--hair);vertical-align:top;white-space:nowrap}
.paper thead th{font-size:12.5px;color:var(--soft);border-bottom:1px solid var(--rule)}
.paper .number{text-align:right}.paper tbody th{white-space:normal;min-width:150px}
.paper .ours{display:block;color:var(--right);font-weight:620;text-decoration:none}
.paper a.ours:hover{text-decoration:underline}
.paper .none{color:var(--faint)}.paper small{display:block;color:var(--soft);font-size:12px;font-weight:400}
.runs{display:grid;gap:26px}.run{border-top:1px solid var(--rule);padding-top:16px}.run:target h3{color:var(--right)}
.run dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:4px 18px;margin:10px 0 0;font-size:13.5px}
.run dt{color:var(--soft)}.run dd{margin:0;overflow-wrap:anywhere}
.run code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media (max-width:560px){.plot .tick,.drawing .tick{font-size:16px}.plot .legend{font-size:13px}.paper tbody th{position:sticky;left:0;background:var(--paper);min-width:118px}.run dl{grid-template-columns:minmax(0,1fr);gap:1px}.run dd{margin-bottom:6px}}
`;

/** One self-contained HTML document. Every value is escaped. */
export function renderPaper(document: PaperDocument): string {
  return page(
    "The DenseNet paper, beside what was measured here",
    analysisStyle + drawingStyle + pageStyle,
    html`<header>
<h1>The paper, beside what was measured here</h1>
<p class="lede">Every table and figure of ${document.citation}. What is printed there is plain, ours is <b>blue</b>: computed from the networks of this package or measured by one of ${document.runs.length} runs, each described <a href="#runs">below</a> with command, data, machine and date. Where nothing was run the place is empty.</p>
<ul class="contents">${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul>
</header>
${sections.map(
  ({ id, title, render }) => html`<section aria-labelledby="${id}"><h2 id="${id}">${title}</h2>
${render(document)}
</section>
`,
)}
<footer>Made by <code>densenet paper</code> from the files in results/ alone.</footer>`,
  );
}

const sections: readonly {
  readonly id: string;
  readonly title: string;
  readonly render: (document: PaperDocument) => Html;
}[] = [
  { id: "figure1", title: "Figure 1: a dense block", render: figure1 },
  { id: "figure2", title: "Figure 2: a network of three blocks", render: figure2 },
  { id: "table1", title: "Table 1: networks for ImageNet", render: table1 },
  { id: "table2", title: "Table 2: test errors on CIFAR and SVHN", render: table2 },
  { id: "table3", title: "Table 3: errors on ImageNet", render: table3 },
  { id: "figure3", title: "Figure 3: error against size and work, ImageNet", render: figure3 },
  { id: "figure4", title: "Figure 4: parameter efficiency, CIFAR-10", render: figure4 },
  { id: "figure5", title: "Figure 5: feature reuse", render: figure5 },
  { id: "runs", title: "How ours were made", render: runs },
];

function figure1(): Html {
  return html`<p class="quiet">Five layers that make k = 4 feature maps each. Every layer H reads the maps x of all before it, and T, the transition, reads all: L(L+1)/2 = 15 connections between layers. Drawn from the network's spec.</p>
<div class="drawing">${denseBlockDrawing(figure1Spec)}</div>`;
}

function figure2(): Html {
  const spec = namedSpec(figure2Variant);
  return html`<p class="quiet">${networkTitle(spec)} on CIFAR-10: within a block all feature maps have one size and every layer reads all before it; between blocks a convolution and an average pool. Drawn from the network's spec.</p>
<div class="drawing narrow">${networkFlow(spec, 32)}</div>`;
}

/** The paper's figure, and ours under it, with what made it. */
function cell({ paper, ours, how }: Cell, format: (value: number) => string, runsByName?: RunsByName): Html {
  const printed = paper === undefined ? undefined : html`${format(paper)}`;
  if (ours === undefined) return printed ?? html`<span class="none">–</span>`;
  const run = runsByName?.get(how ?? "");
  const shown = format(ours);
  const own =
    run === undefined
      ? html`<span class="ours" title="${how}">${shown}</span>`
      : html`<a class="ours" href="#run-${run.name}" title="${run.command}">${shown}<small>${formatInteger(run.epochs)} epochs</small></a>`;
  return html`${printed}${own}`;
}

type RunsByName = ReadonlyMap<string, RunPart>;

const sides = (values: readonly number[] | undefined): string =>
  (values ?? []).map((side) => `${side}×${side}`).join(", ");

function table1({ table1: { networks, rows, sizes } }: PaperDocument): Html {
  const computed = [
    { name: "parameters", of: sizes.map(({ params }) => params), format: formatInteger },
    { name: "multiply-adds", of: sizes.map(({ macs }) => macs), format: formatCount },
    { name: "convolution and classifier layers", of: sizes.map(({ depth }) => depth), format: formatInteger },
  ];
  return html`<p class="quiet">Growth rate k = 32, images of 224×224; “conv” stands for BN, ReLU, convolution. Ours is computed by <code>densenet inspect</code>. 264 is the name that the network was published under; its layers count to 265.</p>
<div class="scroll"><table class="paper"><thead><tr><th scope="col">layers</th><th scope="col">output</th>${networks.map((name) => html`<th scope="col" class="number">${name}</th>`)}</tr></thead><tbody>
${rows.map(({ stage, layers, outputs, repeats }) => {
  const output = html`${sides(outputs.paper)}<span class="ours" title="${outputs.how}">${sides(outputs.ours)}</span>`;
  const counts =
    repeats === undefined
      ? html`<td colspan="${networks.length}"></td>`
      : repeats.map((of) => html`<td class="number">${cell(of, (value) => `× ${value}`)}</td>`);
  return html`<tr><th scope="row">${stage}<small>${layers}</small></th><td>${output}</td>${counts}</tr>
`;
})}${computed.map(
  ({ name, of, format }) =>
    html`<tr><th scope="row">${name}<small>not in the table</small></th><td></td>${of.map((found) => html`<td class="number">${cell(found, format)}</td>`)}</tr>
`,
)}</tbody></table></div>`;
}

const twoDigits = (value: number): string => value.toFixed(2);
const inMillions = (value: number): string => `${value < 1 ? value.toFixed(2) : value.toFixed(1)} M`;

function table2({ table2: { columns, rows }, runs: all }: PaperDocument): Html {
  const byName = new Map(all.map((run) => [run.name, run]));
  const wasRun = rows.some(({ errors }) => columns.some((column) => errors[column].ours !== undefined));
  return html`<p class="quiet">Error in per cent; + is standard augmentation, * was run by the authors for another method. ${wasRun ? "Ours links to the run; where there are several, to the one with the most epochs." : "Nothing was run yet."} The last rows are networks of ours that the table does not have. The paper's networks are trained for 300 epochs (SVHN 40).</p>
<div class="scroll"><table class="paper"><thead><tr><th scope="col">method</th><th scope="col" class="number">depth</th><th scope="col" class="number">parameters</th>${columns.map((column) => html`<th scope="col" class="number">${column}</th>`)}</tr></thead><tbody>
${rows.map(
  ({ method, depth, params, errors, runByAuthors }) =>
    html`<tr><th scope="row">${method}</th><td class="number">${cell(depth, formatInteger)}</td><td class="number">${cell(params, inMillions)}</td>${columns.map((column) => html`<td class="number">${cell(errors[column], twoDigits, byName)}${runByAuthors.includes(column) ? "*" : ""}</td>`)}</tr>
`,
)}</tbody></table></div>`;
}

function table3({ table3: { rows } }: PaperDocument): Html {
  return html`<p class="quiet">Error in per cent on ImageNet's 50,000 validation images, of one crop and of ten. Nothing of ours was trained on ImageNet.</p>
<div class="scroll"><table class="paper"><thead><tr><th scope="col">network</th><th scope="col" class="number">parameters</th>${["top-1, one crop", "top-1, ten crops", "top-5, one crop", "top-5, ten crops"].map((name) => html`<th scope="col" class="number">${name}</th>`)}</tr></thead><tbody>
${rows.map(
  ({ network, params, errors: { top1, top5 } }) =>
    html`<tr><th scope="row">${network}</th><td class="number">${cell(params, formatInteger)}</td>${[top1.singleCrop, top1.tenCrop, top5.singleCrop, top5.tenCrop].map((of) => html`<td class="number">${cell(of, twoDigits)}</td>`)}</tr>
`,
)}</tbody></table></div>`;
}

function figure3(document: PaperDocument): Html {
  return html`<p class="quiet">Top-1 error of one crop. Errors and parameters are read off the paper's figure by eye, to about ±0.1 % and ±1 M; the work of a DenseNet is computed here, that of a ResNet is from He et al., Table 1 (arXiv 1512.03385). No run of ours.</p>
<div class="charts">${figure3Plots(document)}</div>`;
}

function figure4(document: PaperDocument): Html {
  return html`<p class="quiet">Points of the paper are those of Table 2: the curves' own points are not printed. The wide networks are in the README of the authors' code. Paper and code train 300 epochs.</p>
<div class="charts">${figure4Left(document).svg}${figure4Middle(document)}${figure4Right(document)}</div>`;
}

function figure5({ figure5: found }: PaperDocument): Html {
  if (found?.reuse === undefined) return html`<p class="quiet">No run has it yet.</p>`;
  const { title, run, reuse } = found;
  const section = featureReuseSection([{ name: `${title}, run ${run}`, reuse }], "columnMax");
  return html`<p class="quiet">${section.lede} The paper shows DenseNet-40-12 trained on C10+.</p>
${section.figures}`;
}

function runs({ runs: all }: PaperDocument): Html {
  return html`<div class="runs">${all.map(runEntry)}</div>`;
}

function runEntry(run: RunPart): Html {
  const { name, title, dataset, column, params, epochs, testError, testImages, seconds, peakBytes } = run;
  const [low, high] = wilsonInterval(testError / 100, testImages);
  const interval = `${(100 * low).toFixed(2)}–${formatPercent(100 * high, 2)}`;
  const facts: readonly (readonly [string, Html])[] = [
    [
      "test error",
      html`<b>${formatPercent(testError, 2)}</b> of ${formatInteger(testImages)} images after the last epoch (95 % interval ${interval})`,
    ],
    ["data", html`${dataset}${column === undefined ? "" : ` (${column})`}`],
    [
      "training",
      html`${formatInteger(epochs)} epochs in ${formatDuration(seconds)}, ${formatBytes(peakBytes)} of memory`,
    ],
    ["command", html`<code>${run.command}</code>`],
    ["machine", html`${run.machine}`],
    ["date", html`${run.date}`],
    ...(run.differences === undefined ? [] : [["not as in the paper", html`${differences(run.differences)}`] as const]),
  ];
  return html`<div class="run" id="run-${name}"><h3>${title}, ${formatInteger(params)} parameters <span class="quiet">· results/${name}</span></h3>
<dl>${facts.map(([term, words]) => html`<dt>${term}</dt><dd>${words}</dd>`)}</dl></div>
`;
}

function differences(all: NonNullable<RunPart["differences"]>): string {
  if (all.length === 0) return "nothing";
  return all.map(({ setting, paper, ours }) => `${setting} ${show(ours)} in place of ${show(paper)}`).join("; ");
}

const show = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
