// run: the images of a run, and how they are recognised again.
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { relative, sep } from "node:path";
import type { Dataset } from "../data/dataset.ts";
import { openDataset } from "../data/open.node.ts";
import { UsageError } from "../errors.ts";
import type { TrainConfig } from "../train/config.ts";

/**
 * The data set of a configuration. `report` receives sentences for people: what was left out, and how far a long check
 * is.
 * @throws UsageError when it names none
 */
export async function openConfiguredDataset(
  { data, seed }: Pick<TrainConfig, "data" | "seed">,
  report?: (line: string) => void,
): Promise<Dataset> {
  const { dir, labels, valSplit, maxPixels, skipBad, imageSize } = data;
  if (dir === null) {
    throw new UsageError('data.dir: not given, expected a folder of images or "embedded"', { field: "data.dir" });
  }
  return openDataset({ dir, labels, valSplit, seed, imageSize: imageSize ?? undefined, maxPixels, skipBad, report });
}

/** Files asked for their size at once. */
const AT_ONCE = 64;

/**
 * SHA-256 over both splits, in order: of images in files their labels, sizes and names below `dir`, so that the same
 * folder has the same digest wherever it lies; of others labels and pixels.
 */
export async function dataDigest({ train, val, channels, height, width }: Dataset, dir: string): Promise<string> {
  const hash = createHash("sha256").update(`${channels} ${height} ${width}`);
  for (const split of [train, val]) {
    hash.update(`\n${split.length}\n`);
    hash.update(bytesOf(split.labels));
    const description = split.describe();
    if (description.kind === "files") {
      const { files } = description;
      for (let start = 0; start < files.length; start += AT_ONCE) {
        const some = files.slice(start, start + AT_ONCE);
        const sizes = await Promise.all(some.map(sizeOf));
        for (const [index, file] of some.entries()) {
          // A Mac's ü is a Linux ü, and Windows separates with backslashes.
          const name = relative(dir, file).replaceAll(sep, "/").normalize("NFC");
          hash.update(`${name}\0${sizes[index]}\0`);
        }
      }
    } else {
      hash.update(description.pixels);
      if (description.rows !== undefined) hash.update(bytesOf(description.rows));
    }
  }
  return hash.digest("hex");
}

/** Of a file that cannot be read nothing: who reads the image says what is wrong. */
async function sizeOf(file: string): Promise<number> {
  return stat(file).then(
    ({ size }) => size,
    () => -1,
  );
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint16Array | Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
