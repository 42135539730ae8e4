// Trains a small network on a folder of images, one folder for each class, and keeps the run in a folder.
//   node examples/trainFolder.ts photos [runs/photos]
import { resolveConfig, runTraining } from "densenet/node";

const [images = "photos", folder] = process.argv.slice(2);
const { config, sources } = resolveConfig({
  settings: {
    model: { variant: "BC-40-12", blockConfig: [3, 3, 3] },
    data: { dir: images, valSplit: 0.25, augment: "standard", imageSize: 32 },
    epochs: 3,
    batchSize: 16,
  },
});

for await (const event of runTraining({ config, folder, sources })) {
  if (event.type === "epoch") {
    console.log(
      `epoch ${event.epoch}: loss ${event.trainLoss.toFixed(3)}, test error ${event.valTop1Error.toFixed(1)} %`,
    );
  }
  if (event.type === "finished") {
    const { evaluation, constant } = event;
    console.log(`${event.trainCount} images of ${event.classes.join(", ")}; ${evaluation.count} held out`);
    console.log(`always answering ${constant.name} would be wrong for ${constant.error.toFixed(1)} % of them`);
    console.log(`kept in ${event.folder}, with a report: ${event.report}`);
  }
}
