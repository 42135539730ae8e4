// hub: a name on the Hugging Face hub → a folder with its weights and config, in the cache that the hub's other tools
// use too: blobs by their hash, a snapshot of links for each commit, refs from branches to commits.
//
// Without a network, or with HF_HUB_OFFLINE=1, what is in the cache is used. Nothing is fetched but the files that
// weights consist of, and nothing before somebody asks for such a name.
import { copyFile, mkdir, readdir, readFile, realpath, rm, stat, symlink, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import type { ListFileEntry } from "@huggingface/hub";
import { systemCode, writeFailure } from "../checkpoint/writeFailure.ts";
import { DenseNetError, InputError, VerificationError } from "../errors.ts";
import { showSome, showText } from "../show.ts";
import { causeOf, download, hasHash, hashOfName, type PublishedHash, patientFetch } from "./download.node.ts";
import { HUB_CONFIG, HUB_WEIGHTS, parseHubName } from "./hubName.ts";

export interface HubSnapshot {
  /** The folder of the commit. */
  readonly folder: string;
  /** What it is and how it was come by, one line each. */
  readonly notes: readonly string[];
}

/** Files are read into memory. */
const MOST_BYTES = 2 ** 31;
const DEFAULT_HUB = "https://huggingface.co";
const DEFAULT_TIMEOUT_S = 30;

/**
 * The newest commit of `name`'s revision, fetched as far as it is not in the cache. `report` gets a line for each file
 * that is fetched.
 * @throws InputError when there is no such model, or it can be had neither from the hub nor from the cache
 * @throws VerificationError when a file in the cache is another than was published
 * @throws ResourceError when the cache cannot be written
 */
export async function fetchFromHub(name: string, report: (line: string) => void = () => {}): Promise<HubSnapshot> {
  const { repo, revision } = parseHubName(name);
  const { getHFHubCachePath, getRepoFolderName } = await import("@huggingface/hub");
  const cache = join(getHFHubCachePath(), getRepoFolderName({ type: "model", name: repo }));
  const offline = /^(1|true|yes|on)$/i.test(process.env.HF_HUB_OFFLINE ?? "");
  const fetched = offline
    ? new Unreachable("HF_HUB_OFFLINE is set")
    : await fetchCommit(name, cache, report).catch(asUnreachable);
  const commit = fetched instanceof Unreachable ? await cachedCommit(cache, revision) : fetched;
  if (commit === undefined) {
    const why = fetched instanceof Unreachable ? fetched.message : "";
    throw new InputError(`${name}: ${why}, and the cache ${cache} has no whole ${revision}`, { name });
  }
  const folder = join(cache, "snapshots", commit);
  await verify(folder);
  const from = fetched instanceof Unreachable ? `, from the cache: ${fetched.message}` : "";
  return { folder, notes: [`${repo} at commit ${commit.slice(0, 12)}, checked by its published hashes${from}`] };
}

/** Puts a snapshot into the cache. @returns its commit */
async function fetchCommit(name: string, cache: string, report: (line: string) => void): Promise<string> {
  const { HubApiError, downloadFile, listFiles, modelInfo } = await import("@huggingface/hub");
  const { repo, revision } = parseHubName(name);
  const fail = (what: string): InputError => new InputError(`${name}: ${what}`, { name });
  const hubUrl = (process.env.HF_ENDPOINT ?? DEFAULT_HUB).replace(/\/+$/, "");
  const timeoutMs = 1000 * (Number(process.env.HF_HUB_DOWNLOAD_TIMEOUT) || DEFAULT_TIMEOUT_S);
  const token = process.env.HF_TOKEN;
  const common = { hubUrl, fetch: patientFetch(timeoutMs), ...(token ? { accessToken: token } : {}) };
  const answer = async <T>(asked: Promise<T>): Promise<T> =>
    asked.catch((error: unknown) => {
      if (!(error instanceof HubApiError)) throw error;
      const { statusCode } = error;
      if (statusCode >= 500 || statusCode === 429) throw new Unreachable(`the hub answers with status ${statusCode}`);
      throw fail(`the hub has no such model or revision, or it is private (status ${statusCode})`);
    });

  const { sha } = await answer(modelInfo({ ...common, name: repo, revision, additionalFields: ["sha"] }));
  if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha)) {
    throw fail(`the hub says that ${revision} is commit ${showText(String(sha))}, expected 40 hex digits`);
  }
  const listed = await answer(published(listFiles({ ...common, repo, revision: sha })));
  const fetchFile = async (path: string): Promise<string> => {
    const file = listed.get(path);
    if (file === undefined) throw fail(`has no file ${showText(path)}`);
    const { size, hash } = file;
    if (size > MOST_BYTES) throw fail(`${path} has ${size} bytes, expected at most ${MOST_BYTES}`);
    const blob = join(cache, "blobs", hash.hex);
    if ((await sizeOf(blob)) !== size) {
      report(`fetching ${repo}/${path}, ${(size / 1e6).toFixed(1)} MB`);
      const downloadInfo = { size, etag: hash.hex, url: `${hubUrl}/${repo}/resolve/${sha}/${path}` };
      const whole = await downloadFile({ ...common, repo, path, revision: sha, xet: false, downloadInfo });
      if (whole === null) throw fail(`has no file ${path}`);
      const read = (start: number): ReadableStream<Uint8Array> => whole.slice(start, size).stream();
      await download({ target: blob, size, hash, read, name: `${name}: ${path}` });
    }
    const target = join(cache, "snapshots", sha, path);
    await link(blob, target);
    return target;
  };
  const weights = HUB_WEIGHTS.find((file) => listed.has(file));
  if (weights === undefined) {
    const files = [...listed.keys()].map((file) => showText(file));
    throw fail(`has ${showSome(files) || "no files"}, expected one of ${HUB_WEIGHTS.join(", ")}`);
  }
  try {
    if (listed.has(HUB_CONFIG)) await fetchFile(HUB_CONFIG);
    const file = await fetchFile(weights);
    const shards = weights.endsWith(".json") ? shardsOf(await readFile(file, "utf8"), name) : [];
    for (const shard of shards) await fetchFile(shard);
    // The last step: a ref leads to whole snapshots only.
    if (revision !== sha) {
      const ref = join(cache, "refs", revision);
      await mkdir(dirname(ref), { recursive: true });
      await writeFile(ref, sha);
    }
  } catch (error) {
    throw systemCode(error) === undefined ? error : writeFailure(cache, error);
  }
  return sha;
}

async function published(files: AsyncIterable<ListFileEntry>): Promise<Map<string, Published>> {
  const listed = new Map<string, Published>();
  for await (const { path, type, size, oid, lfs } of files) {
    const hash = hashOfName(lfs?.oid ?? oid ?? "");
    if (type === "file" && hash !== undefined) listed.set(path, { size: lfs?.size ?? size, hash });
  }
  return listed;
}

interface Published {
  readonly size: number;
  readonly hash: PublishedHash;
}

/** No answer, or one that says to come back later. */
class Unreachable extends Error {}

function asUnreachable(error: unknown): Unreachable {
  if (error instanceof Unreachable) return error;
  if (error instanceof DenseNetError || !(error instanceof Error)) throw error;
  return new Unreachable(`the hub cannot be reached (${showText(causeOf(error))})`);
}

/** The commit of a branch or tag, or the commit itself, when its snapshot is in the cache. */
async function cachedCommit(cache: string, revision: string): Promise<string | undefined> {
  const ref = await readFile(join(cache, "refs", revision), "utf8").catch(() => revision);
  const commit = ref.trim();
  if (!/^[0-9a-f]{40}$/.test(commit)) return undefined;
  const names = await readdir(join(cache, "snapshots", commit)).catch(() => []);
  return names.some((file) => HUB_WEIGHTS.includes(file)) ? commit : undefined;
}

function shardsOf(text: string, name: string): readonly string[] {
  let index: unknown;
  try {
    index = JSON.parse(text);
  } catch {
    throw new InputError(`${name}: its index cannot be read as JSON`, { name });
  }
  const map = typeof index === "object" && index !== null && "weight_map" in index ? index.weight_map : undefined;
  const files = [...new Set(Object.values(map ?? {}))];
  for (const file of files) {
    if (typeof file !== "string" || !/^[\w-][\w.-]*$/.test(file)) {
      throw new InputError(`${name}: its index names the file ${showText(String(file))}, expected one beside it`, {
        name,
      });
    }
  }
  return files as string[];
}

/** A link as the hub's tools make it; a copy where the system makes none. */
async function link(blob: string, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  await rm(target, { force: true });
  await symlink(relative(dirname(target), blob), target).catch(() => copyFile(blob, target));
}

/** Every file of a snapshot that leads to a blob has the hash that is the blob's name. */
async function verify(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!HUB_WEIGHTS.includes(name) && name !== HUB_CONFIG && !/\.(safetensors|bin)$/.test(name)) continue;
    const blob = await realpath(join(folder, name));
    const hash = hashOfName(basename(blob));
    if (hash !== undefined && !(await hasHash(blob, hash))) {
      throw new VerificationError(`${blob}: is damaged, its hash is not its name; delete it to fetch it again`, {
        file: blob,
      });
    }
  }
}

async function sizeOf(file: string): Promise<number | undefined> {
  return stat(file).then(
    ({ size }) => size,
    () => undefined,
  );
}
