// Which code is written for this machine, and that a register tile that computes wrongly here is not used.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { chooseTarget, findWrongTile } from "../../../src/backends/wasm/features.ts";

test("256-bit code is written when asked for, where Node can have it", { skip: process.arch !== "x64" }, () => {
  assert.deepEqual(chooseTarget({ revectorize: true }), {
    target: { relaxedSimd: true, revectorized: true },
    notes: [],
  });
  assert.deepEqual(chooseTarget({ revectorize: false }), {
    target: { relaxedSimd: true, revectorized: false },
    notes: [],
  });
});

const { Instance } = WebAssembly;
after(() => {
  WebAssembly.Instance = Instance;
});

/** From now on every module's function of this number does nothing. Returns how many functions the last module has. */
function plant(broken: number): () => number {
  let functions = 0;
  WebAssembly.Instance = class {
    readonly exports: WebAssembly.Exports;
    constructor(module: WebAssembly.Module, imports: WebAssembly.Imports) {
      const { exports } = new Instance(module, imports);
      functions = Object.keys(exports).length;
      this.exports = { ...exports, [`f${broken}`]: () => undefined };
    }
  } as unknown as typeof Instance;
  return () => functions;
}

test("every register tile is judged: one that writes nothing is named, and leaves no target", () => {
  const plain = { relaxedSimd: false, revectorized: false };
  const functions = plant(-1);
  assert.equal(findWrongTile(plain), undefined);
  const found = Array.from({ length: functions() }, (_, broken) => {
    plant(broken);
    return findWrongTile(plain);
  });
  assert.deepEqual(found, [
    ...[1, 2, 3, 4].map((rows) => `product tile ${rows}×8`),
    ...[1, 2, 3, 4].map((rows) => `outer tile ${rows}×8`),
    "dot tile by rows",
    "dot tile by taps",
  ]);
  assert.throws(
    () => chooseTarget({ relaxedSimd: false }),
    /no register tile passes its self-check .* dot tile by taps/,
  );
});
