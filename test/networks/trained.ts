// Test support: what the command must do with a run of any family of networks.
import assert from "node:assert/strict";
import { join } from "node:path";
import { densenet, events, type Outcome, start } from "../cli/command.ts";
import { CLASSES } from "../cli/images.ts";

/** Numbers of the last epoch that a run's events hold. */
export function lastEpoch(stdout: string): Record<string, unknown> {
  const { epoch, trainLoss, valLoss, valTop1Error } = events(stdout).findLast(({ type }) => type === "epoch") ?? {};
  return { epoch, trainLoss, valLoss, valTop1Error };
}

/** Starts a run and stops it with SIGTERM after its first update. */
export async function stopAfterFirstUpdate(args: readonly string[]): Promise<Outcome> {
  const run = start(args);
  let seen = "";
  run.child.stdout?.on("data", (text: string) => {
    // The chunk that completes the first update's event.
    if (!seen.includes('"type":"step"') && (seen + text).includes('"type":"step"')) run.child.kill("SIGTERM");
    seen += text;
  });
  return run.done;
}

/** The checkpoint of `run` gives the validation error of its last epoch, and a label for an image of `data`. */
export async function requireUsable(run: string, data: string, whole: Outcome): Promise<void> {
  const measured = await densenet(["eval", run, "--json"]);
  assert.equal(measured.code, 0, measured.stderr);
  const { top1Error, loss } = JSON.parse(measured.stdout);
  const last = lastEpoch(whole.stdout);
  assert.equal(top1Error, last.valTop1Error);
  assert.ok(Math.abs(loss - Number(last.valLoss)) < 1e-5);
  const asked = await densenet(["predict", run, join(data, "red", "3.png"), "--json"]);
  assert.equal(asked.code, 0, asked.stderr);
  assert.match(asked.stdout, new RegExp(`"label":"(${CLASSES.join("|")})"`));
}
