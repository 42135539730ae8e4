// analyze: model compactness (paper, section 5, figures 3 and 4). Test error against parameters and against
// multiply-adds: the paper's points, and runs of our own where there are some on the same data.
import { macs, namedSpec, parameterCount } from "../networks/registry.ts";
import type { Finding } from "./finding.ts";
import type { Result } from "./paper/results.ts";
import { type Figure4Point, figure3, figure4, figure4Curves } from "./paper/tables.ts";
import type { AnalysisSection } from "./report/analysisPage.ts";
import { html } from "./report/html.ts";
import { type PlotSeries, plot, toneOf } from "./report/plot.ts";

/** A network with its test error on C10+ in percent. */
export interface CompactPoint {
  readonly network: string;
  readonly params: number;
  /** Multiply-adds per image, 32×32; missing for networks that are not built here. */
  readonly macs?: number;
  readonly testError: number;
  /** Of a run of our own. */
  readonly epochs?: number;
  /** Of a run of our own: its settings but for network and seed. Runs with the same ones were trained alike. */
  readonly training?: string;
}

/** Error against size: the paper's points on C10+ (figure 4) and those of our own runs. */
export interface Compactness {
  readonly denseNet: readonly CompactPoint[];
  readonly denseNetBC: readonly CompactPoint[];
  readonly resNet: readonly CompactPoint[];
  /** Runs of our own on C10+. */
  readonly runs: readonly CompactPoint[];
  readonly findings: readonly Finding[];
}

const size = { height: 32, width: 32 };

/** The results on C10+ as points of the figure. */
export function compactRuns(results: readonly Result[]): CompactPoint[] {
  return results
    .filter(({ column }) => column === "C10+")
    .map(({ title, spec, params, final, epochs, config }) => ({
      network: title,
      params,
      macs: macs(spec, size),
      testError: final.valTop1Error,
      epochs: epochs.length,
      training: JSON.stringify({ ...config, model: null, seed: null }),
    }));
}

/** The paper's points beside `runs`, measured on C10+. */
export function compactness(runs: readonly CompactPoint[]): Compactness {
  const [denseNet, denseNetBC, resNet] = [figure4.denseNet, figure4.denseNetBC, figure4.preActivationResNet].map(
    (points) => points.map(pointOf),
  );
  return {
    denseNet,
    denseNetBC,
    resNet,
    runs,
    findings: [...findingsOf(denseNet, denseNetBC), ...findingsOfRuns(runs)],
  };
}

/** Parameters of networks that are built here are counted, others as printed. */
function pointOf({ network, variant, paramsMillions, testError }: Figure4Point): CompactPoint {
  if (variant === undefined) return { network, params: 1e6 * paramsMillions, testError };
  const spec = namedSpec(variant);
  return { network, params: parameterCount(spec), macs: macs(spec, size), testError };
}

function findingsOf(denseNet: readonly CompactPoint[], denseNetBC: readonly CompactPoint[]): Finding[] {
  const [resNet, small] = figure4Curves;
  const smallParams = parameterCount(namedSpec("BC-100-12"));
  const part = smallParams / (1e6 * resNet.paramsMillions);
  const better = unbeaten(denseNetBC, denseNet);
  return [
    {
      claim:
        "A DenseNet-BC with only 0.8M trainable parameters is able to achieve comparable accuracy as the 1001-layer " +
        "(pre-activation) ResNet with 10.2M parameters.",
      place: "section 5, model compactness, figure 4 right",
      criterion: "counted here it has at most a tenth of the parameters, and the printed errors differ by at most 0.2",
      measured:
        `${smallParams.toLocaleString("en-US")} parameters, ${(100 * part).toFixed(1)} % of the ResNet's; errors as ` +
        `printed ${small.testError} and ${resNet.testError} %`,
      found: part <= 0.1 && Math.abs(small.testError - resNet.testError) <= 0.2,
    },
    {
      claim: MOST_EFFICIENT,
      place: LEFT,
      criterion:
        "no DenseNet of Table 2 without bottlenecks has as few parameters as a DenseNet-BC and an error as low",
      measured: `${better.length} of ${denseNetBC.length} DenseNet-BC of Table 2 are beaten by none`,
      found: better.length === denseNetBC.length,
    },
  ];
}

const MOST_EFFICIENT = "DenseNet-BC is consistently the most parameter efficient variant of DenseNet.";
const LEFT = "section 5, model compactness, figure 4 left";

/** Those that none of the others has as few parameters and as low an error as. */
function unbeaten(points: readonly CompactPoint[], others: readonly CompactPoint[]): readonly CompactPoint[] {
  return points.filter(({ params, testError }) =>
    others.every((other) => other.params > params || other.testError > testError),
  );
}

/** Fewer runs say little of a trend. */
const ENOUGH_RUNS = 5;
/** "Around 1/3", with room on both sides. */
const SHARE = 1 / 2;
/** Percentage points: two seeds of one network differ by about so much. */
const SAME_ERROR = 0.5;

/** Of the largest set of our own runs that were trained alike, if it is large enough. */
function findingsOfRuns(runs: readonly CompactPoint[]): Finding[] {
  const sets = [...Map.groupBy(runs, ({ training }) => training).values()];
  const alike = sets.reduce((largest, set) => (set.length > largest.length ? set : largest), []);
  if (alike.length < ENOUGH_RUNS) return [];
  const named = (prefix: string): CompactPoint[] => alike.filter(({ network }) => network.startsWith(prefix));
  const compact = named("DenseNet-BC-");
  const others = named("DenseNet-").filter((point) => !compact.includes(point));
  const residual = named("ResNet-").filter(({ network }) => !network.includes(" with "));
  const trained = `our ${alike.length} runs of ${alike[0].epochs} epochs with the same settings`;
  const kilo = (params: number): string => `${Math.round(params / 1000)} k parameters`;
  const found: Finding[] = [];
  if (compact.length > 0 && others.length > 0) {
    const better = unbeaten(compact, others);
    found.push({
      claim: MOST_EFFICIENT,
      place: LEFT,
      criterion: `of ${trained}, no other DenseNet has as few parameters as a DenseNet-BC and an error as low`,
      measured: `${better.length} of ${compact.length} DenseNet-BC are beaten by none of ${others.length} others`,
      found: better.length === compact.length,
    });
  }
  if (compact.length > 0 && residual.length > 0) {
    const pairs = residual.map((net) => {
      const smaller = compact.filter(({ params }) => params <= SHARE * net.params);
      return { net, best: smaller.toSorted((a, b) => a.testError - b.testError)[0] };
    });
    const matches = pairs.filter(({ net, best }) => best !== undefined && best.testError <= net.testError + SAME_ERROR);
    found.push({
      claim:
        "To achieve the same level of accuracy, DenseNet-BC only requires around 1/3 of the parameters of ResNets.",
      place: "section 5, model compactness, figure 4 middle",
      criterion:
        `of ${trained}, each ResNet has a DenseNet-BC of at most half its parameters whose error is at most ` +
        `${SAME_ERROR} points higher`,
      measured: pairs
        .map(({ net, best }) => {
          const beside =
            best === undefined
              ? "none is so small"
              : `${best.network} ${best.testError.toFixed(1)} % with ${kilo(best.params)}`;
          return `${net.network} ${net.testError.toFixed(1)} % with ${kilo(net.params)}: ${beside}`;
        })
        .join("; "),
      found: matches.length === residual.length,
    });
  }
  return found;
}

/** Error against parameters, as a section of a page. */
export function compactnessSection({ denseNet, denseNetBC, resNet, runs, findings }: Compactness): AnalysisSection {
  const count = (value: number): string =>
    value >= 1e9 ? `${value / 1e9} G` : value >= 1e6 ? `${value / 1e6} M` : `${value / 1e3} k`;
  const percent = (value: number): string => `${Number(value.toFixed(1))} %`;
  const group = (
    name: string,
    tone: PlotSeries["tone"],
    points: readonly CompactPoint[],
    x: (point: CompactPoint) => number | undefined,
    ours = false,
  ): PlotSeries[] => {
    const placed = points.flatMap((point) => {
      const at = x(point);
      const epochs = point.epochs === undefined ? "" : `, ${point.epochs} epochs`;
      const title = `${point.network}${epochs}: ${count(Number((at ?? 0).toPrecision(3)))}, ${percent(point.testError)}`;
      return at === undefined ? [] : [{ x: at, y: point.testError, title, ...(ours ? { label: point.network } : {}) }];
    });
    return placed.length === 0 ? [] : [{ name, tone, marks: ours ? "dots" : "both", points: placed }];
  };
  const chart = (title: string, label: string, x: (point: CompactPoint) => number | undefined) =>
    plot({
      title,
      description: `${denseNet.length + denseNetBC.length} DenseNets, ${resNet.length} ResNets of the paper, ${runs.length} runs of our own.`,
      series: [
        ...group("DenseNet-BC, paper", toneOf(0), denseNetBC, x),
        ...group("DenseNet, paper", toneOf(3), denseNet, x),
        ...group("pre-activation ResNet, paper", toneOf(2), resNet, x),
        ...[...Map.groupBy(runs, ({ epochs }) => epochs)]
          .toSorted(([a = 0], [b = 0]) => b - a)
          .flatMap(([epochs, points], at) =>
            group(`run here, ${epochs} epochs`, toneOf(1 + 3 * (at % 2)), points, x, true),
          ),
      ],
      x: { label, scale: "log", format: count },
      y: { label: "test error on C10+", scale: "linear", format: percent },
    });
  const imagenet = plot({
    title: "ImageNet, top-1 error of one crop against parameters (figure 3)",
    description: "four DenseNets and four ResNets, as read off the paper's figure.",
    series: (["DenseNet", "ResNet"] as const).map((family, index) => ({
      name: `${family}, paper`,
      tone: toneOf(2 * index),
      marks: "both",
      points: figure3
        .filter(({ network }) => network.startsWith(family))
        .map(({ network, paramsMillions, top1Error }) => ({
          x: paramsMillions,
          y: top1Error,
          title: `${network}: ${paramsMillions} M, ${top1Error} %`,
        })),
    })),
    x: { label: "parameters, millions", scale: "linear", format: String },
    y: { label: "top-1 error", scale: "linear", format: percent, low: 21 },
  });
  return {
    id: "compactness",
    title: "Model compactness",
    lede: html`Test error on CIFAR-10 with augmentation against parameters and multiply-adds (figure 4), and ImageNet's against parameters (figure 3). The paper's errors are cited; parameters and multiply-adds of networks that are built here are counted. Runs here are recorded results; hover for their epochs, which are far fewer than the paper's 300.`,
    figures: [
      html`<div class="charts">${chart("C10+ against parameters", "parameters", ({ params }) => params)}${chart("C10+ against multiply-adds of an image", "multiply-adds", (point) => point.macs)}${imagenet}</div>`,
    ],
    findings,
  };
}
