// One network on every device of this machine: the scores must agree with the reference within the rounding of f32, the
// times need not.
//   node examples/compareBackends.ts
import { type Backend, createBackend, createNetwork, createPredictor, DeviceError, defineSpec } from "densenet";

const classes = [..."abcdefghij"];
const spec = defineSpec({ growthRate: 8, blockConfig: [3, 3, 3], numInitFeatures: 16, numClasses: classes.length });
const side = 16;
const trained = {
  model: createNetwork(spec, { seed: 1 }),
  classes,
  dataset: "noise",
  preprocessing: { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25], height: side, width: side },
};
const images = Array.from({ length: 8 }, (_, image) =>
  Uint8Array.from({ length: 3 * side * side }, (_, i) => Math.imul(i + 1 + 1000 * image, 0x9e3779b1) >>> 24),
);

async function scoresOn(backend: Backend): Promise<{ scores: number[]; ms: number }> {
  await using predictor = await createPredictor(trained, backend, { batchSize: images.length });
  await predictor.predictPlanar(images);
  const began = performance.now();
  const found = await predictor.predictPlanar(images, { topK: classes.length });
  const ms = performance.now() - began;
  return { ms, scores: found.flatMap((best) => best.toSorted((a, b) => a.index - b.index).map(({ score }) => score)) };
}

let expected: number[] | undefined;
for (const name of ["reference", "wasm", "webgpu"] as const) {
  try {
    await using backend = await createBackend(name);
    const { scores, ms } = await scoresOn(backend);
    expected ??= scores;
    const difference = Math.max(...scores.map((score, i) => Math.abs(score - (expected?.[i] ?? Number.NaN))));
    const device = backend.info.device ?? `${backend.info.threads} thread(s)`;
    console.log(
      `${name} on ${device}: ${ms.toFixed(1)} ms, scores within ${difference.toExponential(1)} of the reference`,
    );
    if (difference > 1e-5) process.exitCode = 1;
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    console.log(`${name}: ${error.message}`);
  }
}
