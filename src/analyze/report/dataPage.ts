// analyze/report: a check of the data as one HTML file, with the images that it is about.
import { type CheckedFolder, classCounts, type DataFinding } from "../dataCheck.ts";
import { formatInteger } from "../format.ts";
import { type Html, html } from "./html.ts";
import { page } from "./page.ts";

/** Groups of a finding that are shown; there may be thousands. */
const MOST_GROUPS = 12;
/** Of a group: a burst of photographs shows what it is. */
const MOST_IN_GROUP = 6;

const GRADES = { error: "Errors", warning: "Warnings", note: "Notes" } as const;

/** The files whose images the page shows. */
export function shownFiles(findings: readonly DataFinding[]): string[] {
  const shown = findings
    .filter(({ kind }) => kind !== "broken")
    .flatMap(({ groups }) => groups.slice(0, MOST_GROUPS).flatMap(({ files }) => files.slice(0, MOST_IN_GROUP)));
  return [...new Set(shown)];
}

const style = `
.finding{margin-top:34px;padding-left:16px;border-left:3px solid var(--rule)}
.finding.error{border-color:var(--wrong)}.finding.warning{border-color:var(--ink)}
.finding .grade{font-size:12.5px;color:var(--soft)}.finding.error .grade{color:var(--wrong);font-weight:620}
.finding h3{font-size:16px;overflow-wrap:anywhere}
.copies{display:flex;flex-wrap:wrap;gap:18px 22px;list-style:none;margin:14px 0 0;padding:0}
.copies>li{display:flex;flex-wrap:wrap;gap:8px;max-width:100%}
.copies .several{padding:8px;border:1px solid var(--rule);border-radius:5px}
.copies figure{width:112px}.copies img{display:block;width:112px;height:112px;object-fit:contain;background:var(--hair);border-radius:3px;image-rendering:auto}
.copies figcaption{font-size:11.5px;line-height:1.35;color:var(--soft);margin-top:4px;overflow-wrap:anywhere}
.finding>.quiet:last-child{margin-top:10px}.reasons{margin:12px 0 0;padding-left:18px;font-size:13.5px}.reasons li{overflow-wrap:anywhere;margin-top:4px}
.counts th[scope=row]{max-width:40ch;overflow-wrap:anywhere;white-space:normal}
.figures.four{grid-template-columns:1.55fr repeat(3,1fr)}
@media (max-width:860px){.figures.four{grid-template-columns:1fr 1fr}}
@media (max-width:560px){.finding{padding-left:12px}.copies{gap:12px}.copies figure,.copies img{width:84px}.copies img{height:84px}.counts .bar.plain{min-width:84px}}
`;

/** @param thumbnails data URIs by file, of those that `shownFiles` names */
export function dataPage(
  folder: CheckedFolder,
  findings: readonly DataFinding[],
  thumbnails: ReadonlyMap<string, string>,
): string {
  const { dir, images, broken, splits } = folder;
  const of = (grade: DataFinding["grade"]): number => findings.filter((finding) => finding.grade === grade).length;
  const counts = classCounts(folder);
  const title = `Check of ${dir}`;
  return page(
    title,
    style,
    html`<header><p class="state ${of("error") > 0 ? "failed" : "finished"}">${verdict(findings)}</p><h1>${title}</h1>
<dl class="figures four">
<div><dt>Images that decode</dt><dd>${formatInteger(images.length)}<small>of ${formatInteger(images.length + broken.length)} in ${counts.length} ${counts.length === 1 ? "class" : "classes"}${splits.length > 1 ? `; splits: ${splits.join(", ")}` : ""}</small></dd></div>
${(["error", "warning", "note"] as const).map(
  (grade) => html`<div><dt>${GRADES[grade]}</dt><dd>${of(grade)}<small>${MEANINGS[grade]}</small></dd></div>
`,
)}</dl></header>
<section aria-labelledby="found"><h2 id="found">What was found</h2>
${findings.length === 0 ? html`<p class="quiet">Nothing: every file decodes, none is there twice, and no class or size stands out.</p>` : findings.map((finding) => findingHtml(finding, thumbnails))}</section>
<section aria-labelledby="classes"><h2 id="classes">Images of each class</h2>${countsTable(splits, counts)}</section>`,
  );
}

const MEANINGS = {
  error: "training refuses them, or would be measured wrongly",
  warning: "worth a look",
  note: "good to know",
} as const;

/** What the check comes to, in one sentence. */
export function verdict(findings: readonly DataFinding[]): string {
  if (findings.some(({ grade }) => grade === "error")) return "Not ready to train on";
  return findings.some(({ grade }) => grade === "warning") ? "Ready to train on, with warnings" : "Ready to train on";
}

function findingHtml(
  { kind, grade, title, advice, groups }: DataFinding,
  thumbnails: ReadonlyMap<string, string>,
): Html {
  const shown = groups.slice(0, MOST_GROUPS);
  const more = groups.length - shown.length;
  const list =
    kind === "broken"
      ? html`<ul class="reasons">${shown.map(({ note }) => html`<li>${note}</li>`)}</ul>`
      : html`<ul class="copies">${shown.map(({ files, note }) => {
          const left = files.length - MOST_IN_GROUP;
          return html`<li${files.length > 1 ? html` class="several"` : undefined}>${files
            .slice(0, MOST_IN_GROUP)
            .map(
              (file) =>
                html`<figure><img src="${thumbnails.get(file) ?? "data:,"}" alt="${file}"><figcaption>${file}${note === undefined ? "" : `, ${note}`}</figcaption></figure>`,
            )}${left > 0 ? html`<p class="quiet">and ${formatInteger(left)} more</p>` : undefined}</li>
`;
        })}</ul>`;
  return html`<article class="finding ${grade}"><p class="grade">${grade}</p><h3>${title}</h3><p class="quiet">${advice}</p>
${shown.length > 0 ? list : undefined}${more > 0 ? html`<p class="quiet">and ${formatInteger(more)} more; --json has all</p>` : undefined}</article>
`;
}

function countsTable(splits: readonly string[], counts: ReturnType<typeof classCounts>): Html {
  const most = Math.max(1, ...counts.flatMap(({ counts: of }) => Object.values(of)));
  return html`<div class="scroll"><table class="layers counts"><thead><tr><th scope="col">class</th>${splits.map((split) => html`<th scope="col" class="number">${split === "all" ? "images" : split}</th>`)}</tr></thead><tbody>
${counts.map(
  ({ name, counts: of }) =>
    html`<tr><th scope="row">${name}</th>${splits.map((split) => html`<td class="number bar plain"><span style="width:calc((100% - 64px) * ${((of[split] ?? 0) / most).toFixed(3)})"></span>${formatInteger(of[split] ?? 0)}</td>`)}</tr>
`,
)}</tbody></table></div>`;
}
