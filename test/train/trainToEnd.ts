// Trains the tiny net in the run folder given for the epochs given, from its last checkpoint if there is one, to the
// end or until it is killed or asked to stop.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import { resumeOnDisk, startOnDisk } from "./onDisk.ts";
import { tinyConfig } from "./tiny.ts";

const [runDir, epochs] = process.argv.slice(2) as [string, string];
const config = tinyConfig({ epochs: Number(epochs), checkpointEverySteps: 1 });
const backend = await createWasmBackend({ threads: 1 });
const options = { config, backend, runDir };
const begun = await stat(join(runDir, "checkpoints", "last.json")).catch(() => undefined);
const trainer = begun ? await resumeOnDisk(options) : startOnDisk(options);
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
let last = "";
for await (const event of trainer.run(stop.signal)) {
  last = event.type;
  process.stdout.write(`${event.type}\n`);
}
await backend.dispose();
process.exitCode = last === "end" ? 0 : 143;
