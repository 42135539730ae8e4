// analyze/report: precision, recall and F1 of every class.
import { classScores, meanScores } from "../classScores.ts";
import { formatInteger, formatPercent } from "../format.ts";
import { type Html, html } from "./html.ts";

/** Every class in the order of its index; open where the page is not much longer for it. */
export function everyClass(confusion: readonly (readonly number[])[], classes: readonly string[]): Html {
  const scores = classScores(confusion);
  const mean = meanScores(scores);
  const percent = (share: number): Html => html`<td class="number">${formatPercent(100 * share)}</td>`;
  return html`<details${classes.length <= 20 ? html` open` : undefined}><summary>Precision and recall of every class</summary><div class="scroll"><table class="layers classes"><thead><tr><th scope="col">class</th><th scope="col" class="number">precision</th><th scope="col" class="number">recall</th><th scope="col" class="number">F1</th><th scope="col" class="number">images</th><th scope="col" class="number">taken for it</th></tr></thead><tbody>
${scores.map(
  ({ label, precision, recall, f1, count, predicted }) =>
    html`<tr><th scope="row">${classes[label]}</th>${percent(precision)}${percent(recall)}${percent(f1)}<td class="number">${formatInteger(count)}</td><td class="number">${formatInteger(predicted)}</td></tr>
`,
)}</tbody><tfoot><tr><th scope="row">mean of classes</th>${percent(mean.precision)}${percent(mean.recall)}${percent(mean.f1)}<td></td><td></td></tr></tfoot></table></div></details>
`;
}
