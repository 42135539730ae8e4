// data: every image of a folder of classes, to measure a trained network on. Nothing is held out, and not every class
// need be there.
import { basename } from "node:path";
import { InputError } from "../errors.ts";
import { badImages, findBad, findUndecodable, listOfBad } from "./checkImages.node.ts";
import type { FilesDescription, Split } from "./dataset.ts";
import { filesSplit, withCache } from "./filesSplit.node.ts";
import { type ImageFormat, readFileHeader } from "./image.node.ts";
import { DEFAULT_MAX_PIXELS, READABLE } from "./imageFormats.ts";
import { imagesBelow, type LeftOut, leftOutText, type Scan, type Subfolder, subfolders } from "./scanFolder.node.ts";
import { classNames, isWordNetId, wordNetNames } from "./wordNet.node.ts";

/** Names that folders of splits have, whatever their case. */
const SPLITS = { train: ["train"], val: ["val", "valid", "validation"], test: ["test"] } as const;
export type FolderSplit = keyof typeof SPLITS;

export interface LabelledFolderOptions extends ImageFormat {
  /**
   * Of the network, by index; without them the folders' names in code-unit order. A folder called by a WordNet id of
   * ImageNet is the class of that id's name.
   */
  readonly classes?: readonly string[] | undefined;
  /**
   * Which split of the folder. Default: val or test, where it has one and no class is called so; else all that it
   * holds.
   */
  readonly split?: FolderSplit | "all" | undefined;
  readonly maxPixels?: number | undefined;
  readonly skipBad?: boolean | undefined;
  readonly report?: ((line: string) => void) | undefined;
}

export interface LabelledFolder {
  readonly name: string;
  readonly classes: readonly string[];
  /** Whose images these are. */
  readonly which: FolderSplit | "all";
  readonly images: Split;
}

/**
 * Opens the folders of classes in `dir`, or in one of its splits.
 * @throws InputError when there is no such split, no image, a folder that is no class of the network, or an image
 *   that cannot be read
 */
export async function openLabelledFolder(dir: string, options: LabelledFolderOptions): Promise<LabelledFolder> {
  const { channels, height, width, cropRatio, interpolation, report } = options;
  const { maxPixels = DEFAULT_MAX_PIXELS, skipBad = false } = options;
  const { which, folders } = await foldersOf(dir, options);
  const folderNames = folders.map(({ name }) => name);
  const classes = options.classes ?? (await classNames(folderNames, report));
  const indexOf = new Map(classes.map((name, index) => [name.normalize("NFC"), index]));
  const words = folderNames.some(isWordNetId) ? await wordNetNames() : undefined;
  const leftOut: LeftOut = new Map();
  const scan: Scan = { folders: new Map(), leftOut };
  const listed: { readonly file: string; readonly label: number }[] = [];
  for (const folder of folders) {
    const word = words?.get(folder.name);
    const label = indexOf.get(folder.name) ?? (word === undefined ? undefined : indexOf.get(word));
    if (label === undefined) {
      const called = word === undefined ? `"${folder.name}"` : `"${word}" or "${folder.name}"`;
      const none = isWordNetId(folder.name) && word === undefined ? ", and ImageNet none of this WordNet id" : "";
      throw new InputError(
        `${folder.path}: the network has no class ${called}${none}, expected folders called ${some(classes)}`,
        { dir, class: folder.name },
      );
    }
    for (const file of await imagesBelow(folder, scan)) listed.push({ file, label });
  }
  const passedOver = leftOutText(leftOut);
  if (passedOver !== undefined) report?.(`${dir}: left out ${passedOver}; expected ${READABLE}`);
  const describe = (of: typeof listed): FilesDescription =>
    withCache({
      kind: "files",
      files: of.map(({ file }) => file),
      labels: Uint16Array.from(of, ({ label }) => label),
      ...{ channels, height, width, maxPixels },
      ...(cropRatio === undefined ? {} : { cropRatio }),
      ...(interpolation === undefined ? {} : { interpolation }),
    });
  let description = describe(listed);
  const { files } = description;
  const bad = skipBad
    ? await findUndecodable(description, report)
    : await findBad(files.length, (index) => readFileHeader(files[index], maxPixels), report);
  if (bad.length > 0) {
    if (!skipBad) throw badImages(dir, bad, files.length);
    report?.(`${dir}: left out ${bad.length} of ${files.length} images:${listOfBad(bad)}`);
    const positions = new Set(bad.map(({ index }) => index));
    description = describe(listed.filter((_, index) => !positions.has(index)));
  }
  const images = filesSplit(description);
  if (images.length === 0) {
    throw new InputError(`${dir}: holds no image in a folder of its class, expected ${READABLE}`, { dir });
  }
  return { name: basename(dir), classes, which, images };
}

async function foldersOf(
  dir: string,
  { classes = [], split }: LabelledFolderOptions,
): Promise<{ readonly which: FolderSplit | "all"; readonly folders: readonly Subfolder[] }> {
  const folders = await subfolders(dir);
  const find = async (wanted: FolderSplit): Promise<readonly Subfolder[] | undefined> => {
    for (const spelling of SPLITS[wanted]) {
      const found = folders.find(({ name }) => name.toLowerCase() === spelling);
      if (found === undefined || classes.includes(found.name)) continue;
      const inner = await subfolders(found.path);
      if (inner.length > 0) return inner;
    }
    return undefined;
  };
  if (split !== undefined && split !== "all") {
    const found = await find(split);
    if (found !== undefined) return { which: split, folders: found };
    throw new InputError(`${dir}: has no folder "${split}" with folders of classes`, { dir, split });
  }
  if (split === undefined) {
    for (const wanted of ["val", "test"] as const) {
      const found = await find(wanted);
      if (found !== undefined) return { which: wanted, folders: found };
    }
  }
  const all: Subfolder[] = [];
  for (const wanted of ["train", "val", "test"] as const) all.push(...((await find(wanted)) ?? []));
  return { which: "all", folders: all.length > 0 ? all : folders };
}

/** A few names, in quotation marks. */
function some(names: readonly string[]): string {
  const shown = names.slice(0, 10).map((name) => `"${name}"`);
  return names.length > 10 ? `${shown.join(", ")}, …` : shown.join(", ");
}
