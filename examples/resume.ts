// Stops a run after some updates and goes on with it: the second half ends with the bits of a run that was never
// stopped.
//   node examples/resume.ts photos [runs/stopped]
import { resolveConfig, runTraining, savedConfig } from "densenet/node";

const [images = "photos", folder] = process.argv.slice(2);
const { config } = resolveConfig({
  settings: {
    model: { variant: "BC-40-12", blockConfig: [2, 2, 2] },
    data: { dir: images, valSplit: 0.25, imageSize: 32 },
    epochs: 4,
    batchSize: 8,
  },
});

// Ctrl-C would do the same through a signal handler.
const stop = new AbortController();
let stopped = "";
for await (const event of runTraining({ config, folder, signal: stop.signal })) {
  if (event.type === "opened") stopped = event.folder;
  if (event.type === "step" && event.step === 5) stop.abort();
  if (event.type === "interrupted") console.log(`stopped after update ${event.step}, saved in ${event.path}`);
}

for await (const event of runTraining({ config: await savedConfig(stopped), resume: stopped })) {
  if (event.type === "start") console.log(`goes on after update ${event.resumedAtStep} of ${event.totalSteps}`);
  if (event.type === "epoch") console.log(`epoch ${event.epoch}: test error ${event.valTop1Error.toFixed(1)} %`);
  if (event.type === "finished") console.log(`done: ${event.report}`);
}
