import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { parameterCount } from "../../src/networks/registry.ts";
import { defaultTrainConfig, trainConfigSchema } from "../../src/train/config.ts";
import { presetNames } from "../../src/train/presets.ts";
import { type ConfigInput, configuredSpec, resolveConfig } from "../../src/train/resolveConfig.ts";

test("config · caller > file > preset > default, setting by setting, with its source", () => {
  const { config, sources } = resolveConfig({
    settings: { lr: 0.4, data: { dir: "photos" } },
    file: { lr: 0.3, batchSize: 128, data: { augment: "none" } },
    preset: "paper-cifar10-plus",
  });
  assert.equal(config.lr, 0.4);
  assert.equal(config.batchSize, 128);
  assert.equal(config.epochs, 300);
  assert.equal(config.seed, 0);
  assert.deepEqual(config.data, {
    dir: "photos",
    labels: "fine",
    valSplit: 0,
    augment: "none",
    erase: 0,
    balance: false,
    imageSize: null,
    maxPixels: 64_000_000,
    skipBad: false,
  });
  assert.equal(sources.lr, "caller");
  assert.equal(sources["data.dir"], "caller");
  assert.equal(sources.batchSize, "file");
  assert.equal(sources["data.augment"], "file");
  assert.equal(sources.epochs, "preset");
  assert.equal(sources.seed, "default");
  assert.equal(sources["data.valSplit"], "default");
});

test("config · whoever names an optimizer gets its rate and decay, unless they or somebody stronger say others", () => {
  const rates = (input: Parameters<typeof resolveConfig>[0]): number[] => {
    const { lr, weightDecay } = resolveConfig(input).config;
    return [lr, weightDecay];
  };
  assert.deepEqual(rates({ settings: { optimizer: "adamw" } }), [0.001, 0.01]);
  assert.deepEqual(rates({ settings: { optimizer: "adamw", lr: 0.02 } }), [0.02, 0.01]);
  assert.deepEqual(rates({ preset: "quick", file: { optimizer: "adamw" }, settings: { weightDecay: 0 } }), [0.001, 0]);
  assert.deepEqual(rates({ file: { optimizer: "adamw", lr: 0.02 }, settings: { optimizer: "sgd" } }), [0.1, 1e-4]);
});

test("config · nothing given is the defaults; every setting has a source", () => {
  const { config, sources } = resolveConfig({});
  assert.deepEqual(config, defaultTrainConfig);
  const leaves = Object.entries(config).flatMap(([key, value]) =>
    key === "model" || key === "data" ? Object.keys(value as object).map((inner) => `${key}.${inner}`) : [key],
  );
  assert.deepEqual(Object.keys(sources).sort(), leaves.sort());
});

test("config · settings given as undefined are not given", () => {
  assert.equal(resolveConfig({ settings: { lr: undefined as unknown as number }, file: { lr: 0.3 } }).config.lr, 0.3);
});

test("config · a resolved config is a config file", () => {
  for (const preset of presetNames) {
    const { config } = resolveConfig({ preset });
    assert.deepEqual(resolveConfig({ file: JSON.parse(JSON.stringify(config)) }).config, config);
  }
});

test("config · a variant from a stronger place drops the weaker one's changes, a change from a stronger place stays", () => {
  const file = { model: { variant: "BC-40-12", growthRate: 8 } };
  assert.deepEqual(resolveConfig({ file }).config.model, { variant: "BC-40-12", growthRate: 8 });
  assert.deepEqual(resolveConfig({ file, settings: { model: { variant: "121" } } }).config.model, { variant: "121" });
  assert.deepEqual(resolveConfig({ file, settings: { model: { compression: 1 } } }).config.model, {
    variant: "BC-40-12",
    growthRate: 8,
    compression: 1,
  });
});

test("config · a variant may be spelled freely and is saved under its own name", () => {
  assert.equal(resolveConfig({ settings: { model: { variant: "densenet121" } } }).config.model.variant, "121");
});

test("config · the network follows the data: the parameter counts for 10 and 100 classes", () => {
  const { config } = resolveConfig({ preset: "paper-cifar10" });
  assert.equal(parameterCount(configuredSpec(config, { classes: 10, channels: 3 })), 769_162);
  assert.equal(parameterCount(configuredSpec(config, { classes: 100, channels: 3 })), 800_032);
  assert.equal(configuredSpec(config, { classes: 10, channels: 3 }).dropRate, 0.2);
  assert.equal(configuredSpec(config, { classes: 10, channels: 1 }).inChannels, 1);
});

// The paper, sections 4.1 and 4.2; SVHN and ImageNet there too.
const recipes: [
  preset: string,
  epochs: number,
  batchSize: number,
  dropRate: number,
  augment: string,
  milestones: number[],
][] = [
  ["paper-cifar10", 300, 64, 0.2, "none", [150, 225]],
  ["paper-cifar10-plus", 300, 64, 0, "standard", [150, 225]],
  ["paper-cifar100", 300, 64, 0.2, "none", [150, 225]],
  ["paper-cifar100-plus", 300, 64, 0, "standard", [150, 225]],
  ["paper-svhn", 40, 64, 0.2, "none", [20, 30]],
  ["paper-imagenet", 90, 256, 0, "imagenet", [30, 60]],
];
for (const [preset, epochs, batchSize, dropRate, augment, milestones] of recipes) {
  test(`config · ${preset} is the paper's recipe`, () => {
    const { config } = resolveConfig({ preset });
    assert.equal(config.epochs, epochs);
    assert.equal(config.batchSize, batchSize);
    assert.equal(config.dropRate, dropRate);
    assert.equal(config.data.augment, augment);
    assert.deepEqual(
      config.milestones.map((fraction) => Math.round(fraction * epochs * 1e9) / 1e9),
      milestones,
    );
    assert.deepEqual(
      [
        config.lr,
        config.gamma,
        config.schedule,
        config.momentum,
        config.nesterov,
        config.weightDecay,
        config.warmupEpochs,
      ],
      [0.1, 0.1, "multistep", 0.9, true, 1e-4, 0],
    );
    assert.equal(config.initFan, "out");
    assert.equal(config.data.dir, null, "a recipe of the paper must not train on other data unasked");
  });
}

test("config · quick needs no data", () => {
  assert.equal(resolveConfig({ preset: "quick" }).config.data.dir, "embedded");
});

const wrong: [name: string, input: ConfigInput, says: RegExp][] = [
  [
    "typo in a file",
    { file: { epoch: 3 }, fileName: "my.json" },
    /^epoch in my\.json: there is no such setting; did you mean epochs\?$/,
  ],
  [
    "typo in a group",
    { file: { data: { dri: "x" } }, fileName: "my.json" },
    /^data\.dri in my\.json: .* did you mean data\.dir\?$/,
  ],
  [
    "nothing near",
    { file: { zzzzzzzz: 1 } },
    /^zzzzzzzz in the config file: there is no such setting; expected one of model, data, epochs/,
  ],
  [
    "wrong type",
    { file: { lr: "fast" }, fileName: "my.json" },
    /^lr in my\.json: got "fast", expected a number above 0$/,
  ],
  ["too small", { settings: { epochs: 0 } }, /^epochs: got 0, expected a whole number from 1 to 1000000$/],
  ["less than the least", { settings: { weightDecay: -1 } }, /^weightDecay: got -1, expected a number of at least 0$/],
  ["more than the most", { settings: { gamma: 2 } }, /^gamma: got 2, expected a number above 0 and at most 1$/],
  ["a fraction", { settings: { batchSize: 2.5 } }, /^batchSize: got 2\.5, expected a whole number from 1 to 1048576$/],
  [
    "neither yes nor no",
    { file: { nesterov: "on" } },
    /^nesterov in the config file: got "on", expected true or false$/,
  ],
  ["no name", { settings: { data: { dir: "" } } }, /^data\.dir: got "", expected a text that is not empty$/],
  [
    "no blocks",
    { settings: { model: { variant: "121", blockConfig: [] } } },
    /^model\.blockConfig: got \[\], expected a list of 1 to 16, each a whole number from 1 to 1000$/,
  ],
  [
    "fields of the network that do not go together",
    { settings: { model: { compression: 0.001 } } },
    /^model\.compression: got 0\.001, expected at least 0\.0104\d*, which leaves one of the 96 feature maps after block 1$/,
  ],
  [
    "not one of",
    { file: { schedule: "step" } },
    /^schedule in the config file: got "step", expected one of multistep, cosine, constant$/,
  ],
  [
    "inside a list",
    { file: { milestones: [0.5, 2] } },
    /^milestones in .*: got \[0\.5,2\], expected a list of at most 100 ascending fractions above 0 and below 1$/,
  ],
  [
    "group that is none",
    { file: { model: "121" } },
    /^model in the config file: got "121", expected an object of settings$/,
  ],
  ["file that is a list", { file: [], fileName: "my.json" }, /^my\.json: got \[\], expected an object of settings$/],
  ["preset", { preset: "paper-cifar" }, /no preset is named "paper-cifar"; did you mean paper-cifar10\?/],
  [
    "variant",
    { settings: { model: { variant: "CB-100-12" } } },
    /^model\.variant: no model is named "CB-100-12"; did you mean BC-100-12\?/,
  ],
  [
    "micro-batches of a batch",
    { settings: { batchSize: 64, accumulationSteps: 3 } },
    /^accumulationSteps: a batch of 64 images cannot be split into 3 equal micro-batches/,
  ],
  [
    "warm-up longer than the run",
    { settings: { epochs: 3, warmupEpochs: 3 } },
    /^warmupEpochs: a warm-up of 3 epochs in a run of 3, expected one that is shorter/,
  ],
  [
    "milestones backwards",
    { settings: { milestones: [0.75, 0.5] } },
    /^milestones: got \[0\.75,0\.5\], expected a list of at most 100 ascending fractions/,
  ],
  ["half an image held out", { settings: { data: { valSplit: 1.5 } } }, /data\.valSplit: got 1\.5/],
];
for (const [name, input, says] of wrong) {
  test(`config · refused: ${name}`, () => {
    assert.throws(() => resolveConfig(input), { name: "UsageError", message: says });
  });
}

test("config · the defaults obey their own schema", () => {
  assert.deepEqual(trainConfigSchema.parse(defaultTrainConfig), defaultTrainConfig);
});

test("config · one device by two names, in a file too", () => {
  assert.equal(resolveConfig({ file: { device: "cpu" } }).config.device, "wasm");
});

test("config · what runs saved before settings were renamed or added is read as it was meant", () => {
  const { activationDtype: _type, checkpointMinutes: _minutes, ...rest } = defaultTrainConfig;
  const saved = { ...rest, device: "webgpu", storage: "f16" };
  const expected = { ...defaultTrainConfig, device: "webgpu", activationDtype: "f16" };
  assert.deepEqual(trainConfigSchema.parse(saved), expected);
  assert.deepEqual(resolveConfig({ file: saved }).config, expected);
  assert.equal(trainConfigSchema.parse(rest).activationDtype, "f32", "before there was a choice");
});

test("config · the schema loads no backend and no planner", async () => {
  const loaded = await modulesLoadedBy("../../src/train/config.ts");
  assert.ok(loaded.includes("src/train/settings.ts"), loaded.join(" "));
  assert.deepEqual(
    loaded.filter((file) => /^src\/(backends|plan)\//.test(file)),
    ["src/backends/names.ts", "src/plan/plan.ts", "src/plan/recompute.ts"],
  );
});

/** Files of src/ that importing `file` loads, found by following the imports that remain at run time. */
async function modulesLoadedBy(file: string): Promise<string[]> {
  const root = new URL("../../", import.meta.url);
  const found = new Set<string>();
  const follow = async (url: URL): Promise<void> => {
    if (found.has(url.href)) return;
    found.add(url.href);
    const text = await readFile(url, "utf8");
    const imports = text.matchAll(/^(?:import|export)\s(?!type\s)[^;]*?from "(\.[^"]+)";/gm);
    for (const [, target = ""] of imports) await follow(new URL(target, url));
  };
  await follow(new URL(file, import.meta.url));
  return [...found].map((href) => href.slice(root.href.length)).sort();
}
