// formats: the bytes of a file → what it is, by its first bytes, and its tensors. Portable.
import { decodeFloats } from "../checkpoint/floats.ts";
import { readSafetensors } from "../checkpoint/safetensors.ts";
import { InputError } from "../errors.ts";
import { isHdf5 } from "./hdf5.ts";
import { isKerasZip, readKerasH5, readKerasZip } from "./keras.ts";
import { isLegacyTorch, readTorchLegacy, readTorchZip } from "./pytorch.ts";
import type { FileTensor, WeightFile } from "./weightFile.ts";
import { isZip, readZip } from "./zip.ts";

/**
 * Opens a file of weights: PyTorch's in both containers, TorchScript's, safetensors, Keras's. ONNX files, whose reader
 * takes a library for protocol buffers, have an opening of their own (`onnx/read.ts`). `source` names it in messages.
 * @throws InputError saying what the file is instead, or the place where it is damaged
 */
export function readWeights(bytes: Uint8Array, source: string): WeightFile {
  if (isZip(bytes)) {
    const files = readZip(bytes, source);
    return (isKerasZip(files) ? readKerasZip : readTorchZip)(files, bytes.length, source);
  }
  if (isHdf5(bytes)) return readKerasH5(bytes, source);
  if (isLegacyTorch(bytes)) return readTorchLegacy(bytes, source);
  if (isSafetensors(bytes)) return readSafetensorsFile(bytes, source);
  throw new InputError(
    `${source}: is ${whatItIs(bytes)}; expected weights: a PyTorch file (.pth, .pt, .pth.tar), a ` +
      "safetensors file, an ONNX file or a Keras file (.keras, .h5)",
    { file: source },
  );
}

/** The header's length is 8 bytes, then its { follows at once. */
export function isSafetensors(bytes: Uint8Array): boolean {
  return bytes.length >= 9 && bytes[8] === 0x7b && bytes[7] === 0 && bytes[6] === 0;
}

/** IR version first, then one of the fields that come next: producer, its version, graph, operator sets. */
export function isOnnx(bytes: Uint8Array): boolean {
  return bytes.length > 4 && bytes[0] === 0x08 && bytes[1] < 32 && [0x12, 0x1a, 0x22, 0x3a, 0x42].includes(bytes[2]);
}

function readSafetensorsFile(bytes: Uint8Array, source: string): WeightFile {
  const { entries } = readSafetensors(bytes, source);
  const tensors = new Map(
    entries.map(({ name, dtype, shape, bytes: view }): [string, FileTensor] => [
      name,
      { dtype, shape, read: () => decodeFloats(view(), dtype) },
    ]),
  );
  return { format: "a safetensors file", tensors, bytes: bytes.length, notes: [] };
}

/** Files that people take for weights, by their first bytes. */
const KINDS: readonly (readonly [what: string, ...bytes: (number | undefined)[]])[] = [
  ["a gzip archive, which must be unpacked first", 0x1f, 0x8b],
  ["a PNG image", 0x89, 0x50, 0x4e, 0x47],
  ["a JPEG image", 0xff, 0xd8, 0xff],
  ["an empty zip archive", 0x50, 0x4b, 0x05, 0x06],
  ["an ONNX file or another protocol buffer", 0x08, undefined, 0x12],
  ["a numpy array", 0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59],
  ["a pickle that torch.save did not write", 0x80, 0x02],
  ["a pickle that torch.save did not write", 0x80, 0x03],
  ["a pickle that torch.save did not write", 0x80, 0x04],
  ["a pickle that torch.save did not write", 0x80, 0x05],
  ["a Git LFS pointer, whose file was not fetched", ...ascii("version https://git-lfs")],
  ["an HTML page, perhaps of a failed download", ...ascii("<!")],
  ["an HTML page, perhaps of a failed download", ...ascii("<html")],
  ["a JSON text", 0x7b],
];

function whatItIs(bytes: Uint8Array): string {
  if (bytes.length === 0) return "empty";
  const kind = KINDS.find(([, ...first]) => first.every((byte, i) => byte === undefined || bytes[i] === byte));
  if (kind !== undefined) return kind[0];
  // The tar files of PyTorch before 0.1.10 (2017) have their mark at 257.
  if (ascii("ustar").every((byte, i) => bytes[257 + i] === byte)) return "a tar archive, which must be unpacked first";
  return "of no kind that is known";
}

function ascii(text: string): number[] {
  return [...text].map((character) => character.charCodeAt(0));
}
