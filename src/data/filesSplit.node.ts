// data: a split whose images are files, decoded when they are asked for. Also what the loader's thread makes from a
// description.
import { bytesSplit, type FilesDescription, type Split, type SplitDescription, sharedBytes } from "./dataset.ts";
import { decodeFiveCrops, decodeImage } from "./image.node.ts";

/** Small images are decoded once and kept for all epochs, up to this many bytes per split. */
const CACHE_BYTES = 512 * 2 ** 20;

/** Adds the memory for decoded images to a description, if they fit. */
export function withCache(description: FilesDescription): FilesDescription {
  const { files, channels, height, width } = description;
  const bytes = files.length * channels * height * width;
  if (bytes > CACHE_BYTES) return description;
  return { ...description, cache: { pixels: sharedBytes(bytes), filled: sharedBytes(files.length) } };
}

export function filesSplit(description: FilesDescription): Split {
  const { files, labels, cache, maxPixels } = description;
  const stride = description.channels * description.height * description.width;
  const file = (index: number): string => {
    const path = files[index];
    if (path === undefined) throw new RangeError(`image ${index} of ${files.length}`);
    return path;
  };
  return {
    length: files.length,
    labels,
    async pixels(index, out) {
      if (cache !== undefined && Atomics.load(cache.filled, index) === 1) {
        out.set(cache.pixels.subarray(index * stride, (index + 1) * stride));
        return;
      }
      const bytes = await decodeImage(file(index), description, { maxPixels });
      out.set(bytes);
      if (cache !== undefined) {
        cache.pixels.set(bytes, index * stride);
        // After the pixels: another thread that sees the flag sees them too.
        Atomics.store(cache.filled, index, 1);
      }
    },
    async crop(index, box, out) {
      out.set(await decodeImage(file(index), description, { crop: box, maxPixels }));
    },
    fiveCrops: (index) => decodeFiveCrops(file(index), description, { maxPixels }),
    describe: () => description,
  };
}

export function splitFrom(description: SplitDescription): Split {
  return description.kind === "bytes" ? bytesSplit(description) : filesSplit(description);
}
