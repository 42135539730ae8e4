// Test support: the files that the real tools wrote (scripts/fixtures/formats.py), unpacked, and a network's logits on
// the images they were given.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Backend } from "../../src/backends/backend.ts";
import type { Model } from "../../src/model/model.ts";
import { buildGraph } from "../../src/networks/registry.ts";
import { planInference } from "../../src/plan/planners.ts";

export interface OracleEntry {
  readonly file: string;
  readonly tool: string;
  /** [N, C, H, W] */
  readonly input: readonly [number, number, number, number];
  readonly logits: readonly number[]; // [N, classes]
  readonly classes?: readonly string[];
  readonly sigmoid?: boolean;
}

export function readOracle(folder: string): readonly OracleEntry[] {
  return JSON.parse(readFileSync(join(folder, "oracle.json"), "utf8")).files;
}

/**
 * The committed files of `fixtures`, `keras` or `onnx`, without their .gz, in a folder that goes with the process.
 */
export function unpackFixtures(which: "fixtures" | "keras" | "onnx" = "fixtures"): {
  readonly folder: string;
  readonly entries: readonly OracleEntry[];
} {
  const from = join(import.meta.dirname, which);
  const folder = mkdtempSync(join(tmpdir(), "formats-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  for (const name of readdirSync(from, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".gz"))) {
    const path = join(folder, name.slice(0, -".gz".length));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, gunzipSync(readFileSync(join(from, name))));
  }
  return { folder, entries: readOracle(from) };
}

/** The images of the scripts: element i is ((7919 i) mod 255) / 127.5 − 1. */
function images(shape: readonly number[]): Float32Array<ArrayBuffer> {
  const count = shape.reduce((product, size) => product * size, 1);
  return Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 255) / 127.5 - 1);
}

export async function logitsOf(
  model: Model,
  [batch, , height, width]: OracleEntry["input"],
  backend: Backend,
  given: Float32Array<ArrayBuffer> = images([batch, model.spec.inChannels, height, width]),
): Promise<Float32Array> {
  const graph = buildGraph(model.spec, { batch, height, width, mode: "inference" });
  const executable = await backend.compile({ inference: planInference(graph) });
  for (const [path, { data }] of model.state) await executable.write(path, data);
  await executable.write("images", given, "inference");
  await executable.run("inference");
  const [logits] = await executable.read(["logits"], "inference");
  await executable.dispose();
  return Float32Array.from(logits);
}

/** The head that the script gives to networks of Keras without one: W[c, i] of 3 classes by the formula of its images. */
export function withFormulaHead(model: Model): Model {
  const state = new Map(model.state);
  const [weight, bias] = ["classifier.weight", "classifier.bias"].map((path) => state.get(path));
  if (weight === undefined || bias === undefined) throw new RangeError("the model has no classifier");
  const features = weight.shape[1];
  state.set("classifier.weight", { role: weight.role, shape: [3, features], data: images([3, features]) });
  state.set("classifier.bias", { role: bias.role, shape: [3], data: new Float32Array(3) });
  return { ...model, spec: { ...model.spec, numClasses: 3 }, state };
}

/** Largest difference over the largest logit. */
export function relativeDifference(found: ArrayLike<number>, expected: readonly number[]): number {
  let difference = found.length === expected.length ? 0 : Number.POSITIVE_INFINITY;
  let largest = 0;
  for (const [i, value] of expected.entries()) {
    difference = Math.max(difference, Math.abs(found[i] - value));
    largest = Math.max(largest, Math.abs(value));
  }
  return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference / largest;
}
