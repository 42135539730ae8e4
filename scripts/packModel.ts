// Makes a model of the package from a run: weights in f16 and a card with what they measure after rounding.
//   node scripts/packModel.ts RUN NAME DATA
// NAME is network.data, such as bc-40-12.cifar10, and stands in src/formats/pretrained.ts too. DATA is the data set
// that the run was trained on, with its test images. The run's last checkpoint is taken.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Backend } from "../src/backends/backend.ts";
import { decodeModel, encodeModel, type TrainedModel } from "../src/checkpoint/checkpoint.ts";
import { loadCheckpoint } from "../src/checkpoint/store.node.ts";
import type { Dataset } from "../src/data/dataset.ts";
import { loadBatches } from "../src/data/loader.node.ts";
import { openDataset } from "../src/data/open.node.ts";
import { isPretrainedName, type Measured, type ModelCard, pretrainedUrl } from "../src/formats/pretrained.ts";
import { evaluate } from "../src/infer/evaluate.ts";
import { networkTitle, parameterCount } from "../src/networks/registry.ts";
import { createConfiguredBackend } from "../src/run/device.node.ts";
import { readEnvironment } from "../src/run/environment.node.ts";
import { parseRunState } from "../src/train/runState.ts";

const [run, name, data] = process.argv.slice(2);
if (run === undefined || name === undefined || data === undefined) {
  throw new Error("usage: node scripts/packModel.ts RUN NAME DATA");
}
if (!isPretrainedName(name)) throw new Error(`${name}: add it to pretrainedNames in src/formats/pretrained.ts first`);

const { trained, training } = await loadCheckpoint(run, "last");
if (training === undefined) throw new Error(`${run}: holds a model alone, expected a run`);
const { config, history, trainCount } = parseRunState(training.run, run);
const environment = JSON.parse(readFileSync(join(run, "environment.json"), "utf8"));
const bytes = encodeModel(trained, { weights: "f16" });
const rounded = decodeModel(bytes, name);
const { model, preprocessing, classes, dataset } = trained;

async function measure(of: TrainedModel, images: Dataset, backend: Backend): Promise<Measured> {
  const { count, top1Error, loss } = await evaluate({ trained: of, dataset: images, backend, loadBatches });
  return { images: count, top1Error, loss };
}

const whole = await openDataset({ dir: data });
const embedded = await openDataset();
const backend = await createConfiguredBackend(config);
const dir = config.data.dir ?? "embedded";
const card: ModelCard = {
  name,
  title: `${networkTitle(model.spec)} trained on ${dataset}`,
  params: parameterCount(model.spec),
  file: { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex"), weights: "f16" },
  preprocessing,
  classes,
  training: {
    dataset,
    images: trainCount,
    epochs: history.length,
    epochsPlanned: config.epochs,
    command: environment.command.replaceAll(dir, basename(dir)),
    startedAt: environment.startedAt,
    cpu: environment.cpu,
    seconds: Math.round(history.reduce((sum, { seconds }) => sum + seconds, 0)),
  },
  measured: {
    test: await measure(rounded, whole, backend),
    embedded: await measure(rounded, embedded, backend),
    unrounded: await measure(trained, whole, backend),
    date: new Date().toISOString().slice(0, 10),
    cpu: readEnvironment().cpu,
  },
  licence: "MIT, as the package",
  dataTerms:
    "The weights were learnt from CIFAR-10 images. Their authors publish them without a licence and ask that this is " +
    "cited: Alex Krizhevsky. Learning Multiple Layers of Features from Tiny Images. Technical report, University of " +
    "Toronto, 2009.",
  limits:
    `It knows ${classes.length} classes of small photographs (${preprocessing.height}×${preprocessing.width}) and ` +
    "names one of them whatever it is shown. It is meant for first steps, tests and fine-tuning.",
};
await backend.dispose();

mkdirSync(fileURLToPath(new URL(".", pretrainedUrl(name, "json"))), { recursive: true });
writeFileSync(pretrainedUrl(name, "safetensors"), bytes);
writeFileSync(pretrainedUrl(name, "json"), `${JSON.stringify(card, null, 2)}\n`);
const { test, unrounded } = card.measured;
process.stdout.write(
  `${name}: ${bytes.length} bytes, ${test.top1Error.toFixed(2)} % error on ${test.images} images ` +
    `(${unrounded.top1Error.toFixed(2)} % before rounding), ${history.length} of ${config.epochs} epochs\n`,
);
