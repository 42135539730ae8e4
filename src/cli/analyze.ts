// cli: `densenet analyze` — the paper's analyses of trained networks, as numbers and as a page.
import { mkdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import type { Command } from "commander";
import { compactness, compactnessSection, compactRuns } from "../analyze/compactness.ts";
import {
  deepSupervisionSection,
  linearProbes,
  lossDistances,
  type NetworkSupervision,
} from "../analyze/deepSupervision.ts";
import { featureMemory, featureMemorySection } from "../analyze/featureMemory.ts";
import {
  featureReuse,
  featureReuseSection,
  type ReuseNormalisation,
  reuseNormalisations,
} from "../analyze/featureReuse.ts";
import type { Finding } from "../analyze/finding.ts";
import { formatInteger } from "../analyze/format.ts";
import { gradientFlow, gradientFlowSection, type NetworkGradients } from "../analyze/gradientFlow.ts";
import { layerImportance, layerImportanceSection, type NetworkImportance } from "../analyze/layerImportance.ts";
import { readResults } from "../analyze/paper/results.node.ts";
import { paperCitation } from "../analyze/paper/tables.ts";
import { type AnalysisSection, renderAnalyses } from "../analyze/report/analysisPage.ts";
import { stochasticConnections, stochasticConnectionsSection } from "../analyze/stochasticConnections.ts";
import type { Backend } from "../backends/backend.ts";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import { writeFailure } from "../checkpoint/writeFailure.ts";
import { loadBatches } from "../data/loader.node.ts";
import { openDataset } from "../data/open.node.ts";
import { DenseNetError, UsageError } from "../errors.ts";
import { type LoadedNetwork, loadNetwork } from "../formats/network.node.ts";
import { createNetwork } from "../model/create.ts";
import type { Model } from "../model/model.ts";
import { anatomyOf, canonicalName, namedSpec, networkTitle, parameterCount } from "../networks/registry.ts";
import type { DeviceChoice } from "../run/device.node.ts";
import { type HeldOut, openHeldOut } from "../run/heldOut.node.ts";
import { openBackend } from "./backend.ts";
import { commandLine } from "./commandLine.ts";
import { chosenDevice, EMBEDDED, examples, jsonOption, settingOption, wholeFlag } from "./flags.ts";
import { isNetworkFile } from "./networkFile.ts";
import { printJson, printLine, say } from "./output.ts";

const analysisNames = [
  "feature-reuse",
  "gradient-flow",
  "deep-supervision",
  "layer-importance",
  "stochastic-connections",
  "compactness",
  "memory",
] as const;
type AnalysisName = (typeof analysisNames)[number];

/** Dense layers of each block of the DenseNet-BCs whose memory is compared: 34 to 484 layers. */
const MEMORY_LAYERS = [5, 10, 16, 24, 32, 41, 52, 64, 80] as const;

interface AnalyzeOptions extends Partial<DeviceChoice> {
  readonly against?: readonly string[];
  readonly only?: readonly AnalysisName[];
  readonly dataDir?: string;
  readonly normalisation: ReuseNormalisation;
  readonly steps: number;
  readonly images: number;
  readonly output: string;
  readonly json?: boolean;
}

/** A network to analyse: a trained one, or one at its first values that is called by its name. */
interface Subject {
  readonly name: string;
  /** As given. */
  readonly path: string;
  readonly model: Model;
  /** Missing where only a network's name was given. */
  readonly loaded?: LoadedNetwork;
}

interface Analysed {
  /** For --json. */
  readonly data: unknown;
  readonly section: AnalysisSection;
  readonly findings: readonly Finding[];
}

/** What analyses use; device and images are opened when the first one asks for them. */
interface Context {
  readonly subjects: readonly Subject[];
  readonly options: AnalyzeOptions;
  backend(): Promise<Backend>;
  images(): Promise<HeldOut>;
}

type Analysis = (context: Context) => Analysed | Promise<Analysed>;

const analyses: Readonly<Record<AnalysisName, Analysis>> = {
  "feature-reuse": ({ subjects, options }) => {
    const networks = trainedOnes("feature-reuse", subjects).map(({ name, model }) => ({
      name,
      reuse: featureReuse(model),
    }));
    return {
      data: networks.map(({ name, reuse }) => ({ name, ...reuse })),
      section: featureReuseSection(networks, options.normalisation),
      findings: networks[0]?.reuse.findings ?? [],
    };
  },
  "gradient-flow": async ({ subjects, options, ...open }) => {
    const [backend, { dataset }] = [await open.backend(), await open.images()];
    const networks: NetworkGradients[] = [];
    for (const { name, model, loaded } of subjects) {
      say(`gradient-flow: ${options.steps} ${options.steps === 1 ? "update" : "updates"} of ${name}`);
      const how = { dataset, backend, loadBatches };
      const moments = roundNumbers(options.steps);
      const fromStart = await gradientFlow({ ...how, model: createNetwork(model.spec), moments });
      const trained = loaded && (await gradientFlow({ ...how, model }));
      networks.push({ name, fromStart, ...(trained === undefined ? {} : { trained }) });
    }
    const section = gradientFlowSection(networks);
    return { data: networks, section, findings: section.findings };
  },
  "deep-supervision": async ({ subjects, options, ...open }) => {
    const networks: NetworkSupervision[] = [];
    for (const { name, model, loaded } of subjects) {
      const distances = lossDistances(model.spec);
      if (loaded === undefined) {
        networks.push({ name, distances });
        continue;
      }
      const [backend, { dataset }] = [await open.backend(), await open.images()];
      say(`deep-supervision: linear probes of ${name}`);
      const how = { trained: loaded.trained, dataset, backend, loadBatches, images: options.images };
      networks.push({ name, distances, linear: await linearProbes(how) });
    }
    const section = deepSupervisionSection(networks);
    return { data: networks, section, findings: section.findings };
  },
  "layer-importance": async ({ subjects, options, ...open }) => {
    const trained = trainedOnes("layer-importance", subjects);
    const [backend, { dataset }] = [await open.backend(), await open.images()];
    const networks: NetworkImportance[] = [];
    for (const { name, loaded } of trained) {
      say(`layer-importance: ${name} without each of its layers`);
      const how = { trained: loaded.trained, dataset, backend, loadBatches, images: options.images };
      networks.push({ name, importance: await layerImportance(how) });
    }
    const section = layerImportanceSection(networks);
    return { data: networks, section, findings: section.findings };
  },
  "stochastic-connections": ({ subjects }) => {
    const random = subjects.find(({ model }) => anatomyOf(model.spec).layers.some(isRandom));
    // Without one, the net that the paper compares with.
    const published = namedSpec("resnet-110", { stochasticDepth: 0.5 });
    const name = random?.name ?? `${networkTitle(published)}, p_L = 0.5`;
    const stages = stochasticConnections(random?.model.spec ?? published);
    const section = stochasticConnectionsSection(name, stages);
    return { data: { name, stages }, section, findings: section.findings };
  },
  compactness: async () => {
    const found = compactness(compactRuns(await readResults()));
    return { data: found, section: compactnessSection(found), findings: found.findings };
  },
  memory: () => {
    const specs = MEMORY_LAYERS.map((layers) => namedSpec("BC-100-12", { blockConfig: [layers, layers, layers] }));
    const found = featureMemory(specs, { height: 32, width: 32, batch: 64 });
    const section = featureMemorySection(found);
    return { data: found, section, findings: section.findings };
  },
};

export function addAnalyze(program: Command): void {
  program
    .command("analyze")
    .summary("the paper's analyses of a trained network, beside what the paper says")
    .description(
      "Analyses a trained network as the paper does, compares it with others, and says of each of the paper's " +
        "sentences whether it was found. Writes analysis.html, one self-contained page, and analysis.json.",
    )
    .argument("<run>", "a run folder, a checkpoint folder, weights, or a network's name for what needs no training")
    .option("--against <run...>", "networks to compare with: runs, or names of networks")
    .addOption(
      program
        .createOption(
          "--only <analysis...>",
          "these analyses only (default: all that the networks have what it takes for)",
        )
        .choices(analysisNames),
    )
    .addOption(settingOption("data.dir", `the run's; without a run ${EMBEDDED}`))
    .option("--steps <n>", "updates that gradient-flow follows", wholeFlag("--steps", 0), 50)
    .option(
      "--images <n>",
      "images of each split, at most, that trained networks are measured on",
      wholeFlag("--images", 1),
      1000,
    )
    .addOption(
      program
        .createOption("--normalisation <name>", "of the feature-reuse figure")
        .choices(reuseNormalisations)
        .default("columnMax"),
    )
    .option("-o, --output <folder>", "where the page and its numbers go", "analysis")
    .addOption(settingOption("device"))
    .addOption(settingOption("threads"))
    .addOption(jsonOption("the numbers on stdout as one JSON document, errors too"))
    .addHelpText(
      "after",
      examples(
        "densenet analyze runs/first",
        "densenet analyze runs/dense --against runs/plain plain-100-12",
        "densenet analyze runs/first --only feature-reuse --normalisation columnMax",
      ),
    )
    .action(analyze);
}

async function analyze(run: string, options: AnalyzeOptions): Promise<void> {
  const subjects: Subject[] = [];
  for (const path of [run, ...(options.against ?? [])]) subjects.push(await openSubject(path));
  await makeFolder(options.output);
  let backend: Promise<Backend> | undefined;
  let images: Promise<HeldOut> | undefined;
  const context: Context = {
    subjects,
    options,
    backend: () => (backend ??= openBackend(chosenDevice(options))),
    images: () => (images ??= openImages(subjects, options)),
  };
  const done = new Map<AnalysisName, Analysed>();
  try {
    for (const name of options.only ?? analysisNames) {
      try {
        done.set(name, await analyses[name](context));
      } catch (error) {
        // What was asked for by name must come; of all, those that can.
        if (options.only !== undefined || !(error instanceof DenseNetError)) throw error;
        say(`left out: ${error.message}`);
      }
    }
  } finally {
    await (await backend)?.dispose();
  }
  const numbers = {
    networks: subjects.map(({ name, model }) => ({ name, spec: model.spec, parameters: parameterCount(model.spec) })),
    ...Object.fromEntries([...done].map(([name, { data }]) => [name, data])),
  };
  const page = renderAnalyses({
    title: `Analysis of ${subjects[0]?.name ?? run}`,
    subjects: subjects.map(describe),
    command: commandLine(),
    date: new Date(),
    sections: [...done.values()].map(({ section }) => section),
    citation: paperCitation,
  });
  await writeFileAtomic(join(options.output, "analysis.json"), `${JSON.stringify(numbers, null, 1)}\n`);
  await writeFileAtomic(join(options.output, "analysis.html"), page);
  if (options.json) {
    printJson(numbers);
    return;
  }
  for (const [name, { findings }] of done) {
    printLine(name);
    for (const { found, place, measured } of findings) {
      printLine(`  ${found ? "found    " : "not found"}  ${place}: ${measured}`);
    }
  }
  printLine(`page: ${join(options.output, "analysis.html")}`);
}

/** Before the work, not after it. */
async function makeFolder(folder: string): Promise<void> {
  if (folder === "") throw new UsageError('--output: got "", expected the name of a folder', { flag: "--output" });
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw writeFailure(folder, error);
  });
}

const isRandom = ({ keepProbability = 1 }: { readonly keepProbability?: number }): boolean => keepProbability < 1;

/** The images of the first network that was trained by a run, or those that come with the package. */
async function openImages(subjects: readonly Subject[], { dataDir }: AnalyzeOptions): Promise<HeldOut> {
  const subject = subjects.find(({ loaded }) => loaded !== undefined);
  if (subject?.loaded !== undefined) return openHeldOut(subject.loaded, subject.path, { dataDir, report: say });
  const dataset = await openDataset({ dir: dataDir ?? "embedded", report: say });
  return { dataset, split: "val", which: "val", words: `the validation split of ${dataset.name}` };
}

/** 0, 1, 2, 5, 10, 20, 50 … up to the last, which is among them. */
function roundNumbers(last: number): number[] {
  const found = [0];
  for (let power = 1; power <= last; power *= 10) {
    for (const factor of [1, 2, 5]) if (factor * power < last) found.push(factor * power);
  }
  return last > 0 ? [...found, last] : found;
}

async function openSubject(path: string): Promise<Subject> {
  if (!isNetworkFile(path)) {
    const spec = namedSpec(path);
    return { name: networkTitle(spec, canonicalName(path)), path, model: createNetwork(spec) };
  }
  const loaded = await loadNetwork(path, "last", say);
  const { model } = loaded.trained;
  return { name: `${networkTitle(model.spec)} (${basename(resolve(path))})`, path, model, loaded };
}

function describe({ name, model, loaded }: Subject): string {
  const trained = loaded === undefined ? "at its first values" : `trained on ${loaded.trained.dataset}`;
  return `${name}: ${formatInteger(parameterCount(model.spec))} parameters, ${trained}.`;
}

/** @throws UsageError when none was trained */
function trainedOnes(analysis: AnalysisName, subjects: readonly Subject[]): readonly Required<Subject>[] {
  const trained = subjects.flatMap(({ loaded, ...subject }) => (loaded === undefined ? [] : [{ ...subject, loaded }]));
  if (trained.length > 0) return trained;
  const names = subjects.map(({ name }) => name).join(", ");
  throw new UsageError(`${analysis}: ${names} has no trained weights, expected a run's folder or weights`, {
    analysis,
  });
}
