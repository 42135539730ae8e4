// cli: the file that --output names, and tables as comma-separated values.
import { access, constants, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { systemCode, writeFailure } from "../checkpoint/writeFailure.ts";
import { UsageError } from "../errors.ts";

/** Before the work, not after it. */
export async function requireWritable(output: string): Promise<void> {
  try {
    if (output === "") throw new UsageError('--output: got "", expected the name of a file', { flag: "--output" });
    await access(dirname(output), constants.W_OK);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw writeFailure(dirname(output), error);
    const expected = "expected a file in a folder that is there";
    throw new UsageError(`--output: the folder ${dirname(output)} does not exist, ${expected}`, { flag: "--output" });
  }
  const found = await stat(output).catch(() => undefined);
  if (found === undefined || found.isFile()) return;
  throw new UsageError(`--output: ${output} is no regular file, expected the name of a file to write`, {
    flag: "--output",
  });
}

/** RFC 4180, but for line ends. */
export function csv(rows: readonly (readonly string[])[]): string {
  return rows.map((row) => `${row.map(quoted).join(",")}\n`).join("");
}

function quoted(cell: string): string {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
