// analyze/paper: everything that the paper prints beside everything that was measured here, as plain data. The page,
// the terminal and --json show it.
//
// A cell has what the paper prints, what stands here, and how that was made: computed from the network's spec, or
// measured by a run, which is named and described in `runs`. What nobody ran is absent.

import { isRecord } from "../../checkpoint/record.ts";
import { architecture, depthOf, macs, namedSpec, networkTitle, parameterCount } from "../../networks/registry.ts";
import type { PresetName } from "../../train/presets.ts";
import { resolveConfig } from "../../train/resolveConfig.ts";
import type { Result } from "./results.ts";
import {
  type CropErrors,
  type Figure3Point,
  type Figure4Point,
  figure3,
  figure4,
  figure4Curves,
  paperCitation,
  type Table2Column,
  table1,
  table1Networks,
  table2,
  table2Columns,
  table3,
  type WideRow,
  wideNetworks,
} from "./tables.ts";

/** A figure of the paper beside ours; a side that does not exist is absent. */
export interface Cell<T = number> {
  readonly paper?: T;
  readonly ours?: T;
  /** Name of the run that measured `ours`, or the command that computes it. */
  readonly how?: string;
}

export interface Table1Part {
  readonly networks: readonly string[];
  readonly rows: readonly {
    readonly stage: string;
    readonly layers: string;
    /** Sides in pixels, several where the row has several outputs. */
    readonly outputs: Cell<readonly number[]>;
    /** How often a dense block repeats its pair, for each network. */
    readonly repeats?: readonly Cell[];
  }[];
  /** What the table does not print: of each network, computed. */
  readonly sizes: readonly { readonly params: Cell; readonly macs: Cell; readonly depth: Cell }[];
}

export interface Table2Part {
  readonly columns: readonly Table2Column[];
  readonly rows: readonly {
    readonly method: string;
    readonly depth: Cell;
    /** In millions. */
    readonly params: Cell;
    /** Test error in per cent, by column. */
    readonly errors: Readonly<Record<Table2Column, Cell>>;
    readonly runByAuthors: readonly Table2Column[];
  }[];
}

export interface Table3Part {
  readonly rows: readonly {
    readonly network: string;
    readonly params: Cell;
    readonly errors: Readonly<Record<"top1" | "top5", Readonly<Record<keyof CropErrors, Cell>>>>;
  }[];
}

/** A run in words: how it was made, and where its recipe is not the paper's. */
export interface RunPart {
  readonly name: string;
  readonly title: string;
  readonly dataset: string;
  readonly column?: Table2Column;
  readonly params: number;
  readonly epochs: number;
  readonly testError: number;
  readonly testImages: number;
  readonly seconds: number;
  readonly peakBytes: number;
  readonly command: string;
  readonly machine: string;
  /** Of its start, year-month-day. */
  readonly date: string;
  /** Settings that the paper's recipe for the data has otherwise; of data that the paper has not, absent. */
  readonly differences?: readonly { readonly setting: string; readonly paper: unknown; readonly ours: unknown }[];
  readonly curve: readonly { readonly epoch: number; readonly trainLoss: number; readonly testError: number }[];
}

export interface PaperDocument {
  readonly citation: string;
  readonly table1: Table1Part;
  readonly table2: Table2Part;
  readonly table3: Table3Part;
  readonly figure3: readonly (Figure3Point & { readonly gigaMacs: number; readonly how: string })[];
  readonly figure4: {
    readonly paper: typeof figure4;
    readonly wide: readonly WideRow[];
    readonly curves: typeof figure4Curves;
    readonly ours: readonly (Figure4Point & { readonly run: string })[];
  };
  /** Of the result that is nearest to the paper's network: DenseNet-40-12, C10+. */
  readonly figure5?: Pick<Result, "reuse"> & { readonly run: string; readonly title: string };
  readonly runs: readonly RunPart[];
}

const presets: Readonly<Record<Table2Column, PresetName>> = {
  C10: "paper-cifar10",
  "C10+": "paper-cifar10-plus",
  C100: "paper-cifar100",
  "C100+": "paper-cifar100-plus",
  SVHN: "paper-svhn",
};

const inspect = (name: string): string => `densenet inspect ${name}`;

export function paperDocument(results: readonly Result[]): PaperDocument {
  const reuse = results.filter((result) => result.reuse !== undefined).toSorted((a, b) => nearness(b) - nearness(a))[0];
  return {
    citation: paperCitation,
    table1: table1Part(),
    table2: table2Part(results),
    table3: {
      rows: table3.map(({ variant, top1, top5 }) => ({
        network: networkTitle(namedSpec(variant)),
        params: { ours: parameterCount(namedSpec(variant)), how: inspect(variant) },
        errors: { top1: crops(top1), top5: crops(top5) },
      })),
    },
    figure3: figure3.map((point) => {
      if (point.variant === undefined) return { ...point, gigaMacs: point.gigaMacs ?? Number.NaN, how: HE_2015 };
      const size = { height: 224, width: 224 };
      return { ...point, gigaMacs: macs(namedSpec(point.variant), size) / 1e9, how: inspect(point.variant) };
    }),
    figure4: {
      paper: figure4,
      wide: wideNetworks,
      curves: figure4Curves,
      ours: results
        .filter(({ column }) => column === "C10+")
        .map(({ name, title, params, final, variant }) => ({
          network: title,
          ...(variant === undefined ? {} : { variant }),
          paramsMillions: params / 1e6,
          testError: final.valTop1Error,
          run: name,
        })),
    },
    ...(reuse?.reuse === undefined ? {} : { figure5: { run: reuse.name, title: reuse.title, reuse: reuse.reuse } }),
    runs: results.map(runPart),
  };
}

const HE_2015 = "Table 1 of He et al., arXiv 1512.03385";

function crops({ singleCrop, tenCrop }: CropErrors): Readonly<Record<keyof CropErrors, Cell>> {
  return { singleCrop: { paper: singleCrop }, tenCrop: { paper: tenCrop } };
}

function nearness({ variant, column, config }: Result): number {
  return (column === "C10+" ? 1e6 : 0) + (variant === "40-12" ? 1e5 : 0) + config.epochs;
}

function table1Part(): Table1Part {
  const networks = table1Networks.map((name) => ({
    name,
    spec: namedSpec(name),
    shape: architecture(namedSpec(name), { height: 224, width: 224 }),
  }));
  const [{ shape }] = networks;
  const sideAt = (path: string): number => shape.layers.find((layer) => layer.path === path)?.height ?? Number.NaN;
  const how = inspect(`${table1Networks[0]} --layers`);
  let block = 0;
  return {
    networks: networks.map(({ spec }) => networkTitle(spec)),
    rows: table1.map(({ stage, layers, outputSides, repeats }) => {
      if (repeats === undefined) {
        const ours = outputsOf(stage, block, sideAt);
        return { stage, layers, outputs: { paper: outputSides, ours, how } };
      }
      block++;
      const of = block - 1;
      return {
        stage,
        layers,
        outputs: { paper: outputSides, ours: [shape.blocks[of]?.height ?? Number.NaN], how },
        repeats: networks.map(({ name, shape: { blocks } }, column) => ({
          paper: repeats[column] ?? Number.NaN,
          ours: blocks[of]?.layers ?? Number.NaN,
          how: inspect(name),
        })),
      };
    }),
    sizes: networks.map(({ name, spec, shape: found }) => ({
      params: { ours: parameterCount(spec), how: inspect(name) },
      macs: { ours: macs(spec, { height: 224, width: 224 }), how: inspect(name) },
      depth: { ours: depthOf(found), how: inspect(name) },
    })),
  };
}

/** Sides of what a stage that is no dense block leaves; `after`: dense blocks before it. */
function outputsOf(stage: string, after: number, sideAt: (path: string) => number): readonly number[] {
  if (stage.startsWith("Convolution")) return [sideAt("features.conv0")];
  if (stage.startsWith("Pooling")) return [sideAt("features.pool0")];
  if (stage.startsWith("Classification")) return [sideAt("classifier")];
  const path = `features.transition${after}`;
  return [sideAt(`${path}.conv`), sideAt(`${path}.pool`)];
}

function table2Part(results: readonly Result[]): Table2Part {
  const measured = (variant: string, column: Table2Column): Result | undefined =>
    results
      .filter((result) => result.variant === variant && result.column === column)
      // The longest training; never the lowest error, which would be chosen by looking at the test set.
      .toSorted((a, b) => b.config.epochs - a.config.epochs || b.name.localeCompare(a.name))[0];
  const rowOf = (variant: string) => {
    const spec = namedSpec(variant);
    const depth = depthOf(architecture(spec, { height: 32, width: 32 }));
    return { depth, params: parameterCount(spec) / 1e6, how: inspect(variant) };
  };
  const cells = (variant: string | undefined, paper: Partial<Record<Table2Column, number>>) =>
    Object.fromEntries(
      table2Columns.map((column): [Table2Column, Cell] => {
        const run = variant === undefined ? undefined : measured(variant, column);
        const printed = paper[column];
        return [
          column,
          {
            ...(printed === undefined ? {} : { paper: printed }),
            ...(run === undefined ? {} : { ours: run.final.valTop1Error, how: run.name }),
          },
        ];
      }),
    ) as Record<Table2Column, Cell>;
  const inPaper = new Set(table2.map(({ variant }) => variant));
  const beyond = [...new Set(results.flatMap(({ variant, column }) => (column && variant ? [variant] : [])))];
  return {
    columns: table2Columns,
    rows: [
      ...table2.map(({ method, depth, paramsMillions, errors, runByAuthors = [], variant }) => {
        const ours = variant === undefined ? undefined : rowOf(variant);
        const beside = (printed: number | undefined, computed: number | undefined): Cell => ({
          ...(printed === undefined ? {} : { paper: printed }),
          ...(computed === undefined ? {} : { ours: computed, how: ours?.how ?? "" }),
        });
        return {
          method,
          depth: beside(depth, ours?.depth),
          params: beside(paramsMillions, ours?.params),
          errors: cells(variant, errors),
          runByAuthors,
        };
      }),
      ...beyond
        .filter((variant) => !inPaper.has(variant))
        .map((variant) => {
          const { depth, params, how } = rowOf(variant);
          const { title } = results.find((result) => result.variant === variant) ?? { title: variant };
          return {
            method: title,
            depth: { ours: depth, how },
            params: { ours: params, how },
            errors: cells(variant, {}),
            runByAuthors: [],
          };
        }),
    ],
  };
}

function runPart(result: Result): RunPart {
  const { name, title, start, column, params, config, final, seconds, environment, epochs } = result;
  const { cpu, cores, platform, node, backend } = environment;
  const on = backend.device ?? `${cores} cores of ${cpu}`;
  return {
    name,
    title,
    dataset: start.dataset,
    ...(column === undefined ? {} : { column }),
    params,
    epochs: config.epochs,
    testError: final.valTop1Error,
    testImages: start.testCount,
    seconds,
    peakBytes: start.peakBytes,
    command: environment.command,
    machine: `${on}, ${platform}, Node ${node}, ${backend.name}, ${backend.threads} threads`,
    date: environment.startedAt.slice(0, 10),
    ...(column === undefined ? {} : { differences: differencesOf(result, column) }),
    curve: epochs.map(({ epoch, trainLoss, valTop1Error }) => ({ epoch, trainLoss, testError: valTop1Error })),
  };
}

/** What decides the recipe; where the data lies, on what and how it runs do not. */
const RECIPE = [
  "epochs",
  "batchSize",
  "lr",
  "schedule",
  "milestones",
  "gamma",
  "warmupEpochs",
  "momentum",
  "nesterov",
  "weightDecay",
  "initFan",
  "dropRate",
  "data.valSplit",
] as const;

function differencesOf({ config }: Result, column: Table2Column): NonNullable<RunPart["differences"]> {
  const recipe = resolveConfig({ preset: presets[column] }).config;
  const at = (of: unknown, path: string): unknown =>
    path.split(".").reduce((value: unknown, key) => (isRecord(value) ? value[key] : undefined), of);
  // They decide nothing with another schedule.
  const milestones = config.schedule === "multistep" ? [] : ["milestones", "gamma"];
  return RECIPE.filter((path) => !milestones.includes(path)).flatMap((setting) => {
    const [paper, ours] = [at(recipe, setting), at(config, setting)];
    return JSON.stringify(paper) === JSON.stringify(ours) ? [] : [{ setting, paper, ours }];
  });
}
