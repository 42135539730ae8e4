// analyze/paper: the measured runs in the package's folder results/.
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { InputError } from "../../errors.ts";
import { parseResult, RESULT_FILES, REUSE_FILE, type Result, type ResultFile } from "./results.ts";

export const resultsFolder: string = fileURLToPath(new URL("../../../results", import.meta.url));

/**
 * Every result in `folder`, by name.
 * @throws InputError naming a file that is not what a result has
 */
export async function readResults(folder: string = resultsFolder): Promise<Result[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  return Promise.all(names.sort().map((name) => readResult(join(folder, name), name)));
}

async function readResult(folder: string, name: string): Promise<Result> {
  const texts = await Promise.all(RESULT_FILES.map(async (file) => [file, await read(join(folder, file))] as const));
  const reuse = join(folder, REUSE_FILE);
  return parseResult(name, {
    ...(Object.fromEntries(texts) as Record<ResultFile, string>),
    ...(existsSync(reuse) ? { [REUSE_FILE]: await read(reuse) } : {}),
  });
}

function read(file: string): Promise<string> {
  return readFile(file, "utf8").catch((cause: unknown) => {
    throw new InputError(`${file}: cannot be read, expected a file of a recorded run`, { file }, { cause });
  });
}
