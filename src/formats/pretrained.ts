// formats: the trained networks that come with the package, by name. Portable: a page fetches them, Node reads them from
// the package's folder.
//
// assets/models/NAME.safetensors has the weights, with what it takes to run them; NAME.json beside it is the model card:
// how it was trained, what it was measured at, under which terms it may be used.
import { decodeModel, type TrainedModel } from "../checkpoint/checkpoint.ts";
import { InputError, UsageError } from "../errors.ts";
import { nearestName } from "../nearestName.ts";
import { show } from "../show.ts";

/** Each is a network and the data that it was trained on. */
export const pretrainedNames = ["bc-40-12.cifar10"] as const;
/** An entry of `pretrainedNames`. */
export type PretrainedName = (typeof pretrainedNames)[number];

export function isPretrainedName(name: string): name is PretrainedName {
  return pretrainedNames.some((known) => known === name);
}

/** What a model card says. Errors are percentages, losses nats per image. */
export interface ModelCard {
  readonly name: string;
  readonly title: string;
  readonly params: number;
  readonly file: { readonly bytes: number; readonly sha256: string; readonly weights: "f16" };
  /** Of images as the network takes them; mean and std per channel, of pixels in 0…1. */
  readonly preprocessing: TrainedModel["preprocessing"];
  readonly classes: readonly string[];
  readonly training: {
    readonly dataset: string;
    readonly images: number;
    readonly epochs: number;
    /** More than `epochs` where weights were taken from a run that had not ended. */
    readonly epochsPlanned: number;
    readonly command: string;
    /** When and on what it began. */
    readonly startedAt: string;
    readonly cpu: string;
    readonly seconds: number;
  };
  /** Of the weights as they are in the file, all test images and the embedded ones among them. */
  readonly measured: {
    readonly test: Measured;
    readonly embedded: Measured;
    /** Of the weights before they were rounded to f16. */
    readonly unrounded: Measured;
    readonly date: string;
    readonly cpu: string;
  };
  readonly licence: string;
  readonly dataTerms: string;
  readonly limits: string;
}

/** What a network was measured at: errors in per cent, the mean cross-entropy in nats. */
export interface Measured {
  readonly images: number;
  readonly top1Error: number;
  readonly loss: number;
}

/** Where `loadPretrained` looks. */
export interface PretrainedOptions {
  /**
   * URL of the folder that holds NAME.safetensors, absolute or relative to the page. Default: the package's own,
   * two folders above this module, which is where it lies in the package and beside dist/browser. A page whose bundler
   * put this code elsewhere serves the files and says where.
   */
  readonly from?: string | URL;
}

/** @throws UsageError with the nearest name where none is meant */
export function pretrainedUrl(name: string, file: "safetensors" | "json", { from }: PretrainedOptions = {}): URL {
  if (!isPretrainedName(name)) {
    const nearest = nearestName(name, pretrainedNames);
    const advice = nearest === undefined ? "" : `; did you mean ${nearest}?`;
    const expected = pretrainedNames.join(", ");
    throw new UsageError(
      `no model of that name comes with the package: got ${show(name)}, expected ${expected}${advice}`,
      {
        name,
        expected: pretrainedNames,
      },
    );
  }
  const folder = from === undefined ? new URL("../../assets/models/", import.meta.url) : folderUrl(from);
  return new URL(`${name}.${file}`, folder);
}

/** The folder, whether or not its URL ends with the slash that makes it one. */
function folderUrl(from: string | URL): URL {
  const text = String(from);
  const slashed = text.endsWith("/") ? text : `${text}/`;
  const page: string | undefined = globalThis.document?.baseURI ?? globalThis.location?.href;
  try {
    return new URL(slashed, page);
  } catch (cause) {
    throw new UsageError(`from: got ${show(text)}, expected the URL of a folder`, { field: "from" }, { cause });
  }
}

/**
 * A trained network that comes with the package, for `createPredictor`, `evaluate` or as first values of a run. Its
 * SHA-256 is checked.
 * @throws UsageError for a name that none has
 * @throws InputError when the file is not there, or not whole
 */
export async function loadPretrained(name: string, options: PretrainedOptions = {}): Promise<TrainedModel> {
  const url = pretrainedUrl(name, "safetensors", options);
  return decodeModel(await readUrl(url), url.href);
}

/** What the package says of the model, as `loadPretrained`. */
export async function loadModelCard(name: string, options: PretrainedOptions = {}): Promise<ModelCard> {
  const url = pretrainedUrl(name, "json", options);
  return JSON.parse(new TextDecoder().decode(await readUrl(url)));
}

async function readUrl(url: URL): Promise<Uint8Array> {
  const fail = (why: string, cause?: unknown): InputError =>
    new InputError(
      `${url.href}: ${why}, expected a file that comes with the package; where its folder assets/models is served ` +
        "elsewhere, pass its URL as `from`",
      { url: url.href },
      { cause },
    );
  // Node's fetch takes no file URLs.
  const files = url.protocol === "file:" ? globalThis.process?.getBuiltinModule?.("node:fs/promises") : undefined;
  if (files !== undefined)
    return files.readFile(url).catch((cause: unknown) => Promise.reject(fail("cannot be read", cause)));
  const answer = await fetch(url).catch((cause: unknown) => Promise.reject(fail("cannot be fetched", cause)));
  if (!answer.ok) throw fail(`the server answered ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}
