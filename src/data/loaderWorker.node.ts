// data: the loader's thread. Decodes, augments and normalises one batch after the other, in the order of the requests.
import { parentPort, workerData } from "node:worker_threads";
import { makeBatch } from "./batch.ts";
import { splitFrom } from "./filesSplit.node.ts";
import { type BatchReply, type BatchRequest, type LoaderTask, postError } from "./loaderMessages.ts";

const { split: description, recipe, padTo }: LoaderTask = workerData;
const split = splitFrom(description);
let last: Promise<void> = Promise.resolve();

parentPort?.on("message", (request: BatchRequest) => {
  last = last.then(async () => {
    try {
      const batch = await makeBatch(split, request.indices, recipe, padTo);
      const reply: BatchReply = { number: request.number, batch };
      parentPort?.postMessage(reply, [batch.images.buffer as ArrayBuffer, batch.labels.buffer as ArrayBuffer]);
    } catch (error) {
      const reply: BatchReply = { number: request.number, error: postError(error) };
      parentPort?.postMessage(reply);
    }
  });
});
