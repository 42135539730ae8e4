// Test support: checkpoints whose every number is that of their step, so that a mixture of two saves would show.
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { createNetwork } from "../../src/model/create.ts";
import { isStatistic, type ModelTensor, type StateDict } from "../../src/model/model.ts";
import { namedSpec } from "../../src/networks/registry.ts";

const base = createNetwork(namedSpec("BC-40-12", { blockConfig: [2, 2, 2], numClasses: 2 }));

function filled(value: number): ReadonlyMap<string, ModelTensor> {
  return new Map(
    [...base.state].map(([path, tensor]) => [
      path,
      { ...tensor, data: new Float32Array(tensor.data.length).fill(value) },
    ]),
  );
}

function momenta(value: number): StateDict {
  const parameters = [...filled(value)].filter(([, { role }]) => !isStatistic(role));
  return new Map(parameters.map(([path, { shape, data }]) => [path, { shape, data }]));
}

export function markedCheckpoint(step: number): Checkpoint {
  return {
    trained: {
      model: { spec: base.spec, state: filled(step), batchesTracked: step },
      preprocessing: { height: 32, width: 32, mean: [0.1, 0.2, 0.3], std: [1, 2, 3] },
      classes: ["cat", "dog"],
      dataset: "marks",
    },
    training: { momentum: momenta(-step), run: { step, half: 0.1 * step } },
  };
}
