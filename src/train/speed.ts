// train: images per second and the remaining time, from the last updates. Time in which training waits for its caller
// does not count.

/** Updates that the speed is averaged over: enough to even out the data loader, few enough to follow a change. */
const WINDOW = 20;

export class Speed {
  readonly #recent: { readonly images: number; readonly seconds: number }[] = [];
  #epoch = { images: 0, seconds: 0 };
  #since = 0;
  #validationSeconds = 0;

  startEpoch(): void {
    this.#epoch = { images: 0, seconds: 0 };
    this.resume();
  }

  /** Training goes on from here. */
  resume(): void {
    this.#since = performance.now();
  }

  /** An update ends here; the next one begins. */
  addStep(images: number): void {
    const seconds = (performance.now() - this.#since) / 1000;
    this.resume();
    this.#epoch = { images: this.#epoch.images + images, seconds: this.#epoch.seconds + seconds };
    this.#recent.push({ images, seconds });
    if (this.#recent.length > WINDOW) this.#recent.shift();
  }

  addValidation(seconds: number): void {
    this.#validationSeconds = seconds;
  }

  imagesPerSecond(): number {
    return this.#sum("images") / this.#sum("seconds");
  }

  /** Of this process's share of the epoch, 0 if it has none. */
  epochImagesPerSecond(): number {
    return this.#epoch.images === 0 ? 0 : this.#epoch.images / this.#epoch.seconds;
  }

  /** With the speed of the last steps and the length of the last validation. */
  etaSeconds(steps: number, validations: number): number {
    return (steps * this.#sum("seconds")) / this.#recent.length + validations * this.#validationSeconds;
  }

  #sum(of: "images" | "seconds"): number {
    return this.#recent.reduce((sum, step) => sum + step[of], 0);
  }
}
