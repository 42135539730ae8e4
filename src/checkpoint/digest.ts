// checkpoint: the SHA-256 that a file of ours carries in its own metadata, so that it proves itself wherever it is
// copied to. Portable and synchronous, which neither Node's nor a page's own digests are.
//
// The manifest of a checkpoint's folder proves its files byte by byte, but a model.safetensors on its own has none: a
// flipped bit in a weight, a mean or a class name would pass. Two digests, because the two kinds of damage are told
// apart.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { VerificationError } from "../errors.ts";
import type { Tensor } from "../model/tensor.ts";
import { decodeFloats } from "./floats.ts";

/** Metadata key of the digests. A file that was saved before there were any has none. */
export const DIGEST_KEY = "densenet.sha256";

/**
 * The value for DIGEST_KEY: JSON of both digests in hexadecimal. `description`: the metadata's JSON, as it is written.
 */
export function digestsOf(tensors: ReadonlyMap<string, Tensor>, description: string): string {
  return JSON.stringify({ tensors: digestOfTensors(tensors), description: digestOfText(description) });
}

/**
 * Compares a file with the digests that it carries. `description`: the metadata's JSON, as it was read.
 * @throws VerificationError naming `source` and what was changed: the tensors or their description
 */
export function verifyDigests(
  tensors: ReadonlyMap<string, Tensor>,
  description: string,
  carried: string,
  source: string,
): void {
  if (carried === digestsOf(tensors, description)) return;
  // The description is only taken for right where the digest of it stands in what the file carries.
  const intact = carried.includes(digestOfText(description));
  const what = intact ? "tensors" : "description of the network (spec, mean, deviation, class names)";
  throw new VerificationError(
    `${source}: the SHA-256 of its ${what} is not the one saved with it; the file was changed or damaged`,
    { file: source, changed: intact ? "tensors" : "description" },
  );
}

function digestOfText(text: string): string {
  return bytesToHex(sha256(utf8ToBytes(text)));
}

/**
 * Over names, types, shapes and little-endian elements in the order of the names, wherever they lie in the file; of F16
 * over the F32 that reading gives.
 */
function digestOfTensors(tensors: ReadonlyMap<string, Tensor>): string {
  const digest = sha256.create();
  for (const [name, stored] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const bytes = new Uint8Array(stored.data.buffer, stored.data.byteOffset, stored.data.byteLength);
    const isHalf = stored.dtype === "F16";
    digest.update(
      utf8ToBytes(`${JSON.stringify(name)} ${isHalf ? "F32" : stored.dtype} [${stored.shape.join(",")}]\n`),
    );
    digest.update(isHalf ? new Uint8Array(decodeFloats(bytes, "F16").buffer) : bytes);
  }
  return bytesToHex(digest.digest());
}
