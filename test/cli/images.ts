// Test support: a folder of small images in three classes that a tiny network tells apart at once: one colour channel is brighter.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";

export const CLASSES = ["blue", "green", "red"] as const;
const SIDE = 12;

/** `folder`/<class>/<number>.png. Others with another `variation`. */
export async function makeImages(folder: string, perClass: number, variation = 0): Promise<void> {
  for (const [channel, name] of ["red", "green", "blue"].entries()) {
    await mkdir(join(folder, name), { recursive: true });
    for (let number = 0; number < perClass; number++) {
      const pixels = Uint8Array.from(
        { length: SIDE * SIDE * 3 },
        (_, at) => ((at * 7919 + (number + variation) * 104_729) % 90) + (at % 3 === channel ? 120 : 0),
      );
      const image = sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 3 } });
      await writeFile(join(folder, name, `${number}.png`), await image.png().toBuffer());
    }
  }
}

/** Settings of a network that trains on them in moments. */
export function tinyConfig(folder: string, epochs: number): Record<string, unknown> {
  return {
    model: { variant: "BC-40-12", growthRate: 4, blockConfig: [1, 2] },
    data: { dir: folder, imageSize: SIDE, valSplit: 0.25 },
    epochs,
    batchSize: 8,
    schedule: "cosine",
    threads: 1,
    seed: 3,
  };
}
