// Classifies image files with a trained network: a run's folder, or weights of another tool (.safetensors, .pth, a timm
// folder).
//   node examples/classify.ts runs/photos cat.jpg dog.png
import { createBackend, DenseNetError, loadPredictor, predictFiles } from "densenet/node";

const [checkpoint = "runs/first", ...files] = process.argv.slice(2);
try {
  await using backend = await createBackend("wasm");
  await using predictor = await loadPredictor(checkpoint, backend, { note: (line) => console.error(line) });
  for (const [index, classes] of (await predictFiles(predictor, files, { topK: 3 })).entries()) {
    const named = classes.map(({ label, score }) => `${label} ${(100 * score).toFixed(1)} %`);
    console.log(`${files[index]}: ${named.join(", ")}`);
  }
} catch (error) {
  // Everything that the person can mend comes as a sentence: a file that is no image, a folder without a checkpoint.
  if (!(error instanceof DenseNetError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
