// analyze/report: analyses as one HTML file that needs nothing else, in the look of a run's report: each with its
// figures, and the paper's sentences beside what was found.
import type { Finding } from "../finding.ts";
import { type Html, html } from "./html.ts";
import { page } from "./page.ts";

/** One analysis on the page. */
export interface AnalysisSection {
  /** For links: "feature-reuse". */
  readonly id: string;
  readonly title: string;
  /** What was done, in a few sentences. */
  readonly lede: Html;
  readonly figures: readonly Html[];
  readonly findings: readonly Finding[];
}

/** What `renderAnalyses` makes one page of. */
export interface AnalysisPage {
  readonly title: string;
  /** What was analysed, one sentence for each network. */
  readonly subjects: readonly string[];
  /** The command and the date that made the page. */
  readonly command: string;
  readonly date: Date;
  readonly sections: readonly AnalysisSection[];
  readonly citation: string;
}

/** What pages of plots need beside the report's looks. */
export const analysisStyle = `
.contents{display:flex;flex-wrap:wrap;gap:4px 22px;list-style:none;margin:22px 0 0;padding:0;font-size:14px}
a{color:var(--right)}
:root{--tone0:#1d5fd1;--tone1:#cf4420;--tone2:#6b7789;--tone3:#1d8a5b;--tone4:#8a4fc4;--tone5:#a8760a}
@media (prefers-color-scheme:dark){:root{--tone0:#6ea3ff;--tone1:#ff7d55;--tone2:#95a1b3;--tone3:#4fc38d;--tone4:#bd8df0;--tone5:#dfae46}}
${[0, 1, 2, 3, 4, 5].map((tone) => `.line.tone${tone}{stroke:var(--tone${tone})}.dot.tone${tone}{fill:var(--tone${tone})}.key.tone${tone}{color:var(--tone${tone})}`).join("")}
.line.dashed{stroke-dasharray:5 4}.key.dashed{border-top-style:dashed}
.key.round{width:9px;height:9px;border:0;border-radius:50%;background:currentColor;vertical-align:0}
.dot.unseen{fill:transparent;stroke:none}
.plot .legend{flex-wrap:wrap;gap:2px 16px}
.network-name{margin:30px 0 14px;font-size:16px}
.heats{display:grid;grid-template-columns:repeat(auto-fit,minmax(280px,1fr));gap:26px 22px;align-items:start}
.heat figcaption{margin-bottom:6px}.heat svg{display:block;width:100%}
.heat .frame{fill:none;stroke:var(--ink);stroke-width:1.6}
.heat-scale{margin-top:14px;font-size:13px;color:var(--soft)}.heat-scale svg{display:block;margin-top:4px;max-width:100%}
.findings{width:100%;margin-top:26px}
.findings thead th{font-size:12.5px;color:var(--soft);border-bottom:1px solid var(--rule);padding:0 16px 6px 0}
.findings td,.findings tbody th{padding:12px 16px 12px 0;border-bottom:1px solid var(--hair);vertical-align:top}
.findings blockquote{margin:0;max-width:52ch}.findings small{display:block;color:var(--soft);font-size:12.5px;margin-top:5px}
.verdict{font-weight:620;white-space:nowrap}.verdict.yes{color:var(--right)}.verdict.no{color:var(--wrong)}
.data{margin-top:18px}.data th,.data td{padding:5px 14px 5px 0;border-bottom:1px solid var(--hair)}
.data thead th{font-size:12.5px;color:var(--soft)}
@media (max-width:720px){.findings,.findings tbody,.findings tr,.findings td{display:block}.findings thead{display:none}
.findings td{border:0;padding:4px 0}.findings tr{padding:12px 0;border-bottom:1px solid var(--rule)}}
`;

/** One self-contained HTML document. Every value is escaped. */
export function renderAnalyses({ title, subjects, command, date, sections, citation }: AnalysisPage): string {
  return page(
    title,
    analysisStyle,
    html`<header>
<h1>${title}</h1>
${subjects.map((subject) => html`<p class="lede">${subject}</p>`)}
<ul class="contents">${sections.map((section) => html`<li><a href="#${section.id}">${section.title}</a></li>`)}</ul>
</header>
${sections.map(
  (section) => html`<section aria-labelledby="${section.id}"><h2 id="${section.id}">${section.title}</h2>
<div class="quiet">${section.lede}</div>
${section.figures}
${findingsTable(section.findings)}
</section>
`,
)}
<section aria-labelledby="how"><h2 id="how">How it was made</h2><pre>${command}
${date.toISOString().slice(0, 10)}</pre></section>
<footer>The paper: ${citation}.</footer>`,
  );
}

/** The paper's sentences beside what was found. */
export function findingsTable(findings: readonly Finding[]): Html {
  if (findings.length === 0) return html``;
  return html`<table class="findings"><thead><tr><th scope="col">The paper says</th><th scope="col">Here</th><th scope="col">Measured</th></tr></thead><tbody>
${findings.map(
  (finding) => html`<tr><td><blockquote>“${finding.claim}”</blockquote><small>${finding.place}</small></td>
<td class="verdict ${finding.found ? "yes" : "no"}">${finding.found ? "found" : "not found"}</td>
<td>${finding.measured}${finding.control === undefined ? undefined : html`<small>${finding.control}</small>`}<small>Counts as found when ${finding.criterion}.</small></td></tr>
`,
)}</tbody></table>
`;
}
