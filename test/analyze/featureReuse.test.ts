import assert from "node:assert/strict";
import { test } from "node:test";
import { effectiveSources, featureReuse, featureReuseSection } from "../../src/analyze/featureReuse.ts";
import { renderAnalyses } from "../../src/analyze/report/analysisPage.ts";
import { UsageError } from "../../src/errors.ts";
import { createNetwork } from "../../src/model/create.ts";
import { anatomyOf, defineSpec, namedSpec } from "../../src/networks/registry.ts";

/** A trained-looking network: weight element = its source's place + 1, with changing sign. */
function marked(bottleneck: boolean) {
  const spec = defineSpec({ growthRate: 2, blockConfig: [3, 2], numInitFeatures: 5, bottleneck, compression: 1 });
  const model = createNetwork(spec);
  for (const { weight, sources } of anatomyOf(spec).readers) {
    const tensor = model.state.get(weight);
    assert.ok(tensor);
    const [outputs, inputs, ...window] = tensor.shape;
    const taps = window.reduce((product, extent) => product * extent, 1);
    const sourceOf = sources.flatMap(({ index, channels }) => new Array<number>(channels).fill(index));
    for (let at = 0; at < outputs * inputs * taps; at++) {
      tensor.data[at] = (at % 2 === 0 ? 1 : -1) * (1 + sourceOf[Math.floor(at / taps) % inputs]);
    }
  }
  return model;
}

for (const bottleneck of [false, true]) {
  test(`feature reuse · values by hand, ${bottleneck ? "1×1 bottlenecks" : "3×3 layers"}`, () => {
    const { blocks } = featureReuse(marked(bottleneck));
    assert.deepEqual(
      blocks.map(({ columns }) => columns.map(({ kind }) => kind)),
      [
        ["layer", "layer", "layer", "transition"],
        ["layer", "layer", "classifier"],
      ],
    );
    for (const { columns } of blocks) {
      for (const { kind, index, values } of columns) {
        const taps = kind === "layer" && !bottleneck ? 9 : 1;
        const places = Array.from({ length: index }, (_, s) => s + 1);
        assert.deepEqual(
          values.l1,
          places.map((place) => taps * place),
        );
        assert.deepEqual(values.perWeight, places);
        assert.deepEqual(
          values.columnMax,
          places.map((place) => place / index),
        );
      }
    }
  });
}

test("feature reuse · observations: weights that grow with the source are concentrated, and least on the transition", () => {
  const { findings } = featureReuse(marked(true));
  assert.deepEqual(
    findings.map(({ found }) => found),
    [true, true, true, true],
  );
});

test("feature reuse · observations are not found where they do not hold", () => {
  const model = marked(true);
  for (const { weight, sources } of anatomyOf(model.spec).readers) {
    const tensor = model.state.get(weight);
    assert.ok(tensor);
    const [, inputs] = tensor.shape;
    // All weight on what enters the block.
    tensor.data.forEach((_, at) => {
      if (at % inputs >= sources[0].channels) tensor.data[at] = 0;
    });
  }
  assert.deepEqual(
    featureReuse(model).findings.map(({ found }) => found),
    [false, false, false, false],
  );
});

test("feature reuse · blocks of one layer · no finding about layers with one source, none with a number that is not", () => {
  const spec = defineSpec({ growthRate: 2, blockConfig: [1, 1], numInitFeatures: 5, bottleneck: false });
  const { findings } = featureReuse(createNetwork(spec));
  assert.deepEqual(
    findings.map(({ place }) => place),
    ["section 5, observation 2", "section 5, observation 4"],
  );
  for (const { measured } of findings) assert.doesNotMatch(measured, /NaN|Infinity/);
});

test("feature reuse · a chain has nothing to compare", () => {
  assert.throws(
    () => featureReuse(createNetwork(namedSpec("plain-40-12"))),
    (error) => error instanceof UsageError && /reads only what the layer before it made/.test(error.message),
  );
});

test("effective sources · n equal ones count n, one alone counts 1", () => {
  assert.ok(Math.abs(effectiveSources([3, 3, 3, 3]) - 4) < 1e-12);
  assert.equal(effectiveSources([0, 5, 0]), 1);
});

test("feature reuse · the page has a square for every source of every column, and escapes names", () => {
  const reuse = featureReuse(marked(true));
  const section = featureReuseSection([{ name: "<b>", reuse }], "columnMax");
  const page = renderAnalyses({
    title: "<i>",
    subjects: [],
    command: "<u>",
    date: new Date(0),
    sections: [section],
    citation: "c",
  });
  const squares = reuse.blocks.flatMap(({ columns }) => columns.flatMap(({ values }) => values.l1)).length;
  assert.equal(page.match(/source \d+: /g)?.length, squares);
  assert.ok(!/<b>|<i>|<u>/.test(page));
});
