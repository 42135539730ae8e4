// analyze/report: the report's looks. Two colours carry meaning, blue for right and vermilion for wrong; all else is
// ink on paper.

export const reportStyle = `
:root{color-scheme:light dark;--paper:#f8f9fb;--raised:#fff;--ink:#141a24;--soft:#556070;--faint:#8b95a5;--rule:#dde2ea;--hair:#e9edf2;
--right:#1d5fd1;--right-deep:#123f8f;--wrong:#cf4420;--train:#8a95a8;--on-strong:#fff}
@media (prefers-color-scheme:dark){:root{--paper:#0f131a;--raised:#151b24;--ink:#e6eaf1;--soft:#a0abbb;--faint:#717d8f;--rule:#2a323f;--hair:#1f2631;
--right:#6ea3ff;--right-deep:#a6c6ff;--wrong:#ff7d55;--train:#7c889b;--on-strong:#0b0f15}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1104px;margin:0 auto;padding:56px 32px 64px}
h1{font-size:34px;line-height:1.15;letter-spacing:-.022em;font-weight:680;margin:0}
h2{font-size:20px;letter-spacing:-.012em;font-weight:650;margin:0 0 4px}
h3{font-size:14px;font-weight:620;margin:0}
p{margin:0;max-width:68ch}
.quiet,.lede{color:var(--soft)}
.quiet{font-size:13.5px;max-width:96ch}
.lede{margin-top:10px;font-size:16.5px}
.notes{border-left:3px solid var(--rule);padding-left:14px;white-space:pre-line}
.lede b{color:var(--ink);font-weight:600}
section{margin-top:60px}
section>.quiet+*,section>h2+*{margin-top:18px}
section>h2+.quiet{margin-top:0}
.state{display:inline-block;margin-bottom:14px;font-size:13px;color:var(--soft)}
.state::before{content:"";display:inline-block;width:8px;height:8px;border-radius:50%;margin-right:8px;background:var(--right)}
.state.interrupted::before{background:none;border:2px solid var(--wrong)}
.state.diverged::before,.state.failed::before{background:var(--wrong)}
.state.running::before{background:none;border:2px solid var(--right)}
.figures{display:grid;grid-template-columns:1.55fr repeat(4,1fr);gap:0;margin:34px 0 0;border-top:2px solid var(--ink);border-bottom:1px solid var(--rule)}
.figures div{padding:16px 18px 18px 0}
.figures div+div{border-left:1px solid var(--rule);padding-left:18px}
.figures dt{font-size:13px;color:var(--soft)}
.figures dd{margin:2px 0 0;font-size:25px;line-height:1.2;font-weight:620;letter-spacing:-.02em;white-space:nowrap}
.figures dd small{display:block;font-size:13px;font-weight:400;letter-spacing:0;color:var(--soft);line-height:1.45;margin-top:5px;white-space:normal}
.figures div:first-child dd{font-size:44px;color:var(--right);line-height:1.05}
.network{display:block;width:100%;margin-top:34px}
.arcs{fill:none;stroke:var(--right);stroke-width:1;opacity:var(--density)}
.ticks{stroke:var(--ink);stroke-width:1.6}
.transition{fill:none;stroke:var(--faint);stroke-width:1.4}
g:hover>.arcs{opacity:.75}
.charts{display:grid;grid-template-columns:1fr 1fr;gap:34px 32px}
figure{margin:0;min-width:0}
.chart.wide{grid-column:1/-1}
.chart figcaption{display:flex;justify-content:space-between;align-items:baseline;flex-wrap:wrap;gap:2px 16px;margin-bottom:8px}
.chart svg{display:block;width:100%;overflow:visible}
.legend .trace{border-top-width:1px}
.legend{display:flex;gap:16px;list-style:none;margin:0;padding:0;font-size:13px;color:var(--soft)}
.key{display:inline-block;width:16px;height:0;border-top:2.5px solid;vertical-align:4px;margin-right:7px}
.key.train{color:var(--train)}.key.validation,.key.rate{color:var(--right)}.key.trace{color:var(--train);opacity:.5}
.line{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}
.line.train{stroke:var(--train)}.line.validation{stroke:var(--right)}.line.rate{stroke:var(--right);stroke-width:1.8}
.line.trace{stroke:var(--train);stroke-width:1;opacity:.5}
.dot{stroke:var(--paper);stroke-width:1}.dot.train{fill:var(--train)}.dot.validation{fill:var(--right)}
.grid{stroke:var(--hair)}.axis{stroke:var(--faint)}
.reference{stroke:var(--faint);stroke-dasharray:2 4}
.tick{fill:var(--soft);font-size:11.5px}.unit{fill:var(--faint)}
.end{font-size:12px;font-weight:620}.end.train{fill:var(--soft)}.end.validation,.end.rate{fill:var(--right)}
.hover rect{fill:transparent}.hover line{stroke:var(--ink);opacity:0}.hover:hover line{opacity:.35}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13.5px}
th{font-weight:inherit;text-align:left}
.number{text-align:right}
.mistakes{display:grid;grid-template-columns:minmax(0,1.62fr) minmax(0,1fr);gap:40px;align-items:start}
.confusion{border-spacing:2px;border-collapse:separate;width:100%}
.confusion caption{caption-side:bottom;text-align:left;font-size:12.5px;color:var(--soft);padding-top:8px}
.confusion thead th{font-size:12px;color:var(--soft);vertical-align:bottom;padding:0 2px 5px;text-align:center;max-width:52px;overflow:hidden;text-overflow:ellipsis}
.confusion thead th span{writing-mode:vertical-rl;transform:rotate(180deg)}
.confusion tbody th{padding-right:9px;text-align:right;color:var(--soft);font-size:12.5px;white-space:nowrap}
.confusion tbody td{text-align:center;padding:0 3px;height:33px;min-width:34px;border-radius:3px;background:color-mix(in oklab,var(--tone) var(--share),var(--raised))}
.confusion .right{--tone:var(--right);font-weight:620}.confusion .wrong{--tone:var(--wrong)}
.confusion .strong{color:var(--on-strong)}
.confusion i{font-style:normal;color:var(--faint);opacity:.55}
.confusion tbody td.rate{background:none;text-align:right;color:var(--soft);padding-left:8px;white-space:nowrap}
.matrix{display:block;width:100%;max-width:640px}.matrix .ground{fill:var(--raised)}
.matrix .right{fill:color-mix(in oklab,var(--right) var(--share),var(--raised))}.matrix .wrong{fill:color-mix(in oklab,var(--wrong) var(--share),var(--raised))}
.reliability{max-width:440px}.reliability svg{max-width:440px}
.bin{fill:var(--right);opacity:var(--weight)}.confidence{stroke:var(--ink);stroke-width:1.4;opacity:.55}.area{fill:transparent}
.trust .quiet{margin-top:12px}
.pairs{width:100%;margin-top:12px}.pairs+h3{margin-top:26px}
.pairs thead th,.settings thead th,.layers thead th{font-size:12.5px;color:var(--soft);border-bottom:1px solid var(--rule);padding:0 12px 6px 0}
.pairs tbody th,.pairs td,.settings tbody th,.settings td,.layers th,.layers td{padding:6px 12px 6px 0;border-bottom:1px solid var(--hair);vertical-align:top}
.pairs .number:last-child,.layers .number:last-child{padding-right:0}
.bar{position:relative;min-width:104px}
.bar span{position:absolute;left:0;top:5px;bottom:5px;background:var(--wrong);opacity:.2;border-radius:2px}
.bar.plain{min-width:150px}.bar.plain span{background:var(--train)}
.images{list-style:none;margin:14px 0 0;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(124px,1fr));gap:22px 16px}
.images img{display:block;width:100%;aspect-ratio:1;object-fit:cover;image-rendering:pixelated;border-radius:4px;background:var(--hair)}
.images .evidence{margin-top:4px;image-rendering:auto}.cells summary{cursor:pointer}
.images p{display:flex;justify-content:space-between;gap:6px;font-size:13px;margin-top:7px;line-height:1.3}
.images b{font-weight:620;overflow-wrap:anywhere}.images p span{color:var(--soft);white-space:nowrap}
.images .right b{color:var(--right)}.images .wrong b{color:var(--wrong)}
.images .truth{color:var(--soft);margin-top:3px}
.score{height:3px;background:var(--hair);border-radius:2px;margin-top:5px;overflow:hidden}.score span{display:block;height:100%;background:var(--faint)}
.right .score span{background:var(--right)}.wrong .score span{background:var(--wrong)}
.group{margin-top:26px}
.settings{width:100%}.settings tbody th{color:var(--soft);white-space:nowrap}.settings td{overflow-wrap:anywhere}
.settings .source{color:var(--faint);white-space:nowrap;padding-right:0}
.settings .chosen td:not(.source){font-weight:620}
.settings .chosen .source{color:var(--right)}
.columns{display:grid;grid-template-columns:minmax(0,1.15fr) minmax(0,1fr);gap:40px;align-items:start}
.layers{width:100%}.layers tbody th{white-space:nowrap}.layers tfoot th,.layers tfoot td{font-weight:620;border-bottom:0}
details{margin-top:18px}summary{cursor:pointer;font-size:14px;color:var(--right);width:max-content;max-width:100%}summary:focus-visible{outline:2px solid var(--right);outline-offset:3px}
details[open] summary{margin-bottom:12px}
pre{margin:14px 0 0;padding:14px 16px;background:var(--raised);border:1px solid var(--rule);border-radius:5px;font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre-wrap;overflow-wrap:anywhere}
footer{margin-top:64px;padding-top:16px;border-top:1px solid var(--rule);font-size:13px;color:var(--soft)}
@media (max-width:860px){main{padding:32px 18px 48px}h1{font-size:28px}.charts,.mistakes,.columns{grid-template-columns:minmax(0,1fr)}
.figures{grid-template-columns:1fr 1fr}.figures div:first-child{grid-column:1/-1;border-bottom:1px solid var(--rule)}.figures div:nth-child(even){border-left:0;padding-left:0}.figures div:nth-child(n+4){border-top:1px solid var(--rule)}
.tick,.end{font-size:12.5px}.chart.wide{overflow-x:auto}.chart.wide svg{min-width:620px}section{margin-top:44px}}
@media (max-width:560px){.confusion tbody td{height:28px;min-width:26px;padding:0 1px;font-size:12px}.network .tick{display:none}}
@media print{:root{--paper:#fff;--raised:#fff;--ink:#000;--soft:#444;--faint:#777;--rule:#ccc;--hair:#e5e5e5;--right:#1d5fd1;--wrong:#cf4420;--train:#8a95a8;--on-strong:#fff}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}main{max-width:none;padding:0}section{margin-top:32px}figure,.images li,tr,.figures{break-inside:avoid}h2{break-after:avoid}body{font-size:11pt}.charts,.mistakes,.columns{gap:24px}}
`;
