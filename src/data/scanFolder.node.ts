// data: which image files lie in folders of classes. Links are followed, each folder once by its real path; what
// systems and tools leave behind is passed over; everything else that is not taken is counted.
import type { Dirent } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { extname, join, sep } from "node:path";
import { InputError } from "../errors.ts";
import { imageExtensions } from "./imageFormats.ts";
import { readFailure } from "./readFile.node.ts";

/** A folder that stands for a class, or for a split. */
export interface Subfolder {
  /** In Unicode's composed form (NFC): what a Mac writes decomposed is the same name. */
  readonly name: string;
  readonly path: string;
  /** Without links. */
  readonly real: string;
}

/** Of files that were left out: extension, or what they are → how many. */
export type LeftOut = Map<string, number>;

/** What a scan has seen so far. */
export interface Scan {
  /** Real path of a folder → the class it was read for. */
  readonly folders: Map<string, string>;
  readonly leftOut: LeftOut;
}

/** Deeper than people nest folders, and shallower than paths that a system refuses. */
const MAX_DEPTH = 32;

const JUNK: ReadonlySet<string> = new Set([
  "__macosx",
  "@eadir",
  "#recycle",
  "$recycle.bin",
  "system volume information",
  "lost+found",
  "thumbs.db",
  "ehthumbs.db",
  "desktop.ini",
  "icon\r",
]);

/** Hidden, or left behind by a system or a tool. */
function isJunk(name: string): boolean {
  return name.startsWith(".") || JUNK.has(name.toLowerCase());
}

/**
 * The folders in `dir`, links to folders included, in code-unit order of their names: the same on every machine.
 * @throws InputError for a link that leads nowhere or to a folder that holds it, and for two folders of the same name
 */
export async function subfolders(dir: string): Promise<Subfolder[]> {
  const real = await realFolder(dir);
  const found: Subfolder[] = [];
  for (const entry of await entriesOf(dir)) {
    if (isJunk(entry.name)) continue;
    const path = join(dir, entry.name);
    const target = await folderAt(path, entry, real);
    // A link with an image's name is a file that is missing; any other that leads nowhere may have been a class.
    if (target === "broken" && !isImageName(entry.name)) {
      throw new InputError(`${path}: is a link that leads nowhere, expected a folder`, { path });
    }
    if (target === undefined || target === "broken") continue;
    found.push({ name: entry.name.normalize("NFC"), path, real: target });
  }
  found.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  for (const [i, { name, path }] of found.entries()) {
    const before = found[i - 1];
    if (before?.name === name) {
      throw new InputError(
        `${before.path} and ${path}: the names differ only in how Unicode writes them, expected one folder for ` +
          `"${name}"`,
        { path, name },
      );
    }
  }
  return found;
}

/**
 * The image files below a class's folder, at any depth, in code-unit order of their paths.
 * @throws InputError for a folder that cannot be read, a link that leads back, a folder that belongs to another class
 *   already
 */
export async function imagesBelow(folder: Subfolder, scan: Scan): Promise<string[]> {
  const found: string[] = [];
  const visit = async (path: string, real: string, below: string, depth: number): Promise<void> => {
    const owner = scan.folders.get(real);
    if (owner !== undefined && owner !== folder.name) {
      throw new InputError(
        `${path}: is the folder ${real}, whose images belong to the class "${owner}" already, and not to ` +
          `"${folder.name}"`,
        { path, real, classes: [owner, folder.name] },
      );
    }
    if (owner !== undefined) {
      count(scan, "repeated link");
      return;
    }
    if (depth > MAX_DEPTH) {
      throw new InputError(`${path}: lies more than ${MAX_DEPTH} folders deep in its class`, { path });
    }
    scan.folders.set(real, folder.name);
    for (const entry of await entriesOf(path)) {
      const { name } = entry;
      if (isJunk(name)) continue;
      const inner = join(path, name);
      const target = await folderAt(inner, entry, real);
      if (target !== undefined && target !== "broken") {
        await visit(inner, target, `${below}${name}${sep}`, depth + 1);
      } else if (isImageName(name)) found.push(below + name);
      else count(scan, target === "broken" ? "broken link" : extname(name).toLowerCase() || "without extension");
    }
  };
  await visit(folder.path, folder.real, "", 0);
  return found.sort().map((name) => join(folder.path, name));
}

/** How many image files lie in `dir` itself, beside the folders of classes. */
export async function imagesBeside(dir: string): Promise<number> {
  return (await entriesOf(dir)).filter(({ name }) => !isJunk(name) && isImageName(name)).length;
}

/** What was left out, most frequent first; undefined when nothing was. */
export function leftOutText(leftOut: LeftOut): string | undefined {
  if (leftOut.size === 0) return undefined;
  const sorted = [...leftOut].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));
  return sorted
    .map(([what, number]) => `${number} ${what}${what.endsWith(" link") && number > 1 ? "s" : ""}`)
    .join(", ");
}

function count({ leftOut }: Scan, what: string): void {
  leftOut.set(what, (leftOut.get(what) ?? 0) + 1);
}

function isImageName(name: string): boolean {
  return imageExtensions.includes(extname(name).toLowerCase());
}

async function entriesOf(dir: string): Promise<Dirent[]> {
  return readdir(dir, { withFileTypes: true }).catch((cause) => {
    throw readFailure(dir, "a folder", cause);
  });
}

async function realFolder(dir: string): Promise<string> {
  return realpath(dir).catch((cause) => {
    throw readFailure(dir, "a folder", cause);
  });
}

/**
 * The real path of the folder that an entry of the folder `parent` (a real path) is or leads to; undefined for what is
 * none.
 */
async function folderAt(path: string, entry: Dirent, parent: string): Promise<string | "broken" | undefined> {
  if (entry.isDirectory()) return join(parent, entry.name);
  if (!entry.isSymbolicLink()) return undefined;
  try {
    if (!(await stat(path)).isDirectory()) return undefined;
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    if (code === "ENOENT" || code === "ELOOP" || code === "ENOTDIR") return "broken";
    throw readFailure(path, "a file or a folder", cause);
  }
  const real = await realFolder(path);
  if (`${parent}${sep}`.startsWith(real.endsWith(sep) ? real : `${real}${sep}`)) {
    throw new InputError(`${path}: is a link to ${real}, which it lies in, so that it would never end; remove it`, {
      path,
      real,
    });
  }
  return real;
}
