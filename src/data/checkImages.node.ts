// data: finds the images of a folder that cannot be read, all of them before anything is trained.
import { InputError } from "../errors.ts";
import type { FilesDescription } from "./dataset.ts";
import { filesSplit } from "./filesSplit.node.ts";

export interface BadImage {
  /** Position in the list that was checked. */
  readonly index: number;
  /** One sentence that begins with the file. */
  readonly message: string;
}

/** Files in flight. */
const CONCURRENT = 16;
/** Between two lines of progress; shorter checks have none. */
const PROGRESS_MS = 3000;
const SHOWN = 20;

/**
 * Runs `check` on 0 … count − 1.
 * @returns those for which it rejects with an InputError, in order; any other rejection is passed on
 */
export async function findBad(
  count: number,
  check: (index: number) => Promise<unknown>,
  report: ((line: string) => void) | undefined,
): Promise<BadImage[]> {
  const bad: BadImage[] = [];
  let next = 0;
  let reported = performance.now();
  const worker = async (): Promise<void> => {
    while (next < count) {
      const index = next++;
      try {
        await check(index);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        bad.push({ index, message: error.message });
      }
      if (report !== undefined && performance.now() - reported > PROGRESS_MS) {
        reported = performance.now();
        report(`checked ${next} of ${count} images`);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENT, count) }, worker));
  return bad.sort((a, b) => a.index - b.index);
}

/** Decodes every image of a split, into its cache where it has one, and returns those that do not decode. */
export async function findUndecodable(
  description: FilesDescription,
  report: ((line: string) => void) | undefined,
): Promise<BadImage[]> {
  const split = filesSplit(description);
  const stride = description.channels * description.height * description.width;
  return findBad(split.length, async (index) => split.pixels(index, new Uint8Array(stride)), report);
}

/** The first of them, one a line, and how many there are. */
export function listOfBad(bad: readonly BadImage[]): string {
  const lines = bad.slice(0, SHOWN).map(({ message }) => `\n  ${message}`);
  const more = bad.length - lines.length;
  return lines.join("") + (more > 0 ? `\n  and ${more} more` : "");
}

/** The refusal of a folder with such images. */
export function badImages(dir: string, bad: readonly BadImage[], count: number): InputError {
  const [first] = bad;
  const details = { dir, count: bad.length, files: bad.map(({ message }) => message) };
  if (bad.length === 1 && first !== undefined) {
    return new InputError(`${first.message}; repair or remove it, or leave it out with skipBad (--skip-bad)`, details);
  }
  return new InputError(
    `${dir}: ${bad.length} of ${count} images cannot be read; repair or remove them, or leave them out with skipBad ` +
      `(--skip-bad):${listOfBad(bad)}`,
    details,
  );
}
