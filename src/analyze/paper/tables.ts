// analyze/paper: what the papers print. Tables 1 to 3 and the points of figures 3 and 4 of Huang, Liu, van der Maaten
// and Weinberger, "Densely Connected Convolutional Networks" (CVPR 2017, arXiv 1608.06993v5), and the memory figure of
// Pleiss et al., "Memory-Efficient Implementation of DenseNets" (arXiv 1707.06990).
//
// Only what is printed stands here. Parameters, multiply-adds, depths and sizes of our networks are computed from their
// specs (`networks/`), so that the two can be compared.

export const paperCitation =
  "Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, CVPR 2017, arXiv 1608.06993v5";

// --- Table 1

/** The networks of Table 1, by the names of our variants. All have growth rate 32 and compression 0.5. */
export const table1Networks = ["121", "169", "201", "264"] as const;

export type Table1Row = {
  /** As printed. */
  readonly stage: string;
  /** Side of the output in pixels, for images of 224×224. A transition has that of its convolution and of its pool. */
  readonly outputSides: readonly number[];
  /** As printed, the same for all four networks. */
  readonly layers: string;
  /** How often a dense block repeats its pair of convolutions, for each of `table1Networks`; missing elsewhere. */
  readonly repeats?: readonly [number, number, number, number];
};

const block = "[1×1 conv, 3×3 conv]";
const transition = "1×1 conv; 2×2 average pool, stride 2";

/** Table 1: DenseNet architectures for ImageNet. */
export const table1: readonly Table1Row[] = [
  { stage: "Convolution", outputSides: [112], layers: "7×7 conv, stride 2" },
  { stage: "Pooling", outputSides: [56], layers: "3×3 max pool, stride 2" },
  { stage: "Dense block 1", outputSides: [56], layers: block, repeats: [6, 6, 6, 6] },
  { stage: "Transition layer 1", outputSides: [56, 28], layers: transition },
  { stage: "Dense block 2", outputSides: [28], layers: block, repeats: [12, 12, 12, 12] },
  { stage: "Transition layer 2", outputSides: [28, 14], layers: transition },
  { stage: "Dense block 3", outputSides: [14], layers: block, repeats: [24, 32, 48, 64] },
  { stage: "Transition layer 3", outputSides: [14, 7], layers: transition },
  { stage: "Dense block 4", outputSides: [7], layers: block, repeats: [16, 32, 32, 48] },
  {
    stage: "Classification layer",
    outputSides: [1],
    layers: "7×7 global average pool; 1000-way fully connected, softmax",
  },
];

// --- Table 2

/** The columns of Table 2: test error in per cent. "+" is standard augmentation (mirroring and shifts). */
export const table2Columns = ["C10", "C10+", "C100", "C100+", "SVHN"] as const;
export type Table2Column = (typeof table2Columns)[number];

export type Table2Row = {
  /** As printed; a row with a ditto mark names the method of the row above. */
  readonly method: string;
  readonly depth?: number;
  /** Millions of learned numbers, as printed; missing where the table has a dash. */
  readonly paramsMillions?: number;
  /** Test error in per cent. A column without a figure is missing. */
  readonly errors: Readonly<Partial<Record<Table2Column, number>>>;
  /** Columns that the authors ran themselves for another method (the asterisks of the table). */
  readonly runByAuthors?: readonly Table2Column[];
  /** Our variant of the row; missing for other methods. */
  readonly variant?: string;
};

/** Table 2: error rates on the CIFAR and SVHN data sets. */
export const table2: readonly Table2Row[] = [
  { method: "Network in Network", errors: { C10: 10.41, "C10+": 8.81, C100: 35.68, SVHN: 2.35 } },
  { method: "All-CNN", errors: { C10: 9.08, "C10+": 7.25, "C100+": 33.71 } },
  { method: "Deeply Supervised Net", errors: { C10: 9.69, "C10+": 7.97, "C100+": 34.57, SVHN: 1.92 } },
  { method: "Highway Network", errors: { "C10+": 7.72, "C100+": 32.39 } },
  {
    method: "FractalNet",
    depth: 21,
    paramsMillions: 38.6,
    errors: { C10: 10.18, "C10+": 5.22, C100: 35.34, "C100+": 23.3, SVHN: 2.01 },
  },
  {
    method: "FractalNet with dropout and drop-path",
    depth: 21,
    paramsMillions: 38.6,
    errors: { C10: 7.33, "C10+": 4.6, C100: 28.2, "C100+": 23.73, SVHN: 1.87 },
  },
  { method: "ResNet", depth: 110, paramsMillions: 1.7, errors: { "C10+": 6.61 } },
  {
    method: "ResNet (reported by stochastic depth)",
    depth: 110,
    paramsMillions: 1.7,
    errors: { C10: 13.63, "C10+": 6.41, C100: 44.74, "C100+": 27.22, SVHN: 2.01 },
  },
  {
    method: "ResNet with stochastic depth",
    depth: 110,
    paramsMillions: 1.7,
    errors: { C10: 11.66, "C10+": 5.23, C100: 37.8, "C100+": 24.58, SVHN: 1.75 },
  },
  { method: "ResNet with stochastic depth", depth: 1202, paramsMillions: 10.2, errors: { "C10+": 4.91 } },
  { method: "Wide ResNet", depth: 16, paramsMillions: 11, errors: { "C10+": 4.81, "C100+": 22.07 } },
  { method: "Wide ResNet", depth: 28, paramsMillions: 36.5, errors: { "C10+": 4.17, "C100+": 20.5 } },
  { method: "Wide ResNet with dropout", depth: 16, paramsMillions: 2.7, errors: { SVHN: 1.64 } },
  {
    method: "ResNet (pre-activation)",
    depth: 164,
    paramsMillions: 1.7,
    errors: { C10: 11.26, "C10+": 5.46, C100: 35.58, "C100+": 24.33 },
    runByAuthors: ["C10", "C100"],
  },
  {
    method: "ResNet (pre-activation)",
    depth: 1001,
    paramsMillions: 10.2,
    errors: { C10: 10.56, "C10+": 4.62, C100: 33.47, "C100+": 22.71 },
    runByAuthors: ["C10", "C100"],
  },
  {
    method: "DenseNet (k = 12)",
    depth: 40,
    paramsMillions: 1,
    errors: { C10: 7, "C10+": 5.24, C100: 27.55, "C100+": 24.42, SVHN: 1.79 },
    variant: "40-12",
  },
  {
    method: "DenseNet (k = 12)",
    depth: 100,
    paramsMillions: 7,
    errors: { C10: 5.77, "C10+": 4.1, C100: 23.79, "C100+": 20.2, SVHN: 1.67 },
    variant: "100-12",
  },
  {
    method: "DenseNet (k = 24)",
    depth: 100,
    paramsMillions: 27.2,
    errors: { C10: 5.83, "C10+": 3.74, C100: 23.42, "C100+": 19.25, SVHN: 1.59 },
    variant: "100-24",
  },
  {
    method: "DenseNet-BC (k = 12)",
    depth: 100,
    paramsMillions: 0.8,
    errors: { C10: 5.92, "C10+": 4.51, C100: 24.15, "C100+": 22.27, SVHN: 1.76 },
    variant: "BC-100-12",
  },
  {
    method: "DenseNet-BC (k = 24)",
    depth: 250,
    paramsMillions: 15.3,
    errors: { C10: 5.19, "C10+": 3.62, C100: 19.64, "C100+": 17.6, SVHN: 1.74 },
    variant: "BC-250-24",
  },
  {
    method: "DenseNet-BC (k = 40)",
    depth: 190,
    paramsMillions: 25.6,
    errors: { "C10+": 3.46, "C100+": 17.18 },
    variant: "BC-190-40",
  },
];

// --- Table 3

/** Error in per cent on ImageNet's validation images, of one crop and averaged over ten. */
export type CropErrors = { readonly singleCrop: number; readonly tenCrop: number };
export type Table3Row = { readonly variant: string; readonly top1: CropErrors; readonly top5: CropErrors };

/** Table 3: top-1 and top-5 error rates on the ImageNet validation set. */
export const table3: readonly Table3Row[] = [
  { variant: "121", top1: { singleCrop: 25.02, tenCrop: 23.61 }, top5: { singleCrop: 7.71, tenCrop: 6.66 } },
  { variant: "169", top1: { singleCrop: 23.8, tenCrop: 22.08 }, top5: { singleCrop: 6.85, tenCrop: 5.92 } },
  { variant: "201", top1: { singleCrop: 22.58, tenCrop: 21.46 }, top5: { singleCrop: 6.34, tenCrop: 5.54 } },
  { variant: "264", top1: { singleCrop: 22.15, tenCrop: 20.8 }, top5: { singleCrop: 6.12, tenCrop: 5.29 } },
];

// --- Figures 3 and 4

export type Figure3Point = {
  readonly network: string;
  /** Our variant of a DenseNet: its parameters and multiply-adds are computed. Missing for a ResNet. */
  readonly variant?: string;
  /** Read off the figure's left plot, in millions. */
  readonly paramsMillions: number;
  /** Top-1 error on ImageNet's validation images in per cent, single crop, read off the figure. */
  readonly top1Error: number;
  /** Multiply-adds of an image in 10⁹, from Table 1 of He et al. 2015 (arXiv 1512.03385); missing for a DenseNet. */
  readonly gigaMacs?: number;
};

/**
 * Figure 3: ImageNet top-1 error (single crop) against parameters and against the work of a forward pass. Parameters
 * and errors are read off the left plot by eye, of the version with DenseNet-161 (k = 48), good to about ±1 M and
 * ±0.1 %. Table 3 has the exact errors of 121, 169 and 201.
 */
export const figure3: readonly Figure3Point[] = [
  { network: "ResNet-34", paramsMillions: 22, top1Error: 26.7, gigaMacs: 3.6 },
  { network: "ResNet-50", paramsMillions: 26, top1Error: 24, gigaMacs: 3.8 },
  { network: "ResNet-101", paramsMillions: 45, top1Error: 22.45, gigaMacs: 7.6 },
  { network: "ResNet-152", paramsMillions: 60, top1Error: 22.15, gigaMacs: 11.3 },
  { network: "DenseNet-121", variant: "121", paramsMillions: 8, top1Error: 25 },
  { network: "DenseNet-169", variant: "169", paramsMillions: 14, top1Error: 23.65 },
  { network: "DenseNet-201", variant: "201", paramsMillions: 20, top1Error: 22.55 },
  { network: "DenseNet-161 (k = 48)", variant: "161", paramsMillions: 29, top1Error: 22.2 },
];

export type Figure4Point = {
  readonly network: string;
  readonly variant?: string;
  readonly paramsMillions: number;
  /** Test error on C10+ in per cent. */
  readonly testError: number;
};

const figure4PointOf = ({ method, depth, paramsMillions, errors, variant }: Table2Row): Figure4Point[] => {
  const testError = errors["C10+"];
  if (paramsMillions === undefined || testError === undefined) return [];
  const ours = variant === undefined ? {} : { variant };
  return [{ network: `${method}, L = ${depth}`, ...ours, paramsMillions, testError }];
};

/**
 * Figure 4, left and middle: C10+ test error against parameters. The text gives no figures for the curves' points, and
 * none were read off; these are the networks of Table 2 that belong to a curve, with the table's figures.
 */
export const figure4: Readonly<Record<"denseNet" | "denseNetBC" | "preActivationResNet", readonly Figure4Point[]>> = {
  denseNet: table2.filter(({ method }) => method.startsWith("DenseNet (")).flatMap(figure4PointOf),
  denseNetBC: table2.filter(({ method }) => method.startsWith("DenseNet-BC")).flatMap(figure4PointOf),
  preActivationResNet: table2.filter(({ method }) => method.includes("pre-activation")).flatMap(figure4PointOf),
};

/** Figure 4, right: the two networks whose curves are drawn, with the final C10+ test errors that the text gives. */
export const figure4Curves = [
  { network: "Pre-activation ResNet-1001", paramsMillions: 10.2, testError: 4.62 },
  { network: "DenseNet-BC-100-12", variant: "BC-100-12", paramsMillions: 0.8, testError: 4.51 },
] as const;

// --- The code release

export type WideRow = {
  readonly variant: string;
  readonly paramsMillions: number;
  /** Test error on C10+ and C100+ in per cent. */
  readonly c10PlusError: number;
  readonly c100PlusError: number;
  /** A training step of 64 images on a Titan X without memory optimisation. */
  readonly stepSeconds: number;
  readonly peakMegabytes: number;
};

/** "Wide DenseNets", the table of the authors' code release (github.com/liuzhuang13/DenseNet, README). */
export const wideNetworks: readonly WideRow[] = [
  {
    variant: "BC-100-12",
    paramsMillions: 0.8,
    c10PlusError: 4.51,
    c100PlusError: 22.27,
    stepSeconds: 0.156,
    peakMegabytes: 5452,
  },
  {
    variant: "BC-40-36",
    paramsMillions: 1.5,
    c10PlusError: 4.58,
    c100PlusError: 22.3,
    stepSeconds: 0.13,
    peakMegabytes: 4008,
  },
  {
    variant: "BC-40-48",
    paramsMillions: 2.7,
    c10PlusError: 3.99,
    c100PlusError: 20.29,
    stepSeconds: 0.165,
    peakMegabytes: 5245,
  },
  {
    variant: "BC-40-60",
    paramsMillions: 4.3,
    c10PlusError: 4.01,
    c100PlusError: 19.99,
    stepSeconds: 0.223,
    peakMegabytes: 6508,
  },
];

// --- The memory report

export type MemoryCurve = {
  readonly implementation: string;
  /** [layers, GB] of DenseNet-BC, k = 12, in training. */
  readonly points: readonly (readonly [number, number])[];
};

/**
 * The memory report's figure of memory against depth (`images/memvslayers.png` of
 * github.com/gpleiss/efficient_densenet_pytorch), read off by eye, good to about ±0.1 GB. Cards of 12 GB.
 */
export const memoryByDepth: readonly MemoryCurve[] = [
  {
    implementation: "naive, LuaTorch",
    points: [
      [34, 1.35],
      [64, 2.9],
      [94, 5.1],
      [124, 7.85],
      [154, 11.2],
    ],
  },
  {
    implementation: "shared gradients, LuaTorch",
    points: [
      [64, 1.75],
      [94, 2.8],
      [124, 4.1],
      [154, 5.6],
      [184, 7.35],
      [214, 9.35],
      [244, 11.6],
    ],
  },
  {
    implementation: "shared gradients, PyTorch",
    points: [
      [154, 5],
      [256, 11.6],
    ],
  },
  {
    implementation: "shared gradients, batch norm and concatenation, LuaTorch",
    points: [
      [94, 1.55],
      [124, 2.2],
      [154, 3],
      [214, 5.05],
      [274, 7.7],
      [346, 11.65],
    ],
  },
  {
    implementation: "shared gradients, batch norm and concatenation, PyTorch",
    points: [
      [94, 1.45],
      [124, 1.75],
      [154, 2.1],
      [214, 3.15],
      [274, 4.55],
      [334, 6.3],
      [394, 8.3],
      [478, 11.6],
    ],
  },
];
