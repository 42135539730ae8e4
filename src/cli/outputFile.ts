// cli: the file that --output names, and tables as comma-separated values.
import { access, constants, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { systemCode, writeFailure } from "../checkpoint/writeFailure.ts";
import { UsageError } from "../errors.ts";

/** Before the work, not after it. */
export async function requireWritable(output: string, flag = "--output"): Promise<void> {
  try {
    if (output === "") throw new UsageError(`${flag}: got "", expected the name of a file`, { flag });
    await access(dirname(output), constants.W_OK);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw writeFailure(dirname(output), error);
    const expected = "expected a file in a folder that is there";
    throw new UsageError(`${flag}: the folder ${dirname(output)} does not exist, ${expected}`, { flag });
  }
  const found = await stat(output).catch(() => undefined);
  if (found === undefined || found.isFile()) return;
  throw new UsageError(`${flag}: ${output} is no regular file, expected the name of a file to write`, { flag });
}

/** RFC 4180, but for line ends. */
export function csv(rows: readonly (readonly string[])[]): string {
  return rows.map((row) => `${row.map(quoted).join(",")}\n`).join("");
}

function quoted(cell: string): string {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
