// Runs can be repeated: no file draws from a source without a seed, and the tests' own source is a function of the seed
// and the key.
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { draws } from "./seeded.ts";

test("no file of src, test, bench, scripts or examples calls Math.random", () => {
  const files = globSync("{src,test,bench,scripts,examples}/**/*.{ts,mjs,html}", { exclude: ["**/node_modules/**"] });
  assert.ok(files.length > 200);
  const forbidden = ["Math", "random("].join(".");
  assert.deepEqual(
    files.filter((file) => readFileSync(file, "utf8").includes(forbidden)),
    [],
  );
});

test("draws · the same for a key, others for another key, evenly spread over [0, 1)", () => {
  const sequence = (key: string): number[] => {
    const draw = draws(key);
    return Array.from({ length: 1000 }, draw);
  };
  const [a, b] = [sequence("a"), sequence("b")];
  assert.deepEqual(sequence("a"), a);
  assert.notDeepEqual(a, b);
  assert.equal(new Set([...a, ...b]).size, 2000);
  for (const numbers of [a, b]) {
    const tenths = Array.from({ length: 10 }, (_, k) => numbers.filter((x) => Math.floor(x * 10) === k).length);
    assert.ok(Math.min(...tenths) > 60 && Math.max(...tenths) < 140, tenths.join());
  }
});
