// What readers of images and data sets make of files that are wrong: every prefix and many changed bytes of a small
// file of each format. Each file either decodes as the decoder alone decodes it, or is refused with one sentence that
// names it; nothing hangs, nothing else is thrown. The files are read in a process of their own, which a timer kills.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type FaultKind, faultKinds, type Outcomes } from "./imageFaults.ts";

const SECONDS = 120;
const child = fileURLToPath(new URL("imageFaultsChild.ts", import.meta.url));

for (const kind of faultKinds) {
  test(`faults · ${kind} · each file decodes or is refused in a sentence, none hangs`, async (context) => {
    const outcomes = await readAll(kind);
    const { tried, decoded, refused, wrong, slowestMs } = outcomes;
    context.diagnostic(
      `${kind}: ${tried} files, ${decoded} decoded, ${refused} refused, ${wrong.length} wrong, slowest ` +
        `${slowestMs.toFixed(0)} ms`,
    );
    assert.deepEqual(wrong, []);
    assert.ok(tried >= 300, `${tried} files were tried`);
    assert.equal(decoded + refused, tried);
    // The whole file is among them, and so is the empty one. CIFAR's whole files have 30 MB; cifar.test.ts reads them.
    assert.ok(refused >= 1 && (decoded >= 1 || kind === "cifar"));
  });
}

async function readAll(kind: FaultKind): Promise<Outcomes> {
  const { stdout } = await promisify(execFile)(process.execPath, [child, kind], {
    timeout: SECONDS * 1000,
    killSignal: "SIGKILL",
  });
  return JSON.parse(stdout);
}
