// Saves checkpoint after checkpoint into the folder given, until it is killed. Prints each step once its save has
// returned.
import { saveCheckpoint } from "../../src/checkpoint/store.node.ts";
import { markedCheckpoint } from "./marked.ts";

const [runDir, first] = process.argv.slice(2) as [string, string];
for (let step = Number(first); ; step++) {
  await saveCheckpoint(runDir, markedCheckpoint(step), { step, best: step % 3 === 0, keep: 2 });
  process.stdout.write(`${step}\n`);
}
