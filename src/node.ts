// The library's Node part: data sets, picture files, run folders. Includes everything portable.
export { loadCheckpoint, saveCheckpoint } from "./checkpoint/store.node.ts";
export { loadBatches } from "./data/loader.node.ts";
export { openDataset } from "./data/open.node.ts";
export { decodePicture } from "./data/picture.node.ts";
export * from "./index.ts";
export { loadPredictor, predictFiles } from "./infer/files.node.ts";
export { resumeRun, startRun } from "./train/trainer.node.ts";
