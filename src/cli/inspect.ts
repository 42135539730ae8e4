// cli: `densenet inspect` — what a network is and costs, before anything runs.
import type { Command } from "commander";
import { formatBytes, formatCount, formatInteger, table } from "../analyze/format.ts";
import { type Summary, summarize } from "../analyze/summary.ts";
import { InputError, UsageError } from "../errors.ts";
import { type InspectedFile, inspectFile } from "../export/inspectFile.node.ts";
import { loadNetwork } from "../formats/network.node.ts";
import { differentiate } from "../graph/differentiate.ts";
import {
  buildGraph,
  canonicalName,
  type NetworkSpec,
  namedSpec,
  nameForms,
  networkTitle,
  usualInput,
  variantNames,
} from "../networks/registry.ts";
import type { Plan } from "../plan/plan.ts";
import { planInference, planTraining } from "../plan/planners.ts";
import { printPlan } from "../plan/print.ts";
import { type RecomputePolicy, recomputePolicies } from "../plan/recompute.ts";
import { examples, jsonOption, numberFlag, wholeFlag } from "./flags.ts";
import { isNetworkFile } from "./networkFile.ts";
import { printJson, printLine, say } from "./output.ts";

interface InspectOptions {
  readonly batchSize: number;
  readonly inputSize?: number;
  readonly numClasses?: number;
  readonly drop?: number;
  readonly recompute: RecomputePolicy;
  readonly inference?: boolean;
  readonly plan?: boolean;
  readonly layers?: boolean;
  readonly json?: boolean;
}

interface Subject {
  readonly name: string;
  readonly spec: NetworkSpec;
  /** Square side in pixels. */
  readonly height: number;
  readonly width: number;
  /** Set for checkpoints. */
  readonly dataset?: string;
  /** What the header of a file says. */
  readonly file?: InspectedFile["facts"];
  /** Of weights that another tool saved. */
  readonly notes?: readonly string[];
}

export function addInspect(program: Command): void {
  program
    .command("inspect")
    .summary("parameters, multiply-adds, connections and memory of a network")
    .description(
      "Shows parameters, multiply-adds, connections, layers and activation memory of a named network or a checkpoint.",
    )
    .argument(
      "<name|checkpoint>",
      "a network's name, a packaged model's, a run folder, a checkpoint folder, or weights: .safetensors, .onnx, " +
        ".pth, .keras, .h5, a timm folder, hf:OWNER/NAME of the Hugging Face hub; or a page that export wrote",
    )
    .option("--batch-size <n>", "images per step, for the memory", wholeFlag("--batch-size", 1), 64)
    .option(
      "--input-size <pixels>",
      "side of the images (default: 32, or 224 for a network made for ImageNet, or the checkpoint's)",
      wholeFlag("--input-size", 1),
    )
    .option("--num-classes <n>", "classes of a named network", wholeFlag("--num-classes", 1))
    .option("--drop <p>", "dropout of a named network", numberFlag("--drop"))
    .addOption(
      program
        .createOption("--recompute <policy>", "what the backward pass computes again")
        .choices(recomputePolicies)
        .default("none"),
    )
    .option("--inference", "plan inference instead of a training step")
    .option("--plan", "print every kernel call and buffer of the plan")
    .option("--layers", "list every layer")
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `\nNetworks: ${variantNames.join(", ")}; with L layers ${nameForms.join(", ")}\n${examples("densenet inspect BC-100-12", "densenet inspect 121 --batch-size 8 --json", "densenet inspect BC-40-12 --plan | less", "densenet inspect runs/first")}`,
    )
    .action(inspect);
}

async function inspect(what: string, options: InspectOptions): Promise<void> {
  const file = await inspectFile(what);
  const found = await findSubject(what, options, file).catch((error: unknown) => {
    // Of a graph that is none of our networks the header is all that can be shown.
    if (file?.foreignGraph && error instanceof InputError) return error;
    throw error;
  });
  if (found instanceof InputError) {
    const facts = [...(file?.facts ?? []), ["network", found.message] as const];
    if (options.json) printJson({ name: what, file: Object.fromEntries(facts) });
    else printLine([what, table(facts.map((row) => ["", ...row]))].join("\n"));
    return;
  }
  const subject = found;
  const { spec, height, width } = subject;
  const plan = makePlan(subject, options);
  const summary = summarize(spec, { height, width, batch: options.batchSize, activationBytesPlanned: plan.arenaBytes });
  if (options.json) {
    printJson({
      ...summary,
      name: subject.name,
      ...(subject.dataset === undefined ? {} : { dataset: subject.dataset }),
      ...(subject.file === undefined ? {} : { file: Object.fromEntries(subject.file) }),
      ...(subject.notes?.length ? { notes: subject.notes } : {}),
      peakBytes: plan.peakBytes,
      ...(options.plan ? { plan: { ...plan, buffers: [...plan.buffers.values()] } } : {}),
    });
    return;
  }
  printLine(options.plan ? printPlan(plan).trimEnd() : describe(subject, summary, plan, options));
}

async function findSubject(what: string, options: InspectOptions, file: InspectedFile | undefined): Promise<Subject> {
  if (isNetworkFile(what)) {
    for (const [flag, value] of [
      ["--num-classes", options.numClasses],
      ["--drop", options.drop],
    ] as const) {
      if (value !== undefined) {
        throw new UsageError(`${flag}: ${what} is a checkpoint, which has its own`, { flag });
      }
    }
    const { spec, height, width, dataset, notes = [] } = file?.network ?? (await readNetwork(what));
    const size =
      options.inputSize === undefined ? { height, width } : { height: options.inputSize, width: options.inputSize };
    return { name: what, spec, ...size, dataset, notes, ...(file === undefined ? {} : { file: file.facts }) };
  }
  const spec = namedSpec(what, { numClasses: options.numClasses, dropRate: options.drop });
  const side = options.inputSize ?? usualInput(spec);
  return { name: networkTitle(spec, canonicalName(what)), spec, height: side, width: side };
}

/** Where no header says all of it. */
async function readNetwork(path: string): Promise<NonNullable<InspectedFile["network"]>> {
  const { trained, notes } = await loadNetwork(path, "last", say);
  const { height, width } = trained.preprocessing;
  return { spec: trained.model.spec, height, width, dataset: trained.dataset, notes };
}

function makePlan({ spec, height, width }: Subject, options: InspectOptions): Plan {
  const mode = options.inference ? "inference" : "training";
  const graph = buildGraph(spec, { batch: options.batchSize, height, width, mode });
  if (options.inference) return planInference(graph);
  const optimizer = { momentum: 0.9, nesterov: true, weightDecay: 1e-4 };
  return planTraining(differentiate(graph), { recompute: options.recompute, optimizer });
}

function describe(subject: Subject, summary: Summary, plan: Plan, options: InspectOptions): string {
  const { spec } = subject;
  const step = options.inference ? "inference" : "a training step";
  const facts = [
    ...(subject.file ?? []),
    ...summary.facts,
    ["images", `${spec.inChannels} × ${summary.height} × ${summary.width}, ${formatInteger(spec.numClasses)} classes`],
    ...(subject.dataset === undefined ? [] : [["trained on", subject.dataset]]),
    ...(subject.notes ?? []).map((line, index) => [index === 0 ? "weights" : "", line]),
    ["depth", `${summary.depth} convolution and classifier layers`],
    ["parameters", formatInteger(summary.params)],
    ["multiply-adds", `${formatCount(summary.macs)} an image (${formatInteger(summary.macs)})`],
    [
      "connections",
      `${formatInteger(summary.connections)} = ${summary.connectionsPerBlock.map(formatInteger).join(" + ")}`,
    ],
    [
      "activations",
      `${formatBytes(plan.arenaBytes)} planned for ${step} of ${summary.batch} images; ` +
        `${formatBytes(summary.activationBytesNaive)} if all were stored for the backward pass`,
    ],
    ["memory", `${formatBytes(plan.peakBytes)} in all`],
  ];
  const lines = [subject.name, table(facts.map((row) => ["", ...row]))];
  if (options.layers) {
    const rows = summary.layers.map((layer) => [
      layer.path,
      layer.kind,
      `${layer.inChannels} → ${layer.outChannels}`,
      `${layer.height}×${layer.width}`,
      formatInteger(layer.params),
      layer.macs === 0 ? "" : formatCount(layer.macs),
    ]);
    lines.push("", table([["layer", "kind", "maps", "leaves", "parameters", "macs"], ...rows], [2, 3, 4, 5]));
  }
  return lines.join("\n");
}
