// cli: vectors of images as a file that other tools read.
import { open, rename, rm } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import { writeFailure } from "../checkpoint/writeFailure.ts";
import { UsageError } from "../errors.ts";
import { csv } from "./outputFile.ts";

/** A row of a file of vectors. */
export interface EmbeddingRow {
  readonly file: string;
  /** What the network takes the image for. */
  readonly label: string;
  readonly vector: Float32Array;
}

/** Formats of files of vectors, by their endings. */
export const embeddingFormats = [".npy", ".csv", ".safetensors"] as const;

/**
 * Writes rows as they come, whole or not at all; what is held in memory is their names. `.npy` (version 1.0) and
 * `.safetensors` (tensor `embeddings`) are f32, little-endian, [n, dims], with files and labels in a .json beside it
 * and in its metadata; `.csv` has the columns file, label, e0, e1, …
 */
export class EmbeddingWriter {
  readonly #path: string;
  readonly #format: string;
  /** Rows without what stands before them, which says how many there are. */
  readonly #temporary: string;
  readonly #files: string[] = [];
  readonly #labels: string[] = [];
  readonly #dims: number;
  #rows: Awaited<ReturnType<typeof open>> | undefined;

  /** @throws UsageError for another ending */
  constructor(path: string, dims: number) {
    this.#path = path;
    this.#format = extname(path).toLowerCase();
    this.#dims = dims;
    this.#temporary = join(path, "..", `.tmp-${process.pid}-${basename(path)}`);
    requireEmbeddingFormat(path);
  }

  async write(rows: readonly EmbeddingRow[]): Promise<void> {
    for (const { file, label } of rows) {
      this.#files.push(file);
      this.#labels.push(label);
    }
    await this.#append(
      this.#format === ".csv"
        ? new TextEncoder().encode(
            csv(rows.map(({ file, label, vector }) => [file, label, ...[...vector].map(String)])),
          )
        : bytesOf(rows.map(({ vector }) => vector)),
    );
  }

  /** Puts the file in its place. */
  async finish(): Promise<void> {
    await this.#append(new Uint8Array(0));
    const rows = this.#rows;
    if (rows === undefined) throw new RangeError("no rows");
    const final = `${this.#temporary}.whole`;
    try {
      const whole = await open(final, "w");
      try {
        await whole.writeFile(this.#head());
        const chunk = new Uint8Array(1 << 20);
        for (let at = 0; ; ) {
          const { bytesRead } = await rows.read(chunk, 0, chunk.length, at);
          if (bytesRead === 0) break;
          await whole.writeFile(chunk.subarray(0, bytesRead));
          at += bytesRead;
        }
        await whole.sync();
      } finally {
        await whole.close();
      }
      if (this.#format === ".npy") {
        const names = JSON.stringify({ files: this.#files, labels: this.#labels });
        await writeFileAtomic(namesBeside(this.#path), `${names}\n`);
      }
      await rename(final, this.#path);
    } catch (error) {
      throw writeFailure(this.#path, error);
    } finally {
      await rm(final, { force: true });
    }
  }

  /** Removes what is left of an unfinished file. */
  async dispose(): Promise<void> {
    await this.#rows?.close();
    await rm(this.#temporary, { force: true });
  }

  async #append(bytes: Uint8Array): Promise<void> {
    try {
      this.#rows ??= await open(this.#temporary, "w+");
      await this.#rows.appendFile(bytes);
    } catch (error) {
      throw writeFailure(this.#path, error);
    }
  }

  #head(): Uint8Array {
    const count = this.#files.length;
    if (this.#format === ".csv") {
      const columns = Array.from({ length: this.#dims }, (_, at) => `e${at}`);
      return new TextEncoder().encode(csv([["file", "label", ...columns]]));
    }
    if (this.#format === ".npy") return npyHead(count, this.#dims);
    const metadata = { files: JSON.stringify(this.#files), labels: JSON.stringify(this.#labels) };
    const tensor = { dtype: "F32", shape: [count, this.#dims], data_offsets: [0, 4 * count * this.#dims] };
    const json = JSON.stringify({ __metadata__: metadata, embeddings: tensor });
    const text = new TextEncoder().encode(json);
    const padded = new Uint8Array(8 + 8 * Math.ceil(text.length / 8)).fill(0x20);
    new DataView(padded.buffer).setBigUint64(0, BigInt(padded.length - 8), true);
    padded.set(text, 8);
    return padded;
  }
}

/** @throws UsageError for a file of another ending */
export function requireEmbeddingFormat(path: string): void {
  const format = extname(path).toLowerCase();
  if (embeddingFormats.some((known) => known === format)) return;
  throw new UsageError(`--output: got "${path}", expected a file that ends in ${embeddingFormats.join(", ")}`, {
    flag: "--output",
  });
}

/** Where the files' names of a .npy lie: `e.npy` → `e.json`. */
export const namesBeside = (path: string): string => `${path.slice(0, path.length - extname(path).length)}.json`;

/** What stands before the numbers of a NumPy file, format version 1.0: a multiple of 64 bytes. */
function npyHead(count: number, dims: number): Uint8Array {
  const dictionary = `{'descr': '<f4', 'fortran_order': False, 'shape': (${count}, ${dims}), }`;
  const length = 64 * Math.ceil((10 + dictionary.length + 1) / 64);
  const bytes = new Uint8Array(length).fill(0x20);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0]);
  new DataView(bytes.buffer).setUint16(8, length - 10, true);
  bytes.set(new TextEncoder().encode(dictionary), 10);
  bytes[length - 1] = 0x0a;
  return bytes;
}

/** f32, little-endian, one vector after the other. */
function bytesOf(vectors: readonly Float32Array[]): Uint8Array {
  const bytes = new Uint8Array(4 * vectors.reduce((sum, { length }) => sum + length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const vector of vectors) {
    for (const value of vector) {
      view.setFloat32(at, value, true);
      at += 4;
    }
  }
  return bytes;
}
