// export: a trained network → the files of a format that something else runs. Portable; write.node.ts writes and
// checks them.
import { encodeModel, MODEL_FILE, type TrainedModel } from "../checkpoint/checkpoint.ts";
import { UsageError } from "../errors.ts";
import { modelCard, type Provenance } from "./card.ts";
import { classifierPage } from "./html.ts";
import { encodeOnnxModel, type OnnxDtype, type OnnxOptions, type WeightDtype } from "./onnx/write.ts";
import { temperatureNote } from "./temperature.ts";
import { timmConfig } from "./timm.ts";
import { TRANSFORMERS_INPUT, transformersConfig, transformersProcessor } from "./transformersJs.ts";

/** How it is written; what a format has no choice in, it ignores. */
export interface ExportOptions extends Omit<OnnxOptions, "inputName"> {
  /** Of format html: the script dist/browser/page.js, which goes into the page. */
  readonly pageScript?: string;
  /** For the model card. */
  readonly provenance?: Provenance;
}

/** Files by their path below the export's folder. `main` alone is the export where a file is asked for. */
export interface ExportedFiles {
  readonly main: string;
  readonly files: ReadonlyMap<string, Uint8Array | string>;
}

/** The page of format html in a folder. */
export const PAGE = "index.html";

interface ExportFormat {
  /** Ending of a file that holds all of it; absent where it takes a folder. */
  readonly ending?: string;
  /** For help. */
  readonly what: string;
  readonly files: (trained: TrainedModel, options: ExportOptions) => ExportedFiles;
}

/** What a network can be written as. */
export const exportFormatNames = ["onnx", "safetensors", "timm", "transformers.js", "html"] as const;
/** An entry of `exportFormatNames`. */
export type ExportFormatName = (typeof exportFormatNames)[number];

export const exportFormats: Readonly<Record<ExportFormatName, ExportFormat>> = {
  onnx: {
    ending: ".onnx",
    what: "an ONNX file, opset 17, any batch and image size",
    files: (trained, options) => {
      const usage = ["python", "import onnxruntime", 'session = onnxruntime.InferenceSession("model.onnx")'] as const;
      const input = options.pixels
        ? "uint8 pixels [batch, height, width, channels]"
        : "f32 [batch, channels, height, width], mean and deviation taken off";
      const notes = [`\`images\`: ${input}; numbers are ${options.dtype ?? "f32"}.`];
      const names = ["onnx", "onnx", "model.onnx"] as const;
      return withCard(trained, names, encodeOnnxModel(trained, options), usage, options, notes);
    },
  },
  safetensors: {
    ending: ".safetensors",
    what: "PyTorch's state dict under torchvision's keys",
    files: (trained, options) => {
      const usage = [
        "python",
        "from safetensors.torch import load_file",
        `model.load_state_dict(load_file("${MODEL_FILE}"), strict=True)`,
      ] as const;
      const bytes = encodeModel(trained, { weights: weightsOf(options) });
      return withCard(trained, ["safetensors", "pytorch", MODEL_FILE], bytes, usage, options);
    },
  },
  timm: {
    what: "a folder that timm and Hugging Face's hub load",
    files: (trained, options) => {
      const config = json(timmConfig(trained));
      const usage = ["python", "import timm", 'model = timm.create_model("local-dir:.", pretrained=True)'] as const;
      const bytes = encodeModel(trained, { weights: weightsOf(options) });
      const made = withCard(trained, ["timm", "timm", MODEL_FILE], bytes, usage, options);
      return { ...made, files: new Map([...made.files, ["config.json", config]]) };
    },
  },
  "transformers.js": {
    what: "a folder that transformers.js loads for image classification",
    files: (trained, options) => {
      const config = json(transformersConfig(trained));
      const { suffix, name } = TRANSFORMERS_DTYPES[options.dtype ?? "f32"];
      const file = `onnx/model${suffix}.onnx`;
      const usage = [
        "js",
        'import { pipeline } from "@huggingface/transformers";',
        `const classify = await pipeline("image-classification", "this folder", { dtype: "${name}" });`,
        'console.log(await classify("image.jpg"));',
      ] as const;
      const onnx = encodeOnnxModel(trained, { ...options, inputName: TRANSFORMERS_INPUT });
      const names = ["transformers.js", "transformers.js", file] as const;
      const made = withCard(trained, names, onnx, usage, options, [
        "Its `model_type` is that of ResNets, because transformers.js asks a ResNet for nothing but `pixel_values` → `logits`.",
      ]);
      const processor = json(transformersProcessor(trained));
      return {
        ...made,
        files: new Map([...made.files, ["config.json", config], ["preprocessor_config.json", processor]]),
      };
    },
  },
  html: {
    ending: ".html",
    what: "one page that classifies images with no server and no network",
    files: (trained, options) => {
      const { pageScript } = options;
      if (pageScript === undefined) throw new UsageError("html: needs the script of the page, dist/browser/page.js");
      const page = classifierPage(trained, encodeModel(trained, { weights: weightsOf(options) }), pageScript);
      return { main: PAGE, files: new Map([[PAGE, page]]) };
    },
  },
};

/** What transformers.js calls them, and how its files of them end. */
const TRANSFORMERS_DTYPES: Readonly<Record<OnnxDtype, { readonly name: string; readonly suffix: string }>> = {
  f32: { name: "fp32", suffix: "" },
  f16: { name: "fp16", suffix: "_fp16" },
  int8: { name: "int8", suffix: "_int8" },
};

/** @throws UsageError where the format cannot hold the network */
export function exportFiles(
  trained: TrainedModel,
  format: ExportFormatName,
  options: ExportOptions = {},
): ExportedFiles {
  const { probabilities, pixels, dtype } = options;
  if (format !== "onnx" && (probabilities || pixels)) {
    throw new UsageError(`${format}: takes neither preprocessing nor probabilities into the graph, only onnx does`);
  }
  if (dtype === "int8") requireInt8(format);
  return exportFormats[format].files(trained, options);
}

/** @throws UsageError where the format holds no ONNX graph, in which eight bits have a meaning */
export function requireInt8(format: ExportFormatName): void {
  if (format === "onnx" || format === "transformers.js") return;
  throw new UsageError(`${format}: has no eight-bit form, expected --dtype f32 or f16, or the format onnx`);
}

/** Of weights as they are; exportFiles refuses int8. */
const weightsOf = ({ dtype = "f32" }: ExportOptions): WeightDtype => (dtype === "int8" ? "f32" : dtype);

/** The file `main` and the card beside it. `library`: the hub's name of what loads the folder. */
function withCard(
  trained: TrainedModel,
  [format, library, main]: readonly [format: ExportFormatName, library: string, main: string],
  bytes: Uint8Array,
  usage: readonly [string, ...string[]],
  options: ExportOptions,
  said: readonly string[] = [],
): ExportedFiles {
  const { provenance = {} } = options;
  const temperature = temperatureNote(trained, format, options);
  const notes = temperature === undefined ? said : [...said, `The ${temperature}.`];
  const card = modelCard(trained, { library, usage, notes, provenance });
  return {
    main,
    files: new Map<string, Uint8Array | string>([
      [main, bytes],
      ["README.md", card],
    ]),
  };
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
