// analyze/report: an HTML file that needs nothing else, in the look of a run's report: no script, no network.
import { type Html, html, raw } from "./html.ts";
import { reportStyle } from "./style.ts";

/** One self-contained document. `style`: what the page needs beside the report's looks. */
export function page(title: string, style: string, main: Html): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${raw(reportStyle + style)}</style>
</head>
<body>
<main>
${main}
</main>
</body>
</html>
`.markup;
}
