// export: what a file is, from its header alone: the files that export writes, and any safetensors or ONNX file. No
// weight is decoded, so a file of any size takes a moment and damage among its numbers is not seen.
import { open, stat } from "node:fs/promises";
import { formatBytes, formatInteger } from "../analyze/format.ts";
import { describedFacts, KEY } from "../checkpoint/checkpoint.ts";
import { type ListedTensor, MAX_HEADER_BYTES, readSafetensorsHeader } from "../checkpoint/safetensors.ts";
import { InputError } from "../errors.ts";
import { isCounter } from "../formats/modules.ts";
import { parseOnnx } from "../formats/onnx/read.ts";
import { type OnnxValueInfo, onnxDtypes } from "../formats/onnx/schema.ts";
import { onnxDtype } from "../formats/onnx/tensor.ts";
import { isOnnx, isSafetensors } from "../formats/read.ts";
import type { NetworkSpec } from "../networks/registry.ts";
import { showSome, showText } from "../show.ts";
import { safetensorsInPage } from "./html.ts";

export interface InspectedFile {
  /** For people and programs, by name. */
  readonly facts: readonly (readonly [name: string, fact: string])[];
  /** Of files of ours, which say it. */
  readonly network?: {
    readonly spec: NetworkSpec;
    readonly height: number;
    readonly width: number;
    readonly dataset: string;
    readonly notes?: readonly string[];
  };
  /** An ONNX file of another tool: what its nodes compute may be no network of ours. */
  readonly foreignGraph?: boolean;
}

/**
 * What `path` is; undefined where it is no file whose header says it, such as a folder or a PyTorch file.
 * @throws InputError where the header is damaged
 */
export async function inspectFile(path: string): Promise<InspectedFile | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) return undefined;
  const file = await open(path);
  try {
    const read = async (from: number, length: number): Promise<Uint8Array> => {
      const { buffer, bytesRead } = await file.read(new Uint8Array(length), 0, length, from);
      return buffer.subarray(0, bytesRead);
    };
    const first = await read(0, 16);
    const size = formatBytes(found.size);
    if (isSafetensors(first)) {
      const header = await read(0, headerBytes(first, path));
      return inspectSafetensors(header, `a safetensors file, ${size}`, path, found.size - header.length);
    }
    if (isOnnx(first)) return inspectOnnx(await read(0, found.size), size, path);
    if (new TextDecoder().decode(first).toLowerCase().startsWith("<!doctype html")) {
      const text = new TextDecoder().decode(await read(0, found.size));
      const start = safetensorsInPage(text, 16);
      if (start.length < 16) return undefined;
      const header = safetensorsInPage(text, headerBytes(start, path));
      return inspectSafetensors(header, `a page that classifies images, ${size}, a safetensors file in it`, path);
    }
    return undefined;
  } finally {
    await file.close();
  }
}

/** With the 8 bytes that say its length. */
function headerBytes(first: Uint8Array, path: string): number {
  const length = new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true);
  if (length <= BigInt(MAX_HEADER_BYTES)) return 8 + Number(length);
  throw new InputError(`${path}: its header has ${length} bytes, expected at most ${MAX_HEADER_BYTES}`, { file: path });
}

/** `dataBytes`: what the file holds behind its header, where that is known. */
function inspectSafetensors(bytes: Uint8Array, what: string, path: string, dataBytes?: number): InspectedFile {
  const { entries, metadata } = readSafetensorsHeader(bytes.subarray(8), path, dataBytes);
  return { facts: [["file", what], ...tensorFacts(entries)], ...ownNetwork(metadata, path) };
}

function inspectOnnx(bytes: Uint8Array, size: string, path: string): InspectedFile {
  const { irVersion, producerName = "", opsetImport = [], graph, metadataProps = [] } = parseOnnx(bytes, path);
  const opsets = opsetImport.map(
    ({ domain = "", version }) => `${domain === "" ? "opset" : showText(domain)} ${version}`,
  );
  const counts = new Map<string, number>();
  for (const { opType = "" } of graph?.node ?? []) counts.set(opType, (counts.get(opType) ?? 0) + 1);
  const nodes = [...counts].sort(([, a], [, b]) => b - a).map(([op, count]) => `${count} ${showText(op)}`);
  const initializers = graph?.initializer ?? [];
  const given = new Set(initializers.map(({ name }) => name));
  const inputs = (graph?.input ?? []).filter(({ name }) => !given.has(name));
  const listed = initializers.map((tensor) => ({
    name: tensor.name ?? "",
    dtype: onnxDtype(tensor),
    shape: (tensor.dims ?? []).map(Number),
  }));
  const metadata = Object.fromEntries(metadataProps.map(({ key = "", value = "" }) => [key, value]));
  return {
    facts: [
      ["file", `an ONNX file, ${size}, IR ${irVersion}, ${opsets.join(", ")}, written by ${showText(producerName)}`],
      ["nodes", `${formatInteger(graph?.node?.length ?? 0)}: ${showSome(nodes, 8)}`],
      ...inputs.map((input) => ["takes", signature(input)] as const),
      ...(graph?.output ?? []).map((output) => ["gives", signature(output)] as const),
      ...tensorFacts(listed),
      ...(metadataProps.length === 0
        ? []
        : [
            [
              "metadata",
              showSome(
                Object.keys(metadata).map((key) => showText(key)),
                8,
              ),
            ] as const,
          ]),
    ],
    ...ownNetwork(metadata, path),
    foreignGraph: metadata[KEY] === undefined,
  };
}

function signature({ name = "", type }: OnnxValueInfo): string {
  const { elemType = 0, shape } = type?.tensorType ?? {};
  const dims = (shape?.dim ?? []).map(({ dimParam = "", dimValue = 0n }) => showText(dimParam) || String(dimValue));
  const dtype = Object.entries(onnxDtypes).find(([, number]) => number === elemType)?.[0] ?? `type ${elemType}`;
  return `${showText(name)}: ${dtype} [${dims.join(", ")}]`;
}

function tensorFacts(tensors: readonly ListedTensor[]): [string, string][] {
  const numbers = new Map<string, number>();
  for (const { dtype, shape } of tensors) {
    numbers.set(dtype, (numbers.get(dtype) ?? 0) + shape.reduce((product, side) => product * side, 1));
  }
  const counted = [...numbers].map(([dtype, count]) => `${formatInteger(count)} ${showText(dtype)}`);
  return [
    ["tensors", `${formatInteger(tensors.length)}, of ${counted.join(" and ")}`],
    ["names", showSome(tensors.filter(({ name }) => !isCounter(name)).map(({ name }) => showText(name)))],
  ];
}

function ownNetwork(metadata: Readonly<Record<string, unknown>>, path: string): Pick<InspectedFile, "network"> {
  const json = metadata[KEY];
  // The file of a run's training state has a description too, of no network.
  if (typeof json !== "string" || !json.includes('"spec"')) return {};
  const { spec, preprocessing, dataset } = describedFacts({ [KEY]: json }, path);
  const { height, width } = preprocessing;
  return { network: { spec, height, width, dataset } };
}
