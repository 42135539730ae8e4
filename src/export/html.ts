// export: one HTML page that holds the network, the runtime and a place to drop images on. Portable.
//
// It needs no server: opened from file:// a page has no origin, may import no script and fetch no file, so everything
// stands in it, the compute thread's script too (page.ts). Its content security policy lets nothing out.

import { formatInteger } from "../analyze/format.ts";
import { html, raw } from "../analyze/report/html.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { familyFacts, networkTitle, parameterCount } from "../networks/registry.ts";

/** The element that holds the bytes of model.safetensors in base64. */
export const MODEL_ELEMENT = "model";

const POLICY = [
  "default-src 'none'",
  "script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:",
  "worker-src blob:",
  "style-src 'unsafe-inline'",
  "img-src blob: data:",
].join("; ");

/** @param script dist/browser/page.js @param model the bytes of model.safetensors */
export function classifierPage(trained: TrainedModel, model: Uint8Array, script: string): string {
  const { spec } = trained.model;
  const { description } = familyFacts(spec);
  const title = networkTitle(spec);
  const what = `A ${description} with ${formatInteger(parameterCount(spec))} parameters, trained on ${trained.dataset}.`;
  return `<!doctype html>
${
  html`<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<title>${title}</title>
<link rel="icon" href="data:,">
<style>${raw(style)}</style>
<main>
<header>
<h1>${title}</h1>
<p>${what} It names ${formatInteger(spec.numClasses)} ${spec.numClasses === 1 ? "class" : "classes"}.</p>
</header>
<label class="drop" id="drop">
<input type="file" id="files" accept="image/*" multiple>
<b>Drop images here</b>
<span>or choose files, or paste one</span>
</label>
<p class="quiet" id="state" role="status">Loading …</p>
<ol class="images" id="images" aria-live="polite"></ol>
<footer>Everything happens on this page: it works with no network, and no image leaves your machine.</footer>
</main>
<script type="application/octet-stream" id="${MODEL_ELEMENT}">${raw(base64(model))}</script>
<script type="module">${raw(script)}</script>
</html>`.markup
}
`;
}

const ELEMENT_START = `id="${MODEL_ELEMENT}">`;

/** The first `most` bytes of model.safetensors in a page of ours; none where it is another page. */
export function safetensorsInPage(page: string, most = Number.POSITIVE_INFINITY): Uint8Array {
  const start = page.indexOf(ELEMENT_START) + ELEMENT_START.length;
  if (start < ELEMENT_START.length) return new Uint8Array(0);
  // Four characters are three bytes.
  const end = Math.min(page.indexOf("<", start), start + 4 * Math.ceil(most / 3));
  return Uint8Array.from(atob(page.slice(start, end)), (character) => character.charCodeAt(0)).subarray(0, most);
}

/** In pieces whose length is a multiple of 3, which fit into the arguments of a call. */
function base64(bytes: Uint8Array): string {
  const piece = 3 * 4096;
  let text = "";
  for (let at = 0; at < bytes.length; at += piece) {
    text += btoa(String.fromCharCode(...bytes.subarray(at, at + piece)));
  }
  return text;
}

const style = `
:root{color-scheme:light dark;--paper:#f8f9fb;--raised:#fff;--ink:#141a24;--soft:#556070;--rule:#dde2ea;--hair:#e9edf2;--right:#1d5fd1;--wrong:#cf4420}
@media (prefers-color-scheme:dark){:root{--paper:#0f131a;--raised:#151b24;--ink:#e6eaf1;--soft:#a0abbb;--rule:#2a323f;--hair:#1f2631;--right:#6ea3ff;--wrong:#ff7d55}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:960px;margin:0 auto;padding:48px 28px 56px}
h1{font-size:30px;line-height:1.2;letter-spacing:-.02em;font-weight:680;margin:0 0 8px}
p{margin:0;max-width:68ch}
header p,.quiet,footer{color:var(--soft)}
.quiet{font-size:13.5px;margin-top:10px;min-height:1.55em}
.drop{display:flex;flex-direction:column;align-items:center;justify-content:center;gap:2px;min-height:150px;margin-top:28px;padding:24px;border:2px dashed var(--rule);border-radius:10px;background:var(--raised);cursor:pointer;text-align:center}
.drop:hover,.drop.over,.drop:focus-within{border-color:var(--right)}
.drop.over{background:color-mix(in oklab,var(--right) 8%,var(--raised))}
.drop b{font-size:17px;font-weight:620}
.drop span{color:var(--soft);font-size:13.5px}
.drop input{position:absolute;opacity:0;pointer-events:none}
.images{list-style:none;margin:26px 0 0;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:20px;align-items:start}
.images li{background:var(--raised);border:1px solid var(--rule);border-radius:8px;overflow:hidden}
.images img{display:block;width:100%;height:190px;object-fit:contain;background:var(--hair)}
.images img.small{image-rendering:pixelated}
.images h2{font-size:13px;font-weight:400;color:var(--soft);margin:0;padding:10px 14px 2px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.images ol{list-style:none;margin:0;padding:4px 14px 14px}
.images ol li{position:relative;display:flex;justify-content:space-between;gap:12px;padding:4px 0 6px;background:none;border:0;border-radius:0}
.images ol li:first-child{font-weight:620}
.images ol span:first-child{overflow-wrap:anywhere}
.images ol li::after{content:"";position:absolute;left:0;bottom:0;height:3px;border-radius:2px;width:var(--share);background:var(--right)}
.images ol li::before{content:"";position:absolute;left:0;bottom:0;height:3px;border-radius:2px;width:100%;background:var(--hair)}
.images .problem{padding:4px 14px 14px;color:var(--wrong);overflow-wrap:anywhere}
footer{margin-top:44px;padding-top:14px;border-top:1px solid var(--rule);font-size:13px}
`;
