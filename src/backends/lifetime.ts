// backends: the end of whatever holds memory or threads of a device. One rule for backends, executables, predictors and
// trainers: `dispose` ends them at once and may be called again; every call that is pending then, or comes later,
// rejects with a DisposedError.
import { DisposedError } from "../errors.ts";

export class Lifetime {
  readonly #name: string;
  #ending: Promise<void> | undefined;

  /** `name`: what was disposed of, as a noun phrase without article. */
  constructor(name: string) {
    this.#name = name;
  }

  /** @throws DisposedError as soon as the end has begun */
  requireAlive(): void {
    if (this.#ending) throw disposed(this.#name);
  }

  /**
   * The result of `work`. @throws DisposedError before it begins if the end has come, and instead of its result or
   * error if the end came meanwhile
   */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.requireAlive();
    try {
      return await work();
    } finally {
      this.requireAlive();
    }
  }

  /** Begins the end with `release`, the first time; all calls resolve when that is done. */
  end(release: () => Promise<void>): Promise<void> {
    if (this.#ending === undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      // Before `release` runs: what it makes fail must find that the end has begun.
      this.#ending = promise;
      resolve(release());
    }
    return this.#ending;
  }
}

export function disposed(name: string): DisposedError {
  return new DisposedError(`this ${name} was disposed of, so it does nothing any more: create another one`, { name });
}
