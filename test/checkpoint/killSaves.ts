// Test support: kill -9 of a process that saves checkpoint after checkpoint, at drawn moments; after each, what lies on
// the disk is read.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { loadCheckpoint } from "../../src/checkpoint/store.node.ts";
import { markedCheckpoint } from "./marked.ts";

const script = fileURLToPath(new URL("./saveForever.ts", import.meta.url));

/** Longest wait after a process's first save, in ms: some saves long, so that kills fall into all of their steps. */
const LONGEST_WAIT = 40;

/**
 * Kills `count` processes in turn that save into `run`. Asserts after each that `last` and `best` load whole and that
 * no save that had returned is lost.
 * @returns how many were killed, the saves that had returned, and the kills that fell behind an unfinished save
 */
export async function killSaves(
  run: string,
  count: number,
  draw: () => number,
): Promise<{ readonly kills: number; readonly saves: number; readonly unprinted: number }> {
  let finished = 0;
  let kills = 0;
  let unprinted = 0;
  for (; kills < count; kills++) {
    const child = spawn(process.execPath, [script, run, String(finished + 1)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    const firstSave = new Promise<void>((resolve) => {
      child.stdout.on("data", (chunk: Buffer) => {
        output += chunk.toString();
        resolve();
      });
    });
    const closed = new Promise<void>((resolve) => child.on("close", () => resolve()));
    await Promise.race([firstSave, closed]);
    await new Promise((resolve) => setTimeout(resolve, draw() * LONGEST_WAIT));
    child.kill("SIGKILL");
    await closed;
    assert.equal(child.signalCode, "SIGKILL");
    const printed = output.split("\n").slice(0, -1).map(Number);
    finished = Math.max(finished, ...printed);

    const { folder: _last, verified, ...last } = await loadCheckpoint(run);
    assert.ok(verified);
    const step = last.trained.model.batchesTracked;
    assert.ok(step >= finished, `step ${step} is loaded, ${finished} was saved`);
    assert.deepEqual(last, markedCheckpoint(step));
    if (step > finished) unprinted++;
    finished = step;
    if (finished >= 3) {
      const { folder: _best, verified: _, ...best } = await loadCheckpoint(run, "best");
      assert.equal(best.trained.model.batchesTracked % 3, 0);
      assert.deepEqual(best, markedCheckpoint(best.trained.model.batchesTracked));
    }
  }
  return { kills, saves: finished, unprinted };
}
