// train: the state of a run — weights, running statistics, momenta — between the device and host memory. The copy in
// host memory is what a checkpoint saves and what another device starts from. It never holds a number that is not
// finite.
import type { Executable } from "../backends/backend.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { DivergedError } from "../errors.ts";
import type { StateDict, StateTensor } from "../model/model.ts";
import { momentumOf } from "../plan/names.ts";

export class StateCopy {
  #trained: TrainedModel;
  #momentum: StateDict;
  #step: number;
  #takenAt = performance.now(); // ms
  /** Micro-batches that the running statistics had seen before the run's first update, and those of each update. */
  readonly #batches: { readonly before: number; readonly perUpdate: number };

  /** The state after `step` updates of `microBatches` each. */
  constructor(trained: TrainedModel, momentum: StateDict, step: number, microBatches: number) {
    this.#trained = trained;
    this.#momentum = momentum;
    this.#step = step;
    this.#batches = { before: trained.model.batchesTracked - step * microBatches, perUpdate: microBatches };
  }

  get trained(): TrainedModel {
    return this.#trained;
  }

  /** Of the parameters, by path. */
  get momentum(): StateDict {
    return this.#momentum;
  }

  /** Updates done. */
  get step(): number {
    return this.#step;
  }

  /** Since the copy was taken or last loaded. */
  get ageSeconds(): number {
    return (performance.now() - this.#takenAt) / 1000;
  }

  /** Writes the state to a device. */
  async load(executable: Executable): Promise<void> {
    for (const [path, { data }] of this.#trained.model.state) await executable.write(path, data);
    for (const [path, { data }] of this.#momentum) await executable.write(momentumOf(path), data);
    this.#takenAt = performance.now();
  }

  /**
   * Copies the state from a device where `step` updates are done and none is in flight, in one transfer, unless the
   * copy is of that step.
   * @throws DivergedError naming a tensor with a number that is not finite; the copy then stays what it was
   */
  async take(executable: Executable, step: number): Promise<void> {
    if (this.#step === step) return;
    const { model } = this.#trained;
    const names = [...model.state.keys(), ...[...this.#momentum.keys()].map(momentumOf)];
    const read = await executable.read(names);
    const values = new Map(names.map((name, index) => [name, requireFinite(name, read[index], step)]));
    const copied = <T extends StateTensor>(tensors: ReadonlyMap<string, T>, bufferOf: (path: string) => string) =>
      new Map(
        [...tensors].map(([path, tensor]): [string, T] => [
          path,
          { ...tensor, data: values.get(bufferOf(path)) as Float32Array },
        ]),
      );
    const state = copied(model.state, (path) => path);
    const momentum = copied(this.#momentum, momentumOf);
    const batchesTracked = this.#batches.before + step * this.#batches.perUpdate;
    this.#trained = { ...this.#trained, model: { spec: model.spec, state, batchesTracked } };
    this.#momentum = momentum;
    this.#step = step;
    this.#takenAt = performance.now();
  }
}

function requireFinite(name: string, data: Float32Array | Int32Array, step: number): Float32Array {
  const odd = data.findIndex((value) => !Number.isFinite(value));
  if (odd !== -1 || !(data instanceof Float32Array)) {
    throw new DivergedError(`${name} holds ${data[odd]} after update ${step}; expected finite numbers`, { name, step });
  }
  return data;
}
