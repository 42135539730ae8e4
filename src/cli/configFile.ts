// cli: a config file, from its path to parsed JSON. A key that is given twice, of which JSON.parse takes the last in
// silence, is refused.
import { readRegularFile } from "../data/readFile.node.ts";
import { InputError } from "../errors.ts";
import { show } from "../show.ts";

/** Some hundred times what every setting written out takes. */
const MAX_BYTES = 1_000_000;

const EXPECTED = "a JSON file of settings";

/**
 * The value in a JSON file, not yet checked as settings.
 * @throws InputError when there is no such file, or it holds something else
 * @throws ResourceError when the system has run out of files or memory
 */
export async function readConfigFile(path: string): Promise<unknown> {
  const bytes = await readRegularFile(path, { expected: EXPECTED, maxBytes: MAX_BYTES });
  const refusal = (why: string, cause?: unknown): InputError =>
    new InputError(`${path}: ${why}, expected ${EXPECTED}`, { file: path }, { cause });
  const text = decoded(bytes);
  if (text === undefined) throw refusal("is not text in UTF-8");
  if (text.trim() === "") throw refusal("is empty");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw refusal(`is not JSON (${parserMessage(cause)})`, cause);
  }
  const twice = duplicateKey(text);
  if (twice !== undefined) throw refusal(`gives ${show(twice.key)} twice, the second time in line ${twice.line}`);
  return value;
}

/** Without a byte order mark, which editors on Windows write and JSON does not know. */
function decoded(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** The parser's reason, which may quote the text, on one line. */
function parserMessage(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ");
}

/** The first key that stands twice in one object of `json`, which must be valid JSON. */
function duplicateKey(json: string): { key: string; line: number } | undefined {
  interface Level {
    /** undefined: a list */
    readonly keys?: Set<string>;
    isKeyNext: boolean;
  }
  const levels: Level[] = [];
  let line = 1;
  for (const [token] of json.matchAll(/"(?:[^"\\]+|\\.)*"|[{}[\],\n]/g)) {
    const level = levels.at(-1);
    if (token === "\n") line++;
    else if (token === "{") levels.push({ keys: new Set(), isKeyNext: true });
    else if (token === "[") levels.push({ isKeyNext: false });
    else if (token === "}" || token === "]") levels.pop();
    else if (level === undefined) continue;
    else if (token === ",") level.isKeyNext = level.keys !== undefined;
    else if (level.isKeyNext) {
      const key = String(JSON.parse(token));
      if (level.keys?.has(key)) return { key, line };
      level.keys?.add(key);
      level.isKeyNext = false;
    }
  }
  return undefined;
}
