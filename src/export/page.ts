// export: the script of the page that html.ts writes. scripts/bundle.ts makes dist/browser/page.js of it, with the
// compute thread's script as text in it.
//
// A page of file:// has no SharedArrayBuffer: one compute thread, which is a worker, so the page itself never waits.
import { createWasmBackend } from "../backends/wasm/wasm.ts";
import { decodeModel } from "../checkpoint/checkpoint.ts";
import type { Image } from "../data/fitImage.ts";
import { createPredictor, type Predictor } from "../infer/predictor.ts";
import type { Prediction } from "../infer/scores.ts";
import { MODEL_ELEMENT } from "./html.ts";

/** Put in by the bundler: dist/browser/worker.js. */
declare const WORKER_SCRIPT: string;

/** Of a decoded image; a canvas of more is refused by browsers. */
const MAX_PIXELS = 64e6;
const TOP = 5;

function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new RangeError(`the page has no element #${id}`);
  return found;
}

function say(text: string): void {
  element("state").textContent = text;
}

async function open(): Promise<Predictor> {
  const text = element(MODEL_ELEMENT).textContent ?? "";
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  // A megabyte of text that nobody reads again.
  element(MODEL_ELEMENT).remove();
  const trained = decodeModel(bytes, "the network in this page");
  const workerUrl = URL.createObjectURL(new Blob([WORKER_SCRIPT], { type: "text/javascript" }));
  const backend = await createWasmBackend({ workerUrl });
  return createPredictor(trained, backend, { batchSize: 1 });
}

async function pixelsOf(file: Blob): Promise<Image> {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new TypeError("this browser cannot read it as an image");
  });
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new RangeError(`${width}×${height} pixels are too many`);
  const context = new OffscreenCanvas(width, height).getContext("2d");
  if (context === null) throw new TypeError("this browser gives no canvas");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

async function classify(predictor: Predictor, file: File): Promise<void> {
  const card = document.createElement("li");
  const preview = document.createElement("img");
  preview.src = URL.createObjectURL(file);
  preview.alt = "";
  preview.onload = () => preview.classList.toggle("small", preview.naturalWidth <= 64);
  const name = document.createElement("h2");
  name.textContent = file.name;
  card.append(preview, name);
  element("images").prepend(card);
  try {
    const image = await pixelsOf(file);
    const began = performance.now();
    const [top = []] = await predictor.predict([image], { topK: TOP });
    say(`${file.name}: ${image.width}×${image.height} pixels, ${Math.round(performance.now() - began)} ms`);
    card.append(listOf(top));
    card.dataset.label = top[0]?.label ?? "";
  } catch (error) {
    preview.remove();
    const problem = document.createElement("p");
    problem.className = "problem";
    problem.textContent = error instanceof Error ? error.message : String(error);
    card.append(problem);
  }
}

function listOf(top: readonly Prediction[]): HTMLOListElement {
  const list = document.createElement("ol");
  for (const { label, score } of top) {
    const row = document.createElement("li");
    const [name, share] = [document.createElement("span"), document.createElement("span")];
    name.textContent = label;
    share.textContent = `${(100 * score).toFixed(1)} %`;
    row.style.setProperty("--share", `${100 * score}%`);
    row.dataset.score = String(score);
    row.append(name, share);
    list.append(row);
  }
  return list;
}

async function start(): Promise<void> {
  const predictor = await open();
  let queue = Promise.resolve();
  const take = (files: Iterable<File>): void => {
    for (const file of files) queue = queue.then(() => classify(predictor, file));
  };
  const input = element("files") as HTMLInputElement;
  const drop = element("drop");
  input.addEventListener("change", () => {
    take([...(input.files ?? [])]);
    input.value = "";
  });
  const over = (event: DragEvent, on: boolean): void => {
    event.preventDefault();
    drop.classList.toggle("over", on);
  };
  // Beside the zone too: a browser would open the file in place of the page.
  document.addEventListener("dragover", (event) => over(event, true));
  document.addEventListener("dragleave", (event) => over(event, false));
  document.addEventListener("drop", (event) => {
    over(event, false);
    take(event.dataTransfer?.files ?? []);
  });
  document.addEventListener("paste", (event) => take(event.clipboardData?.files ?? []));
  say("Ready.");
  document.body.dataset.ready = "true";
}

start().catch((error: unknown) => say(error instanceof Error ? error.message : String(error)));
