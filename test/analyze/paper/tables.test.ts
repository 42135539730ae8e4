// What the paper prints about its networks is what our networks are.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  figure3,
  figure4,
  table1,
  table1Networks,
  table2,
  table3,
  wideNetworks,
} from "../../../src/analyze/paper/tables.ts";
import { architecture, namedSpec, parameterCount } from "../../../src/networks/registry.ts";

describe("the paper's tables", () => {
  for (const [column, name] of table1Networks.entries()) {
    it(`Table 1 · ${name}: repeats and output sizes are those of our blocks`, () => {
      const { blocks } = architecture(namedSpec(name), { height: 224, width: 224 });
      const printed = table1.flatMap(({ outputSides, repeats }) =>
        repeats === undefined ? [] : [{ layers: repeats[column], side: outputSides[0] }],
      );
      assert.deepEqual(
        printed,
        blocks.map(({ layers, height }) => ({ layers, side: height })),
      );
    });
  }

  const printedSizes = [
    ...table2.map(({ variant, paramsMillions }) => ({ where: "Table 2", variant, paramsMillions })),
    ...wideNetworks.map(({ variant, paramsMillions }) => ({ where: "Wide DenseNets", variant, paramsMillions })),
  ];
  for (const { where, variant, paramsMillions } of printedSizes) {
    if (variant === undefined) continue;
    it(`${where} · ${variant}: our parameters round to the printed ones`, () => {
      assert.equal(Number((parameterCount(namedSpec(variant)) / 1e6).toFixed(1)), paramsMillions);
    });
  }

  for (const { network, variant, paramsMillions } of figure3) {
    if (variant === undefined) continue;
    it(`Figure 3 · ${network}: our parameters are where the point was read off, within 1 M`, () => {
      assert.ok(Math.abs(parameterCount(namedSpec(variant)) / 1e6 - paramsMillions) <= 1);
    });
  }

  it("Table 3 · errors fall with size, and ten crops err less than one", () => {
    const params = table3.map(({ variant }) => parameterCount(namedSpec(variant)));
    assert.deepEqual(
      params,
      params.toSorted((a, b) => a - b),
    );
    for (const top of ["top1", "top5"] as const) {
      const errors = table3.map((row) => row[top]);
      assert.ok(errors.every(({ singleCrop, tenCrop }) => tenCrop < singleCrop));
      assert.ok(errors.every(({ singleCrop }, index) => index === 0 || singleCrop < errors[index - 1].singleCrop));
    }
  });

  it("Figure 4 · the curves hold the networks of Table 2 that belong to them", () => {
    const names = Object.fromEntries(
      Object.entries(figure4).map(([curve, points]) => [curve, points.map(({ testError }) => testError)]),
    );
    assert.deepEqual(names, {
      denseNet: [5.24, 4.1, 3.74],
      denseNetBC: [4.51, 3.62, 3.46],
      preActivationResNet: [5.46, 4.62],
    });
  });

  it("Table 2 · 21 rows, and the lowest error of each column is a DenseNet's", () => {
    assert.equal(table2.length, 21);
    const lowest = (column: "C10" | "C10+" | "C100" | "C100+" | "SVHN") =>
      Math.min(...table2.flatMap(({ errors }) => errors[column] ?? []));
    assert.deepEqual((["C10", "C10+", "C100", "C100+", "SVHN"] as const).map(lowest), [5.19, 3.46, 19.64, 17.18, 1.59]);
  });
});
