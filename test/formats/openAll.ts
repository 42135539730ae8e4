// Test support: opens every file of a folder in a process of its own and prints how much memory that took: node
// openAll.ts FOLDER
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { InputError } from "../../src/errors.ts";
import { isOnnx } from "../../src/formats/read.ts";
import { openBytes, withOnnx } from "./openBytes.ts";

const [folder = ""] = process.argv.slice(2);
const names = readdirSync(folder);
if (names.some((name) => isOnnx(readFileSync(join(folder, name))))) await withOnnx();
const before = process.memoryUsage.rss();
let opened = 0;
for (const name of names) {
  try {
    openBytes(readFileSync(join(folder, name)), name);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
  }
  opened++;
}
process.stdout.write(JSON.stringify({ opened, before, peak: process.resourceUsage().maxRSS * 1024 }));
