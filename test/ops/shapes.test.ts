// ops: inputs whose sizes do not fit are refused with a sentence that names the operand and both sizes.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { UsageError } from "../../src/errors.ts";
import type { Attrs } from "../../src/ops/op.ts";
import { type OpName, opOf } from "../../src/ops/table.ts";

const cases: readonly { op: OpName; inputs: readonly (readonly number[])[]; attrs?: Attrs; says: RegExp }[] = [
  {
    op: "conv2d",
    inputs: [
      [1, 192, 8, 8],
      [128, 160, 1, 1],
    ],
    attrs: { stride: 1, padding: 0 },
    says: /conv2d: weight has shape \[128, 160, 1, 1\], expected \[any, 192, 1, 1\]/,
  },
  {
    op: "conv2d",
    inputs: [
      [1, 3, 2, 2],
      [4, 3, 7, 7],
    ],
    attrs: { stride: 2, padding: 1 },
    says: /window of 7 does not fit into 2/,
  },
  {
    op: "conv2dGradInput",
    inputs: [
      [1, 4, 5, 5],
      [4, 3, 3, 3],
    ],
    attrs: { stride: 1, padding: 1, height: 6, width: 5 },
    says: /output gradient has shape \[1, 4, 5, 5\], expected \[any, 4, 6, 5\]/,
  },
  { op: "channelStatistics", inputs: [[3, 4]], says: /input has shape \[3, 4\]/ },
  {
    op: "normalize",
    inputs: [[2, 3, 4, 4], [3], [3], [4], [3]],
    attrs: { eps: 1e-5 },
    says: /gamma has shape \[4\], expected \[3\]/,
  },
  { op: "avgPool2d", inputs: [[1, 1, 1, 4]], attrs: { window: [2, 2] }, says: /window of 2 does not fit into 1/ },
  {
    op: "concat",
    inputs: [
      [2, 3, 4, 4],
      [2, 3, 4, 5],
    ],
    says: /input 1 has shape \[2, 3, 4, 5\], expected \[2, any, 4, 4\]/,
  },
  { op: "concat", inputs: [[2, 3]], says: /input 0 has shape \[2, 3\]/ },
  { op: "slice", inputs: [[5]], attrs: { start: 3, length: 3 }, says: /input has shape \[5\], expected \[6\]/ },
  { op: "linear", inputs: [[2, 5], [3, 4], [3]], says: /weight has shape \[3, 4\], expected \[any, 5\]/ },
  { op: "softmaxCrossEntropy", inputs: [[2, 5], [3]], says: /labels has shape \[3\], expected \[2\]/ },
  {
    op: "add",
    inputs: [
      [2, 5],
      [2, 4],
    ],
    says: /input 1 has shape \[2, 4\], expected \[2, 5\]/,
  },
  {
    op: "identityShortcut",
    inputs: [[1, 5, 4, 4]],
    attrs: { stride: 2, channels: 4 },
    says: /5 channels cannot be padded to 4/,
  },
  {
    op: "identityShortcutGrad",
    inputs: [[1, 5, 2, 2]],
    attrs: { stride: 2, channels: 4, height: 5, width: 4 },
    says: /output gradient has shape \[1, 5, 2, 2\], expected \[any, any, 3, 2\]/,
  },
  {
    op: "updateRunning",
    inputs: [[2], [2], [3], [2]],
    attrs: { momentum: 0.1, count: 2 },
    says: /runningMean has shape \[3\]/,
  },
];

describe("shape errors", () => {
  for (const { op, inputs, attrs = {}, says } of cases) {
    test(`${op} · ${JSON.stringify(inputs)}`, () => {
      assert.throws(
        () => opOf(op).shapes(inputs, attrs),
        (error) => error instanceof UsageError && says.test(error.message),
      );
    });
  }
});
