// bench: figures kept in bench/results, each file with its date in its name.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { say } from "./output.ts";

export const resultsFolder = join(import.meta.dirname, "results");

/** Writes `<what>-<date><ending>`, e.g. "peers", ".json" or "sweep", "-depth.svg". */
export async function writeResult(what: string, date: string, ending: string, text: string): Promise<void> {
  const path = join(resultsFolder, `${what}-${date.slice(0, 19).replaceAll(":", "")}${ending}`);
  await mkdir(resultsFolder, { recursive: true });
  await writeFile(path, text);
  say(`written: ${path}`);
}

/** Columns of a Markdown table; the first row is its header, numbers are right-aligned and named by their column. */
export function markdownTable(rows: readonly (readonly string[])[], rightAligned: readonly number[] = []): string {
  const [header = [], ...body] = rows;
  const rule = header.map((_, column) => (rightAligned.includes(column) ? "--:" : "---"));
  return [header, rule, ...body].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
