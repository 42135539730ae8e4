// cli: training as people follow it, on stderr. On a terminal one line that rewrites itself, elsewhere a plain line now
// and then.
import { formatDuration, formatInteger, formatPercent } from "../analyze/format.ts";
import type { EpochEvent, StartEvent, StepEvent, TrainEvent } from "../train/events.ts";
import { printable, talk, toned } from "./output.ts";

/** Characters; the bar takes what the facts leave and gives way where that is too little to be read. */
const BAR_MAX = 32;
const BAR_MIN = 6;
/** A terminal is redrawn at most so often; a plain step line comes at most so often. Milliseconds. */
const REDRAW_MS = 80;
const PLAIN_MS = 10_000;

export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Progress that cannot be shown is no reason to end a run. */
const stderr: ProgressStream = {
  get isTTY() {
    return process.stderr.isTTY;
  },
  get columns() {
    return process.stderr.columns;
  },
  write: talk,
};

export class Progress {
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  #start: StartEvent | undefined;
  #lastShown = Number.NEGATIVE_INFINITY;
  #lineIsOpen = false;

  constructor(stream: ProgressStream = stderr, now: () => number = () => performance.now()) {
    this.#stream = stream;
    this.#now = now;
  }

  /** Shows what of an event is worth seeing. */
  show(event: TrainEvent): void {
    if (event.type === "start") {
      this.#start = event;
      // The first step line of a log comes one interval after the start, not with the first step.
      if (!this.#stream.isTTY) this.#lastShown = this.#now();
    } else if (event.type === "step") this.#showStep(event);
    else if (event.type === "epoch") this.#line(this.#epochLine(event));
  }

  /** A line of its own, above the bar if there is one. */
  line(text: string): void {
    this.#line(printable(text));
  }

  /** Takes the bar away. */
  clear(): void {
    if (this.#lineIsOpen) this.#stream.write("\r\x1b[K");
    this.#lineIsOpen = false;
  }

  #line(text: string): void {
    this.clear();
    this.#stream.write(`${text}\n`);
  }

  #showStep(event: StepEvent): void {
    const start = this.#start;
    if (start === undefined) return;
    const now = this.#now();
    if (now - this.#lastShown < (this.#stream.isTTY ? REDRAW_MS : PLAIN_MS)) return;
    this.#lastShown = now;
    const within = event.step - (event.epoch - 1) * start.stepsPerEpoch;
    const facts =
      `loss ${event.loss.toFixed(3)}  error ${formatPercent(event.top1Error)}  ` +
      `${formatInteger(event.imagesPerSecond)} images/s  ETA ${formatDuration(event.etaSeconds)}`;
    const epoch = `epoch ${event.epoch}/${start.config.epochs}`;
    if (!this.#stream.isTTY) {
      this.#stream.write(`${epoch}  step ${within}/${start.stepsPerEpoch}  ${facts}\n`);
      return;
    }
    const columns = this.#stream.columns || 80;
    // A line that wraps could not be rewritten, so one column stays free.
    const room = Math.min(BAR_MAX, columns - 1 - `${epoch}    ${facts}`.length);
    const filled = Math.round((within / start.stepsPerEpoch) * room);
    const bar = room < BAR_MIN ? "" : `${"━".repeat(filled)}${"╌".repeat(room - filled)}  `;
    const text = `${epoch}  ${bar}${facts}`.slice(0, columns - 1);
    this.#stream.write(`\r\x1b[K${text.replace(/━+/, (done) => toned("blue", done))}`);
    this.#lineIsOpen = true;
  }

  #epochLine(event: EpochEvent): string {
    const epochs = String(this.#start?.config.epochs ?? event.epoch);
    // A run that resumes at the end of an epoch has only its validation to do.
    const speed = event.imagesPerSecond > 0 ? `  ${formatInteger(event.imagesPerSecond)} images/s` : "";
    const best = event.best ? toned("green", "  best so far") : "";
    return (
      `epoch ${String(event.epoch).padStart(epochs.length)}/${epochs}  train loss ` +
      `${event.trainLoss.toFixed(3)} error ${formatPercent(event.trainTop1Error)}  val loss ` +
      `${event.valLoss.toFixed(3)} error ${toned("bold", formatPercent(event.valTop1Error))}${speed}  ` +
      `${formatDuration(event.seconds)}${best}`
    );
  }
}
