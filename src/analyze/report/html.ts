// analyze/report: markup that cannot be injected. Strings are escaped when they enter a template; only Html passes as
// it is.

/** Finished markup. Made by `html` and `raw` only. */
export interface Html {
  readonly markup: string;
}

export type HtmlPart = Html | string | number | undefined | readonly HtmlPart[];

/** A template whose values are escaped, unless they are Html; lists are joined and undefined is nothing. */
export function html(strings: TemplateStringsArray, ...parts: readonly HtmlPart[]): Html {
  let markup = strings[0] ?? "";
  parts.forEach((part, index) => {
    markup += render(part) + strings[index + 1];
  });
  return { markup };
}

/** Markup that this package wrote itself, such as a style sheet or path data. Never a value from a run. */
export function raw(markup: string): Html {
  return { markup };
}

export function escapeHtml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

function render(part: HtmlPart): string {
  if (part === undefined) return "";
  if (typeof part === "string") return escapeHtml(part);
  if (typeof part === "number") return String(part);
  if ("markup" in part) return part.markup;
  return part.map(render).join("");
}
