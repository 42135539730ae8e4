// analyze/paper: the tables as text, "paper / ours" in each cell. Figures are for the page; here their figures stand in
// a line each.
import { formatCount, formatDuration, formatInteger, formatPercent, table } from "../format.ts";
import type { Cell, PaperDocument } from "./document.ts";

const NONE = "–";

export function paperText(document: PaperDocument): string {
  const { citation, runs, figure5 } = document;
  return [
    citation,
    "Each cell: what the paper prints / what was computed or measured here.",
    table1(document),
    table2(document),
    table3(document),
    figure3(document),
    figure4(document),
    figure5?.reuse === undefined
      ? "Figure 5: no run has it yet"
      : [
          `Figure 5, of ${figure5.title} (${figure5.run})`,
          ...figure5.reuse.findings.map(
            ({ place, found, measured }) => `  ${place}: ${found ? "found" : "not found"}; ${measured}`,
          ),
        ].join("\n"),
    runs.length === 0
      ? "No run was recorded."
      : [
          "How ours were made",
          ...runs.map(
            ({ name, title, dataset, epochs, testError, testImages, seconds, machine, date, command }) =>
              `  ${name}: ${title} on ${dataset}, ${epochs} epochs in ${formatDuration(seconds)}, ` +
              `${formatPercent(testError, 2)} of ${formatInteger(testImages)} test images wrong\n` +
              `    ${machine}, ${date}\n    ${command}`,
          ),
        ].join("\n"),
  ].join("\n\n");
}

function beside({ paper, ours }: Cell, format: (value: number) => string): string {
  if (paper === undefined && ours === undefined) return "";
  return `${paper === undefined ? NONE : format(paper)} / ${ours === undefined ? NONE : format(ours)}`;
}

function table1({ table1: { networks, rows, sizes } }: PaperDocument): string {
  const sides = (values: readonly number[] | undefined): string => values?.join(", ") ?? NONE;
  return `Table 1: networks for ImageNet\n${table([
    ["", "output", ...networks],
    ...rows.map(({ stage, outputs, repeats = [] }) => [
      stage,
      `${sides(outputs.paper)} / ${sides(outputs.ours)}`,
      ...repeats.map((of) => beside(of, String)),
    ]),
    ["parameters", "", ...sizes.map(({ params }) => beside(params, formatInteger))],
    ["multiply-adds", "", ...sizes.map(({ macs }) => beside(macs, formatCount))],
  ])}`;
}

function table2({ table2: { columns, rows } }: PaperDocument): string {
  const error = (value: number): string => value.toFixed(2);
  return `Table 2: test error, %\n${table([
    ["", "depth", "parameters, M", ...columns],
    ...rows.map(({ method, depth, params, errors }) => [
      method,
      beside(depth, String),
      beside(params, (value) => (value < 1 ? value.toFixed(2) : value.toFixed(1))),
      ...columns.map((column) => beside(errors[column], error)),
    ]),
  ])}`;
}

function table3({ table3: { rows } }: PaperDocument): string {
  const error = (value: number): string => value.toFixed(2);
  return `Table 3: ImageNet validation error, %, one crop and ten\n${table([
    ["", "top-1", "top-1, ten", "top-5", "top-5, ten"],
    ...rows.map(({ network, errors: { top1, top5 } }) => [
      network,
      ...[top1.singleCrop, top1.tenCrop, top5.singleCrop, top5.tenCrop].map((of) => beside(of, error)),
    ]),
  ])}`;
}

function figure3({ figure3: points }: PaperDocument): string {
  return `Figure 3: top-1 error against size and work (read off the figure; work of DenseNets computed)\n${table([
    ["", "error", "parameters", "GFLOP"],
    ...points.map(({ network, top1Error, paramsMillions, gigaMacs }) => [
      network,
      `${top1Error} %`,
      `${paramsMillions} M`,
      (2 * gigaMacs).toFixed(1),
    ]),
  ])}`;
}

function figure4({ figure4: { paper, ours } }: PaperDocument): string {
  const points = [
    ...Object.values(paper)
      .flat()
      .map((point) => ({ ...point, run: "paper" })),
    ...ours,
  ];
  return `Figure 4: C10+ test error against parameters\n${table([
    ["", "error", "parameters", "from"],
    ...points.map(({ network, testError, paramsMillions, run }) => [
      network,
      formatPercent(testError, 2),
      `${Number(paramsMillions.toPrecision(3))} M`,
      run,
    ]),
  ])}`;
}
