// Test support: what the tests of damaged files of weights ask of each, whichever tool the file imitates.
import assert from "node:assert/strict";
import { test } from "node:test";
import { InputError } from "../../src/errors.ts";
import { openBytes, withOnnx } from "../formats/openBytes.ts";
import { leastGrowth } from "./growth.ts";

export interface DamagedFile {
  readonly what: string;
  readonly bytes: Uint8Array;
  readonly says: RegExp;
}

await withOnnx();

/** Opens the file as the command does, from its bytes. */
function open(bytes: Uint8Array): void {
  openBytes(bytes, "the file");
}

/** Each file is refused in one sentence that names it, soon. */
export function testSentences(files: readonly DamagedFile[]): void {
  for (const { what, bytes, says } of files) {
    test(`${what} · one sentence`, () => {
      const start = performance.now();
      assert.throws(
        () => open(bytes),
        (error: unknown) => {
          assert.ok(error instanceof InputError, `got ${error instanceof Error ? error.stack : String(error)}`);
          assert.match(error.message, says);
          assert.match(error.message, /^the file: [^\p{Cc}]{10,800}$/u);
          return true;
        },
      );
      // The slowest takes 0.3 s alone; several engineers may share two cores.
      assert.ok(performance.now() - start < 5000, "takes longer than 5 s");
    });
  }
}

/** Files above `large` bytes take 64 MB and four times their size each, the others as much together. */
export function testMemory(root: string, files: readonly DamagedFile[], large: number): void {
  for (const { what, bytes } of files.filter((file) => file.bytes.length > large)) {
    test(`${what} · ${bytes.length} bytes take at most 64 MB and four times as much`, () => {
      const limit = 64e6 + 4 * bytes.length;
      const growth = leastGrowth(root, [bytes], limit);
      assert.ok(growth <= limit, `${(growth / 1e6).toFixed(0)} MB`);
    });
  }
  const small = files.flatMap(({ bytes }) => (bytes.length <= large ? [bytes] : []));
  test(`the ${small.length} files of up to ${large} bytes together take at most 64 MB and four times the largest`, () => {
    const limit = 64e6 + 4 * large;
    const growth = leastGrowth(root, small, limit);
    assert.ok(growth <= limit, `${(growth / 1e6).toFixed(0)} MB`);
  });
}

/** An error must be a sentence about the file; a change that does no harm may be accepted. */
export function survives(bytes: Uint8Array): "accepted" | "refused" {
  try {
    open(bytes);
    return "accepted";
  } catch (error) {
    if (error instanceof InputError && /^the file: [^\p{Cc}]+$/u.test(error.message)) return "refused";
    throw error;
  }
}
