// export: a trained network → the files of a format that something else runs. Portable; write.node.ts writes and
// checks them.
import { encodeModel, MODEL_FILE, type TrainedModel } from "../checkpoint/checkpoint.ts";
import { UsageError } from "../errors.ts";
import { modelCard } from "./card.ts";
import { classifierPage } from "./html.ts";
import { encodeOnnxModel, type OnnxOptions } from "./onnx/write.ts";
import { timmConfig } from "./timm.ts";
import { TRANSFORMERS_INPUT, transformersConfig, transformersProcessor } from "./transformersJs.ts";

/** How it is written; what a format has no choice in, it ignores. */
export interface ExportOptions extends Omit<OnnxOptions, "inputName"> {
  /** Of format html: the script dist/browser/page.js, which goes into the page. */
  readonly pageScript?: string;
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
      return withCard(trained, "onnx", "model.onnx", encodeOnnxModel(trained, options), usage, notes);
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
      return withCard(trained, "pytorch", MODEL_FILE, encodeModel(trained, { weights: options.dtype ?? "f32" }), usage);
    },
  },
  timm: {
    what: "a folder that timm and Hugging Face's hub load",
    files: (trained, options) => {
      const config = json(timmConfig(trained));
      const usage = ["python", "import timm", 'model = timm.create_model("local-dir:.", pretrained=True)'] as const;
      const made = withCard(
        trained,
        "timm",
        MODEL_FILE,
        encodeModel(trained, { weights: options.dtype ?? "f32" }),
        usage,
      );
      return { ...made, files: new Map([...made.files, ["config.json", config]]) };
    },
  },
  "transformers.js": {
    what: "a folder that transformers.js loads for image classification",
    files: (trained, { dtype = "f32" }) => {
      const config = json(transformersConfig(trained));
      const file = `onnx/model${dtype === "f16" ? "_fp16" : ""}.onnx`;
      const usage = [
        "js",
        'import { pipeline } from "@huggingface/transformers";',
        `const classify = await pipeline("image-classification", "this folder", { dtype: "${dtype === "f16" ? "fp16" : "fp32"}" });`,
        'console.log(await classify("image.jpg"));',
      ] as const;
      const onnx = encodeOnnxModel(trained, { dtype, inputName: TRANSFORMERS_INPUT });
      const made = withCard(trained, "transformers.js", file, onnx, usage, [
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
    files: (trained, { dtype, pageScript }) => {
      if (pageScript === undefined) throw new UsageError("html: needs the script of the page, dist/browser/page.js");
      const page = classifierPage(trained, encodeModel(trained, { weights: dtype ?? "f32" }), pageScript);
      return { main: PAGE, files: new Map([[PAGE, page]]) };
    },
  },
};

/** @throws UsageError where the format cannot hold the network */
export function exportFiles(
  trained: TrainedModel,
  format: ExportFormatName,
  options: ExportOptions = {},
): ExportedFiles {
  const { probabilities, pixels } = options;
  if (format !== "onnx" && (probabilities || pixels)) {
    throw new UsageError(`${format}: takes neither preprocessing nor probabilities into the graph, only onnx does`);
  }
  return exportFormats[format].files(trained, options);
}

function withCard(
  trained: TrainedModel,
  library: string,
  main: string,
  bytes: Uint8Array,
  usage: readonly [string, ...string[]],
  notes: readonly string[] = [],
): ExportedFiles {
  const card = modelCard(trained, { library, usage, notes });
  return {
    main,
    files: new Map<string, Uint8Array | string>([
      [main, bytes],
      ["README.md", card],
    ]),
  };
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
