// analyze/paper: figures 3 and 4. Grey and dashed is what the paper has, blue is ours.
import { formatInteger } from "../format.ts";
import type { Html } from "../report/html.ts";
import { type PlotAxis, type PlotSeries, plot } from "../report/plot.ts";
import type { PaperDocument } from "./document.ts";
import type { Figure4Point } from "./tables.ts";

const percent = (value: number): string => `${Number(value.toPrecision(3))} %`;
const millions = (value: number): string => `${Number(value.toPrecision(3))} M`;

const errorAxis = (low: number): PlotAxis => ({ label: "error", scale: "linear", format: percent, low });
const paramsAxis = (scale: PlotAxis["scale"]): PlotAxis => ({ label: "parameters", scale, format: millions });

/** Left: against parameters. Right: against the work of a forward pass. */
export function figure3Plots({ figure3 }: PaperDocument): readonly Html[] {
  const series = (abscissa: (point: (typeof figure3)[number]) => number): PlotSeries[] =>
    (["ResNet", "DenseNet"] as const).map((family, tone) => ({
      name: `${family} (paper)`,
      tone: tone === 0 ? 2 : 1,
      marks: "both",
      dashed: true,
      points: figure3
        .filter(({ network }) => network.startsWith(family))
        .map((point) => ({
          x: abscissa(point),
          y: point.top1Error,
          label: point.network.replace(/^\w+-(\d+).*$/, "$1"),
          title: `${point.network}: ${percent(point.top1Error)}, ${millions(point.paramsMillions)}, ${(2 * point.gigaMacs).toFixed(1)} GFLOP`,
        })),
    }));
  const y = errorAxis(21);
  return [
    plot({
      title: "ImageNet top-1 error against parameters",
      description: "at the same error a DenseNet has about a third of a ResNet's parameters; no run of ours.",
      series: series(({ paramsMillions }) => paramsMillions),
      x: paramsAxis("linear"),
      y,
    }),
    plot({
      title: "ImageNet top-1 error against work",
      description: "at the same error a DenseNet needs about half of a ResNet's operations; no run of ours.",
      series: series(({ gigaMacs }) => 2 * gigaMacs),
      x: { label: "GFLOP of a forward pass (2 × multiply-adds)", scale: "linear", format: String },
      y,
    }),
  ];
}

function paperCurve(name: string, tone: PlotSeries["tone"], points: readonly Figure4Point[]): PlotSeries {
  return {
    name: `${name} (paper)`,
    tone,
    marks: "both",
    dashed: true,
    points: points.map(({ network, paramsMillions, testError }) => ({
      x: paramsMillions,
      y: testError,
      title: `${network}: ${percent(testError)}, ${millions(paramsMillions)}`,
    })),
  };
}

function ourPoints({ figure4, runs }: PaperDocument): PlotSeries {
  return {
    name: "ours",
    tone: 0,
    marks: "dots",
    points: figure4.ours.map(({ network, paramsMillions, testError, run }) => {
      const epochs = runs.find(({ name }) => name === run)?.epochs ?? 0;
      const title = `${network} (${run}): ${testError.toFixed(2)} %, ${millions(paramsMillions)}, ${epochs} epochs`;
      return { x: paramsMillions, y: testError, title, label: `${epochs} epochs` };
    }),
  };
}

/** Left: networks and error on C10+ against parameters. */
export function figure4Left(document: PaperDocument): { readonly svg: Html; readonly series: readonly PlotSeries[] } {
  const { paper, wide } = document.figure4;
  const series = [
    paperCurve("DenseNet", 2, paper.denseNet),
    paperCurve("DenseNet-BC", 1, paper.denseNetBC),
    {
      ...paperCurve(
        "DenseNet-BC, wide",
        5,
        wide
          .filter(({ variant }) => variant.startsWith("BC-40"))
          .map(({ variant, paramsMillions, c10PlusError }) => ({
            network: `DenseNet-${variant}`,
            paramsMillions,
            testError: c10PlusError,
          })),
      ),
      name: "DenseNet-BC, wide (code release)",
    },
    ourPoints(document),
  ];
  const svg = plot({
    title: "C10+ test error against parameters",
    description: "bottlenecks and compression reach the same error with fewer parameters.",
    series,
    x: paramsAxis("log"),
    y: errorAxis(0),
  });
  return { svg, series };
}

/** Middle: against pre-activation ResNets. */
export function figure4Middle(document: PaperDocument): Html {
  const { paper } = document.figure4;
  return plot({
    title: "DenseNet-BC and pre-activation ResNets",
    description: "DenseNet-BC reaches the error of a pre-activation ResNet with a third of its parameters or less.",
    series: [
      paperCurve("pre-activation ResNet", 2, paper.preActivationResNet),
      paperCurve("DenseNet-BC", 1, paper.denseNetBC),
      ourPoints(document),
    ],
    x: paramsAxis("log"),
    y: errorAxis(0),
  });
}

/** Right: how our runs on C10+ learn, with the final errors of the two networks that the paper draws. */
export function figure4Right({ runs, figure4 }: PaperDocument): readonly Html[] {
  const drawn = runs.filter(({ column }) => column === "C10+");
  const longest = Math.max(1, ...drawn.map(({ epochs }) => epochs));
  const tones = [0, 3, 4] as const;
  const ours = (of: "trainLoss" | "testError"): PlotSeries[] =>
    drawn.map(({ name, title, curve, epochs }, index) => ({
      name: `${title}, ${epochs} epochs`,
      tone: tones[index % tones.length] ?? 0,
      marks: epochs > 60 ? "line" : "both",
      points: curve.map((epoch) => ({
        x: epoch.epoch,
        y: epoch[of],
        title: `${name}, epoch ${epoch.epoch}: ${of === "testError" ? `${epoch[of].toFixed(2)} %` : epoch[of].toFixed(3)}`,
      })),
    }));
  const finals = figure4.curves.map(({ network, testError }, index): PlotSeries => {
    const title = `${network}, after 300 epochs in the paper: ${percent(testError)}`;
    const name = `${network}, final (paper)`;
    const points = [1, longest].map((x) => ({ x, y: testError, title }));
    return { name, tone: index === 0 ? 2 : 1, marks: "line", dashed: true, points };
  });
  const x: PlotAxis = { label: "epoch", scale: "linear", format: formatInteger, low: 0 };
  return [
    plot({
      title: "Test error while training",
      description: `${drawn.length} of our runs, and two final errors of the paper.`,
      series: [...finals, ...ours("testError")],
      x,
      y: errorAxis(0),
    }),
    plot({
      title: "Training loss",
      description: `cross-entropy in nats of ${drawn.length} of our runs.`,
      series: ours("trainLoss"),
      x,
      y: { label: "nats", scale: "linear", format: (value) => String(Number(value.toPrecision(2))) },
    }),
  ];
}
