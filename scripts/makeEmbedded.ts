// Makes assets/cifar10-subset.bin.br, assets/samples/ and assets/README.md from the official binary version of
// CIFAR-10.
//   node scripts/makeEmbedded.ts FOLDER_OR_TAR_GZ
import { createHash } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { brotliCompressSync, constants } from "node:zlib";
import sharp from "sharp";
import { CIFAR_CITATION, CIFAR_PIXELS, CIFAR_SIDE, findCifar, readCifar } from "../src/data/cifar.node.ts";
import type { Split } from "../src/data/dataset.ts";
import { embeddedFile, type LabelledPixels, packEmbedded } from "../src/data/embedded.node.ts";

const TRAIN_PER_CLASS = 600;
const TEST_PER_CLASS = 100;
/** Sample images come from behind the embedded test images, so that nothing embedded is among them. */
const SAMPLE_CLASSES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3, 8];

const assets = new URL("../assets/", import.meta.url);
const place = process.argv[2];
const source = place === undefined ? undefined : await findCifar(place);
if (source?.kind !== "cifar10") {
  console.error("usage: node scripts/makeEmbedded.ts FOLDER_OR_TAR_GZ   (the binary version of CIFAR-10)");
  process.exit(2);
}
const cifar = await readCifar(source);

/** Images of `split` in file order, the first `skip` of each class passed over, then `take` of each class. */
function balanced(split: Split, skip: number, take: number): Int32Array {
  const seen = new Map<number, number>();
  const chosen: number[] = [];
  for (const [index, label] of split.labels.entries()) {
    const before = seen.get(label) ?? 0;
    seen.set(label, before + 1);
    if (before >= skip && before < skip + take) chosen.push(index);
  }
  return Int32Array.from(chosen);
}

async function images(split: Split, indices: Int32Array): Promise<LabelledPixels> {
  const pixels = new Uint8Array(indices.length * CIFAR_PIXELS);
  for (const [position, index] of indices.entries()) {
    await split.pixels(index, pixels.subarray(position * CIFAR_PIXELS, (position + 1) * CIFAR_PIXELS));
  }
  return { labels: Uint8Array.from(indices, (index) => split.labels[index]), pixels };
}

const train = await images(cifar.train, balanced(cifar.train, 0, TRAIN_PER_CLASS));
const test = await images(cifar.val, balanced(cifar.val, 0, TEST_PER_CLASS));
const packed = packEmbedded(train, test);
const compressed = brotliCompressSync(packed, {
  params: {
    [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
    [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
    [constants.BROTLI_PARAM_SIZE_HINT]: packed.length,
  },
});
await mkdir(assets, { recursive: true });
await writeFile(embeddedFile, compressed);

await rm(new URL("samples/", assets), { recursive: true, force: true });
await mkdir(new URL("samples/", assets));
const unseen = balanced(cifar.val, TEST_PER_CLASS, SAMPLE_CLASSES.length);
const numbers = new Map<number, number>();
for (const label of SAMPLE_CLASSES) {
  const number = (numbers.get(label) ?? 0) + 1;
  numbers.set(label, number);
  const index = unseen.filter((candidate) => cifar.val.labels[candidate] === label)[number - 1];
  const planar = new Uint8Array(CIFAR_PIXELS);
  await cifar.val.pixels(index, planar);
  const plane = CIFAR_SIDE * CIFAR_SIDE;
  const interleaved = Uint8Array.from(planar, (_, i) => planar[(i % 3) * plane + Math.floor(i / 3)]);
  await sharp(interleaved, { raw: { width: CIFAR_SIDE, height: CIFAR_SIDE, channels: 3 } })
    .png({ compressionLevel: 9 })
    .toFile(new URL(`samples/${cifar.classes[label]}-${number}.png`, assets).pathname);
}

const sha256 = (...parts: Uint8Array[]): string => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
};
await writeFile(
  new URL("README.md", assets),
  `# Images that come with the package

\`cifar10-subset.bin.br\` holds ${train.labels.length} training and ${test.labels.length} test images of CIFAR-10 (32×32 RGB, 10 balanced classes), unchanged.
\`samples/\` holds ${SAMPLE_CLASSES.length} further images of the CIFAR-10 test set as PNG, none of them in the subset.

> ${CIFAR_CITATION}
> https://www.cs.toronto.edu/~kriz/cifar.html

Chosen without looking: the first ${TRAIN_PER_CLASS} images of every class in \`data_batch_1.bin\` … and the first ${TEST_PER_CLASS} in \`test_batch.bin\`, in file order;
the samples are the next ones of their class in the test set. Made by \`node scripts/makeEmbedded.ts FOLDER\` from the official binary
version. Format: brotli over two counts, the labels and the pixels' prediction errors (\`src/data/embedded.node.ts\`, \`src/data/losslessPixels.ts\`).

| | SHA-256 |
|---|---|
| \`cifar10-subset.bin.br\` (${compressed.length} bytes) | \`${sha256(compressed)}\` |
| training pixels, ${train.pixels.length} bytes [n, 3, 32, 32] | \`${sha256(train.pixels)}\` |
| training labels, one byte each | \`${sha256(train.labels)}\` |
| test pixels, ${test.pixels.length} bytes | \`${sha256(test.pixels)}\` |
| test labels | \`${sha256(test.labels)}\` |
`,
);
console.log(
  `${compressed.length} bytes, ${(compressed.length / (train.labels.length + test.labels.length)).toFixed(0)} an image`,
);
