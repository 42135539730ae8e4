// train: pictures per second and the time that is left, from the last updates.

/** Updates that the speed is averaged over: enough to even out the data loader, few enough to follow a change. */
const WINDOW = 20;

export class Speed {
  readonly #recent: { readonly images: number; readonly seconds: number }[] = [];
  #validationSeconds = 0;

  addStep(images: number, seconds: number): void {
    this.#recent.push({ images, seconds });
    if (this.#recent.length > WINDOW) this.#recent.shift();
  }

  addValidation(seconds: number): void {
    this.#validationSeconds = seconds;
  }

  imagesPerSecond(): number {
    return this.#sum("images") / this.#sum("seconds");
  }

  /** With the speed of the last steps and the length of the last validation. */
  etaSeconds(steps: number, validations: number): number {
    return (steps * this.#sum("seconds")) / this.#recent.length + validations * this.#validationSeconds;
  }

  #sum(of: "images" | "seconds"): number {
    return this.#recent.reduce((sum, step) => sum + step[of], 0);
  }
}
