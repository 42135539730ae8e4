// data: ImageNet's folders are called by WordNet ids, n01440764 and so on; their classes by a word, tench. The ids are
// a file of the package that is read when a folder has such a name; in its order they are the classes of
// imagenetLabels.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { InputError } from "../errors.ts";
import { imagenetLabels } from "./imagenetLabels.ts";

const idsFile: string = fileURLToPath(new URL("../../assets/imagenet-wordnet-ids.txt", import.meta.url));

/** Whether a folder is called as ImageNet's are: n and eight digits. */
export function isWordNetId(name: string): boolean {
  return /^n\d{8}$/.test(name);
}

/** WordNet id → name of each of ImageNet's 1,000 classes. @throws InputError when the package is not whole */
export async function wordNetNames(): Promise<ReadonlyMap<string, string>> {
  const text = await readFile(idsFile, "utf8").catch((cause) => {
    throw new InputError(`${idsFile}: cannot be read, expected the file that comes with the package`, {}, { cause });
  });
  const ids = text.trim().split(/\r?\n/);
  if (ids.length !== imagenetLabels.length) {
    throw new InputError(`${idsFile}: has ${ids.length} ids, expected ${imagenetLabels.length}`, { file: idsFile });
  }
  return new Map(ids.map((id, index) => [id, imagenetLabels[index]]));
}

/**
 * What the classes of these folders are called: the name that belongs to a WordNet id of ImageNet's 1,000 classes, else
 * the folder's own.
 * @param report receives how many ids are none of these
 * @throws InputError when two folders would be one class
 */
export async function classNames(
  folders: readonly string[],
  report?: (line: string) => void,
): Promise<readonly string[]> {
  if (!folders.some(isWordNetId)) return folders;
  const names = await wordNetNames();
  const unknown = folders.filter((folder) => isWordNetId(folder) && !names.has(folder));
  if (unknown.length > 0) {
    report?.(
      `${unknown.length} of ${folders.length} class folders are called by WordNet ids that are none of ImageNet's 1,000 ` +
        `classes, such as ${unknown[0]}; these ids are the classes' names`,
    );
  }
  const classes = folders.map((folder) => names.get(folder) ?? folder);
  const second = classes.findIndex((name, index) => classes.indexOf(name) !== index);
  if (second >= 0) {
    const first = folders[classes.indexOf(classes[second])];
    throw new InputError(
      `the folders ${first} and ${folders[second]} are both the class "${classes[second]}", expected one of them`,
      { class: classes[second] },
    );
  }
  return classes;
}
