// export: onnxruntime-node, where somebody has installed it, and what runs a file in its place.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { evaluateOnnx } from "./onnx/evaluate.ts";

/** The output of the graph for a batch of f32 or of bytes. */
type RunOnnx = (batch: readonly number[], data: Float32Array | Uint8Array) => Promise<ArrayLike<number>>;

/** What runs an ONNX file. */
export interface OnnxRunner {
  /** A runtime with its version, or a reading of our own. */
  readonly by: string;
  readonly run: RunOnnx;
  /** Thousands of times slower than a runtime. */
  readonly plainLoops: boolean;
}

/** onnxruntime-node, where it is installed in the working folder or beside this package; else a second reading of ours. */
export async function onnxRunner(file: string, input: string, output: string): Promise<OnnxRunner> {
  const runtime = await onnxRuntime(file, input, output);
  if (runtime !== undefined) return { ...runtime, plainLoops: false };
  const bytes = await readFile(file);
  const run: RunOnnx = async (shape, data) => evaluateOnnx(bytes, { shape, data: Float32Array.from(data) }).data;
  return { by: "plain loops of densenet over the nodes of the file", run, plainLoops: true };
}

interface OrtModule {
  readonly InferenceSession: {
    create(
      path: string,
      options?: object,
    ): Promise<{
      run(feeds: Record<string, unknown>): Promise<Record<string, { readonly data: ArrayLike<number> }>>;
      release(): Promise<void>;
    }>;
  };
  readonly Tensor: new (type: string, data: ArrayLike<number>, dims: readonly number[]) => unknown;
}

async function onnxRuntime(
  file: string,
  input: string,
  output: string,
): Promise<{ readonly by: string; readonly run: RunOnnx } | undefined> {
  const found = await installed<OrtModule>("onnxruntime-node");
  if (found === undefined) return undefined;
  const { InferenceSession, Tensor } = found.module;
  // Warnings of its optimiser are not the user's business.
  const session = await InferenceSession.create(file, { logSeverityLevel: 3 });
  return {
    by: found.by,
    run: async (shape, data) => {
      const type = data instanceof Uint8Array ? "uint8" : "float32";
      const answers = await session.run({ [input]: new Tensor(type, data, shape) });
      return answers[output].data;
    },
  };
}

/** A package that is no dependency of this one, with its name and version in `by`. */
export async function installed<M>(name: string): Promise<{ readonly by: string; readonly module: M } | undefined> {
  for (const from of [join(process.cwd(), "package.json"), import.meta.url]) {
    try {
      const require = createRequire(from);
      const { version } = require(`${name}/package.json`) as { version: string };
      const loaded = (await import(pathToFileURL(require.resolve(name)).href)) as M & { readonly default?: M };
      return { by: `${name} ${version}`, module: loaded.default ?? loaded };
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
  return undefined;
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && "code" in error && error.code === "MODULE_NOT_FOUND";
