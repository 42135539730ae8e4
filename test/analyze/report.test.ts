import assert from "node:assert/strict";
import { test } from "node:test";
import { reliability } from "../../src/analyze/calibration.ts";
import { formatBytes, formatCount, formatDuration, formatPercent, wilsonInterval } from "../../src/analyze/format.ts";
import { mostConfused } from "../../src/analyze/report/confusion.ts";
import type { ReportData } from "../../src/analyze/report/data.ts";
import { renderReport } from "../../src/analyze/report.ts";
import { summarize } from "../../src/analyze/summary.ts";
import { namedSpec } from "../../src/networks/registry.ts";

const HOSTILE = `<script>alert("1")</script>&'`;
const CLASSES = ["cat", HOSTILE, "dog"];

const measured = reliability({ logits: Float32Array.of(2, 1, 0, 0, 1, 3), labels: [0, 1], classes: 3 });
const point = { threshold: 0.5, precision: 0.75, recall: 0.25 };
const calibration = {
  count: 30,
  temperature: 1.25,
  answers: [{ targetPrecision: 0.95, threshold: null, coverage: 0 }],
  classes: [point, point, null],
};

function reportData(changes: Partial<ReportData> = {}): ReportData {
  const epoch = { trainTop5Error: 0, valTop5Error: 0, learningRate: 0.1, seconds: 3, imagesPerSecond: 100 };
  return {
    title: `run ${HOSTILE}`,
    state: "finished",
    startedAt: HOSTILE,
    elapsedSeconds: 75,
    data: {
      name: HOSTILE,
      trainCount: 90,
      validationCount: 30,
      classes: CLASSES,
      citation: HOSTILE,
      constant: { name: HOSTILE, error: 66.7 },
    },
    notes: HOSTILE,
    epochsPlanned: 2,
    epochs: [
      { ...epoch, epoch: 1, trainLoss: 1, trainTop1Error: 60, valLoss: 0.9, valTop1Error: 50 },
      { ...epoch, epoch: 2, trainLoss: 0.5, trainTop1Error: 30, valLoss: 0.7, valTop1Error: 40 },
    ],
    steps: Array.from({ length: 1000 }, (_, index) => ({
      epoch: (index + 1) / 500,
      loss: 1 / (index + 1),
      learningRate: 0.1,
    })),
    summary: summarize(namedSpec("BC-40-12", { numClasses: 3 }), { height: 32, width: 32, batch: 8 }),
    peakBytes: 1e6,
    evaluation: {
      caption: HOSTILE,
      top1Error: 40,
      top5Error: 0,
      loss: 0.7,
      count: 30,
      confusion: [
        [7, 3, 0],
        [1, 5, 4],
        [0, 4, 6],
      ],
      trust: { measured, fitted: { calibration, measured } },
    },
    images: [
      { dataUri: "data:image/png;base64,AAAA", label: HOSTILE, prediction: "dog", score: 0.75, name: HOSTILE },
      { dataUri: "data:image/png;base64,BBBB", label: "cat", prediction: "cat", score: 0.5, name: "b" },
    ],
    confusions: [
      {
        label: HOSTILE,
        prediction: "dog",
        count: 7,
        images: [
          {
            dataUri: "data:image/png;base64,CCCC",
            evidenceUri: "data:image/jpeg;base64,DDDD",
            label: HOSTILE,
            prediction: "dog",
            score: 0.5,
            name: "c",
          },
        ],
      },
    ],
    config: [{ key: "lr", value: HOSTILE, source: "flag" }],
    environment: [{ name: "processor", value: HOSTILE }],
    command: `densenet train ${HOSTILE}`,
    ...changes,
  };
}

test("report · every text is escaped", () => {
  const report = renderReport(reportData());
  assert.ok(!/<script/i.test(report));
  assert.ok(report.includes("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;"));
});

test("report · needs nothing but itself: no link, no script, images inline", () => {
  const report = renderReport(reportData());
  for (const [, target] of report.matchAll(/(?:src|href|xlink:href|action)="([^"]*)"/g))
    assert.match(target ?? "", /^data:/);
  assert.ok(!/url\(|@import|<link|<iframe/.test(report));
  assert.match(report, /Content-Security-Policy" content="default-src 'none'/);
});

for (const [name, changes] of [
  ["of a finished run", {}],
  ["before the first epoch", { epochs: [], steps: [], images: [], state: "running" }],
  ["with one epoch and no steps", { epochs: reportData().epochs.slice(0, 1), steps: [] }],
  [
    "with losses that are not numbers",
    {
      steps: [
        { epoch: 0.5, loss: Number.NaN, learningRate: 0.1 },
        { epoch: 1, loss: Number.POSITIVE_INFINITY, learningRate: 0.1 },
      ],
    },
  ],
] as const satisfies readonly (readonly [string, Partial<ReportData>])[]) {
  test(`report ${name} · tags are balanced and no number is NaN`, () => {
    const report = renderReport(reportData(changes));
    assert.deepEqual(unbalanced(report), []);
    assert.ok(!/(NaN|undefined|Infinity)/.test(report.replaceAll("&#39;", "")));
  });
}

test("report · shows each count of the confusion matrix and the most confused pair first", () => {
  const report = renderReport(reportData());
  const cells = [...report.matchAll(/<td class="(right|wrong)[^"]*"[^>]*>(?:<i>)?(\d+)/g)].map((match) =>
    Number(match[2]),
  );
  assert.deepEqual(cells, [7, 3, 0, 1, 5, 4, 0, 4, 6]);
});

test("report · below an image where the evidence for its answer lies; the cells' images are one click away", () => {
  const report = renderReport(reportData());
  assert.match(
    report,
    /<details class="cells"><summary>Images of the most confused pairs<[\s\S]*taken for dog: 7 images<[\s\S]*src="data:image\/png;base64,CCCC"[^>]*><img class="evidence" src="data:image\/jpeg;base64,DDDD" alt="where the evidence for dog lies"/,
  );
  assert.ok(!renderReport(reportData({ confusions: [] })).includes("most confused pairs<"));
});

test("report · a constant answer stands beside the error, the classes' errors beside the total", () => {
  const constant = { name: "cat", error: 12.5 };
  const confusion = [
    [70, 0, 0],
    [5, 3, 2],
    [0, 0, 0],
  ];
  const base = reportData();
  const report = renderReport({
    ...base,
    data: { ...base.data, constant },
    evaluation: {
      caption: "80 images",
      top1Error: 8.75,
      top5Error: 0,
      loss: 0.7,
      count: 80,
      confusion,
      trust: { measured, missing: HOSTILE },
    },
  });
  assert.match(report, /always naming “cat” gives 12\.5 %/);
  assert.doesNotMatch(report, /guessing/);
  // (0 + 70) / 2: the class without images does not count.
  assert.match(report, /with every class weighing the same, top-1 error 35\.00 %/);
  const hardest = report.slice(report.indexOf("Hardest classes"));
  assert.match(hardest, /^.*?<th scope="row">&lt;script.*?70\.0 %.*?<th scope="row">cat.*?0\.0 %/s);
});

test("report · a run that failed says why, escaped", () => {
  const report = renderReport(reportData({ state: "failed", reason: HOSTILE }));
  assert.match(report, /class="state failed">Training failed: &lt;script&gt;/);
});

test("report · hovering an epoch tells its values", () => {
  assert.match(renderReport(reportData()), /<title>epoch 2\ntraining 30\.0 %\nvalidation 40\.0 %<\/title>/);
});

test("mostConfused · most images first, equal ones by label, correct ones never", () => {
  const pairs = mostConfused(
    [
      [7, 3, 0],
      [1, 5, 4],
      [0, 4, 6],
    ],
    3,
  );
  assert.deepEqual(pairs, [
    { label: 1, prediction: 2, count: 4, share: 0.4 },
    { label: 2, prediction: 1, count: 4, share: 0.4 },
    { label: 0, prediction: 1, count: 3, share: 0.3 },
  ]);
});

test("wilsonInterval · both ends solve |p̂ − p| = z·√(p(1 − p)/n), and none is outside [0, 1]", () => {
  for (const [rate, count] of [
    [0.35, 1000],
    [0.1, 20],
    [0.999, 5000],
  ] as const) {
    for (const p of wilsonInterval(rate, count)) {
      assert.ok(Math.abs(Math.abs(rate - p) - 1.959964 * Math.sqrt((p * (1 - p)) / count)) < 1e-9);
    }
  }
  for (const rate of [0, 1]) {
    const [low, high] = wilsonInterval(rate, 10);
    assert.ok(low >= 0 && high <= 1);
    assert.ok(Math.abs((rate === 0 ? low : high) - rate) < 1e-12);
  }
});

test("numbers as people read them", () => {
  assert.deepEqual([0, 999, 1000, 769_162, 287_929_692, 2.834e9].map(formatCount), [
    "0",
    "999",
    "1.00 K",
    "769 K",
    "288 M",
    "2.83 G",
  ]);
  assert.deepEqual([0, 1023, 1536, 2 ** 20, 1.5 * 2 ** 30].map(formatBytes), [
    "0 B",
    "1023 B",
    "1.50 KiB",
    "1.00 MiB",
    "1.50 GiB",
  ]);
  assert.deepEqual([4.23, 59.6, 185, 7440].map(formatDuration), ["4.2 s", "1 min 00 s", "3 min 05 s", "2 h 04 min"]);
  assert.deepEqual(
    [34.12, Number.NaN].map((value) => formatPercent(value)),
    ["34.1 %", "–"],
  );
});

/** Elements that are not closed or not open where they should be. */
function unbalanced(document: string): string[] {
  const empty = new Set(["meta", "img", "br"]);
  const open: string[] = [];
  const wrong: string[] = [];
  for (const [, closing, name = "", rest = ""] of document.matchAll(/<(\/?)([a-z][a-z0-9]*)\b([^>]*)>/gi)) {
    if (empty.has(name) || rest.endsWith("/")) continue;
    if (closing === "") open.push(name);
    else if (open.pop() !== name) wrong.push(name);
  }
  return [...wrong, ...open];
}
