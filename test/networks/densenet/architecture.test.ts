// networks/densenet: sizes to the digit. The table was counted apart from this code and agrees with published models,
// torchvision's num_params and _ops among them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../../../src/errors.ts";
import {
  architecture,
  connectionsIn,
  depthOf,
  macs,
  parameterCount,
  runningStatisticsCount,
  smallestInput,
} from "../../../src/networks/registry.ts";
import { defineDenseNet, namedDenseNet as namedSpec } from "./named.ts";

interface Row {
  readonly name: string;
  /** At the variant's own number of classes. */
  readonly params: number;
  readonly params100?: number;
  /** As printed: the digits decide the rounding. */
  readonly macs: string;
  readonly features: number;
  readonly depth: number;
  readonly statistics?: number;
}

const rows: readonly Row[] = [
  { name: "40-12", params: 1_019_722, params100: 1_060_132, macs: "264.8 M", features: 448, depth: 40 },
  { name: "100-12", params: 6_979_642, params100: 7_084_852, macs: "1.770 G", features: 1168, depth: 100 },
  { name: "100-24", params: 27_249_082, params100: 27_457_972, macs: "6.889 G", features: 2320, depth: 100 },
  { name: "BC-100-12", params: 769_162, params100: 800_032, macs: "287.9 M", features: 342, depth: 100 },
  { name: "BC-250-24", params: 15_324_406, params100: 15_480_556, macs: "5.419 G", features: 1734, depth: 250 },
  { name: "BC-190-40", params: 25_624_430, params100: 25_821_620, macs: "9.302 G", features: 2190, depth: 190 },
  { name: "BC-40-36", params: 1_542_682, macs: "647 M", features: 396, depth: 40 },
  { name: "BC-40-48", params: 2_733_130, macs: "1.150 G", features: 528, depth: 40 },
  { name: "BC-40-60", params: 4_261_690, macs: "1.796 G", features: 660, depth: 40 },
  { name: "121", params: 7_978_856, macs: "2.834 G", features: 1024, depth: 121, statistics: 83_648 },
  { name: "169", params: 14_149_480, macs: "3.360 G", features: 1664, depth: 169, statistics: 158_400 },
  { name: "201", params: 20_013_928, macs: "4.291 G", features: 1920, depth: 201, statistics: 229_056 },
  { name: "264", params: 33_337_704, macs: "5.752 G", features: 2688, depth: 265 },
  { name: "161", params: 28_681_000, macs: "7.728 G", features: 2208, depth: 161, statistics: 219_936 },
  { name: "232", params: 55_570_984, macs: "10.119 G", features: 3648, depth: 233 },
  { name: "264-k48", params: 72_686_632, macs: "12.851 G", features: 4032, depth: 265 },
];

function printed(value: number, like: string): string {
  const [digits, unit] = like.split(" ");
  const decimals = digits.split(".")[1]?.length ?? 0;
  return `${(value / (unit === "G" ? 1e9 : 1e6)).toFixed(decimals)} ${unit}`;
}

type Shape = ReturnType<typeof architecture>;
type Module = Shape["layers"][number];

function moduleAt(shape: Shape, path: string): Module {
  const found = shape.layers.find((layer) => layer.path === path);
  assert.ok(found, path);
  return found;
}

const classifier = (shape: Shape): Module => moduleAt(shape, "classifier");
/** Height and width under the global average pool. */
const lastMaps = (shape: Shape): number[] => [moduleAt(shape, "pool").inHeight, moduleAt(shape, "pool").inWidth];

for (const row of rows) {
  test(`${row.name} · ${row.params} parameters, ${row.macs}MACs, classifier reads ${row.features}, depth ${row.depth}`, () => {
    const spec = namedSpec(row.name);
    const side = spec.stem === "cifar" ? 32 : 224;
    const size = { height: side, width: side };
    assert.equal(parameterCount(spec), row.params);
    if (row.params100 !== undefined)
      assert.equal(parameterCount(namedSpec(row.name, { numClasses: 100 })), row.params100);
    if (row.statistics !== undefined) assert.equal(runningStatisticsCount(spec), row.statistics);
    assert.equal(printed(macs(spec, size), row.macs), row.macs);
    const shape = architecture(spec, size);
    assert.equal(classifier(shape).inChannels, row.features);
    assert.equal(depthOf(shape), row.depth);
    assert.deepEqual(
      shape.blocks.map(connectionsIn),
      spec.blockConfig.map((layers) => (layers * (layers + 1)) / 2),
    );
    const last = side / (spec.stem === "cifar" ? 4 : 32);
    assert.deepEqual(lastMaps(shape), [last, last]);
  });
}

test("with k₀ = 2k, as the released code begins, the plain nets have other sizes, which round to the paper's as well", () => {
  assert.equal(parameterCount(namedSpec("40-12", { numInitFeatures: 24 })), 1_059_298);
  assert.equal(parameterCount(namedSpec("100-12", { numInitFeatures: 24 })), 7_083_538);
  assert.equal(parameterCount(namedSpec("100-24", { numInitFeatures: 48 })), 28_071_706);
});

test("one input channel and 18 outputs make torchxrayvision's 6 966 034 parameters", () => {
  assert.equal(parameterCount(namedSpec("121", { inChannels: 1, numClasses: 18 })), 6_966_034);
});

test("DenseNet-121 · map sizes of table 1", () => {
  const shape = architecture(namedSpec("121"), { height: 224, width: 224 });
  assert.deepEqual(
    ["conv0", "norm0", "pool0"].map((name) => moduleAt(shape, `features.${name}`).height),
    [112, 112, 56],
  );
  assert.deepEqual(
    shape.blocks.map((block) => block.height),
    [56, 28, 14, 7],
  );
  assert.deepEqual(
    shape.blocks.map((block) => [block.inChannels, block.outChannels]),
    [
      [64, 256],
      [128, 512],
      [256, 1024],
      [512, 1024],
    ],
  );
  assert.deepEqual(
    [1, 2, 3].map((index) => {
      const { inHeight, height } = moduleAt(shape, `features.transition${index}.pool`);
      return [inHeight, height];
    }),
    [
      [56, 28],
      [28, 14],
      [14, 7],
    ],
  );
  assert.deepEqual(shape.blocks.map(connectionsIn), [21, 78, 300, 136]);
});

test("layer ℓ of a block reads k₀ + k·(ℓ − 1) maps; torchvision's module paths, in order", () => {
  const shape = architecture(
    defineDenseNet({ growthRate: 5, blockConfig: [3, 1], numInitFeatures: 7, compression: 0.5 }),
    {
      height: 9,
      width: 6,
    },
  );
  assert.deepEqual(
    [1, 2, 3].map((layer) => moduleAt(shape, `features.denseblock1.denselayer${layer}.norm1`).inChannels),
    [7, 12, 17],
  );
  assert.equal(moduleAt(shape, "features.transition1.conv").outChannels, 11);
  assert.deepEqual(lastMaps(shape), [4, 3]);
  assert.deepEqual(
    shape.layers.map((layer) => layer.path),
    [
      "features.conv0",
      ...[1, 2, 3].flatMap((layer) =>
        ["norm1", "conv1", "norm2", "conv2"].map((part) => `features.denseblock1.denselayer${layer}.${part}`),
      ),
      "features.transition1.norm",
      "features.transition1.conv",
      "features.transition1.pool",
      ...["norm1", "conv1", "norm2", "conv2"].map((part) => `features.denseblock2.denselayer1.${part}`),
      "features.norm5",
      "pool",
      "classifier",
    ],
  );
});

test(
  "smallest input · 29 for the four-block ImageNet nets, 4 for three blocks; one pixel less is refused with that " +
    "number",
  () => {
    assert.equal(smallestInput(namedSpec("121")), 29);
    assert.equal(smallestInput(namedSpec("40-12")), 4);
    assert.deepEqual([15, 8, 4, 2, 1], sizes(29));
    assert.throws(
      () => architecture(namedSpec("121"), { height: 224, width: 28 }),
      (error) =>
        error instanceof UsageError &&
        /^features\.transition3\.pool: images of 224×28 .* the smallest images that work are 29×29$/.test(
          error.message,
        ),
    );
    assert.throws(() => architecture(namedSpec("40-12"), { height: 3.5, width: 32 }), /^UsageError: height: got 3\.5/);
  },
);

function sizes(side: number): number[] {
  const shape = architecture(namedSpec("121"), { height: side, width: side });
  return [moduleAt(shape, "features.conv0").height, ...shape.blocks.map((block) => block.height)];
}
