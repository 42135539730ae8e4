// Test support: reads the files of one kind of imageFaults.ts and prints as JSON what came of them. In a process of its
// own, so that it can be killed.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { findCifar, readCifar } from "../../src/data/cifar.node.ts";
import { fitImage } from "../../src/data/fitImage.ts";
import { decodeImage, readFileHeader } from "../../src/data/image.node.ts";
import { withoutTexts } from "../../src/data/pngChunks.ts";
import { InputError } from "../../src/errors.ts";
import { apart } from "../data/pillow.ts";
import { type FaultKind, faultsOf, type Outcomes, wholeFile } from "./imageFaults.ts";

const kind = process.argv[2] as FaultKind;
const root = await mkdtemp(join(tmpdir(), "densenet-faults-"));
const size = { channels: 3, height: 8, width: 8 } as const;
const file = join(root, `file.${kind.replace("progressive ", "")}`);

/** True: decoded, and to what the decoder alone makes of it. */
async function read(bytes: Uint8Array): Promise<true | string> {
  if (kind === "cifar") {
    // A file whose size is not the official one, in a folder of the official names.
    const name = "data_batch_1.bin";
    const source = {
      kind: "cifar10",
      place: root,
      read: async (wanted: string) => (wanted === name ? bytes : classes(wanted)),
    } as const;
    await readCifar(source);
    return true;
  }
  await writeFile(file, bytes);
  if (kind === "tar.gz") {
    const source = await findCifar(file);
    if (source !== undefined) await source.read("data_batch_1.bin");
    return true;
  }
  await readFileHeader(file, 64e6);
  const found = await decodeImage(file, size);
  const { data, info } = await sharp(kind === "png" ? withoutTexts(bytes) : bytes, { failOn: "error" })
    .autoOrient()
    .flatten({ background: "white" })
    .toColourspace("srgb")
    .raw({ depth: "uchar" })
    .toBuffer({ resolveWithObject: true });
  const difference = apart(found, fitImage({ data, width: info.width, height: info.height }, size));
  return difference <= 2 || `${difference} grey levels from what the decoder makes of it`;
}

function classes(wanted: string): Uint8Array | undefined {
  return wanted === "batches.meta.txt" ? Buffer.from("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n") : undefined;
}

const outcomes = { tried: 0, decoded: 0, refused: 0, wrong: [] as string[], slowestMs: 0 };
for (const [name, bytes] of faultsOf(kind, await wholeFile(kind))) {
  outcomes.tried++;
  const began = performance.now();
  try {
    const result = await read(bytes);
    if (result === true) outcomes.decoded++;
    else outcomes.wrong.push(`${name}: ${result}`);
  } catch (error) {
    const isSentence =
      error instanceof InputError &&
      error.message.startsWith(kind === "cifar" ? root : file) &&
      !error.message.includes("\n") &&
      !/undefined|NaN|\[object/.test(error.message);
    if (isSentence) outcomes.refused++;
    else outcomes.wrong.push(`${name}: ${error}`);
  }
  outcomes.slowestMs = Math.max(outcomes.slowestMs, performance.now() - began);
}
await rm(root, { recursive: true });
process.stdout.write(JSON.stringify(outcomes satisfies Outcomes));
