// data: the image files that somebody names: files, folders of them, and patterns that no shell has expanded.
import { glob, realpath, stat } from "node:fs/promises";
import { basename } from "node:path";
import { InputError } from "../errors.ts";
import { imageExtensions, READABLE } from "./imageFormats.ts";
import { imagesBelow, type LeftOut, leftOutText } from "./scanFolder.node.ts";

/**
 * Files in the order of `names`; in the place of a folder every image file below it, in that of a pattern
 * (`photos/**\/*.jpg`) what it matches, each in the order of their paths. A name that leads to nothing stays, for who
 * opens it to say so. `report` receives what was left out of folders.
 * @throws InputError for a folder without images or a pattern that matches none
 */
export async function* imageFiles(
  names: readonly string[],
  report?: (line: string) => void,
): AsyncGenerator<string | InputError, void, undefined> {
  for (const name of names) {
    const found = await stat(name).catch(() => undefined);
    try {
      if (found?.isDirectory()) yield* await inFolder(name, report);
      else if (found === undefined && /[*?[{]/.test(name)) yield* await matching(name);
      else yield name;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      yield error;
    }
  }
}

async function inFolder(path: string, report?: (line: string) => void): Promise<string[]> {
  const leftOut: LeftOut = new Map();
  const real = await realpath(path);
  const files = await imagesBelow({ name: basename(real), path, real }, { folders: new Map(), leftOut });
  const passedOver = leftOutText(leftOut);
  if (files.length === 0) {
    throw new InputError(
      `${path}: holds no image${passedOver === undefined ? "" : ` (it has ${passedOver})`}, expected ${READABLE}`,
      { file: path },
    );
  }
  if (passedOver !== undefined) report?.(`${path}: left out ${passedOver}; expected ${READABLE}`);
  return files;
}

async function matching(pattern: string): Promise<string[]> {
  const found: string[] = [];
  for await (const file of glob(pattern)) {
    if (imageExtensions.some((extension) => file.toLowerCase().endsWith(extension))) found.push(file);
  }
  if (found.length === 0) {
    throw new InputError(`${pattern}: matches no image file, expected ${READABLE}`, { file: pattern });
  }
  return found.sort();
}
