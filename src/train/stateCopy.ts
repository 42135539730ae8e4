// train: the state of a run — weights, running statistics, momenta — between the device and host memory. The copy in
// host memory is what a checkpoint saves and what another device starts from. It never holds a number that is not
// finite.
import type { Executable } from "../backends/backend.ts";
import type { TrainedModel, TrainingState } from "../checkpoint/checkpoint.ts";
import { DivergedError } from "../errors.ts";
import type { StateDict, StateTensor } from "../model/model.ts";
import { momentumOf, secondMomentOf } from "../plan/names.ts";

/** What the optimizer keeps of the parameters, by path. */
export type Moments = Pick<TrainingState, "momentum" | "secondMoment">;

export class StateCopy {
  #trained: TrainedModel;
  #moments: Moments;
  #step: number;
  #takenAt = performance.now(); // ms
  /** Micro-batches that the running statistics had seen before the run's first update, and those of each update. */
  readonly #batches: { readonly before: number; readonly perUpdate: number };

  /** The state after `step` updates of `microBatches` each. */
  constructor(trained: TrainedModel, moments: Moments, step: number, microBatches: number) {
    this.#trained = trained;
    this.#moments = moments;
    this.#step = step;
    this.#batches = { before: trained.model.batchesTracked - step * microBatches, perUpdate: microBatches };
  }

  get trained(): TrainedModel {
    return this.#trained;
  }

  get moments(): Moments {
    return this.#moments;
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
    const { momentum, secondMoment = noTensors } = this.#moments;
    for (const [path, { data }] of momentum) await executable.write(momentumOf(path), data);
    for (const [path, { data }] of secondMoment) await executable.write(secondMomentOf(path), data);
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
    const { momentum, secondMoment } = this.#moments;
    const names = [
      ...model.state.keys(),
      ...[...momentum.keys()].map(momentumOf),
      ...[...(secondMoment ?? noTensors).keys()].map(secondMomentOf),
    ];
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
    const moments = {
      momentum: copied(momentum, momentumOf),
      ...(secondMoment === undefined ? {} : { secondMoment: copied(secondMoment, secondMomentOf) }),
    };
    const batchesTracked = this.#batches.before + step * this.#batches.perUpdate;
    this.#trained = { ...this.#trained, model: { spec: model.spec, state, batchesTracked } };
    this.#moments = moments;
    this.#step = step;
    this.#takenAt = performance.now();
  }
}

const noTensors: StateDict = new Map();

function requireFinite(name: string, data: Float32Array | Int32Array, step: number): Float32Array {
  const odd = data.findIndex((value) => !Number.isFinite(value));
  if (odd !== -1 || !(data instanceof Float32Array)) {
    throw new DivergedError(`${name} holds ${data[odd]} after update ${step}; expected finite numbers`, { name, step });
  }
  return data;
}
