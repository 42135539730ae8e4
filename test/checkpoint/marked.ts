// Checkpoints whose every number tells which step they are of, so that a mixture of two saves would show.
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { createNetwork } from "../../src/model/create.ts";
import { isStatistic, type StateDict } from "../../src/model/stateDict.ts";
import { namedSpec } from "../../src/networks/registry.ts";

const base = createNetwork(namedSpec("BC-40-12", { blockConfig: [2, 2, 2], numClasses: 2 }));

function filled(value: number, parametersOnly: boolean): StateDict {
  const paths = [...base.state].filter(([path]) => !parametersOnly || !isStatistic(path));
  return new Map(
    paths.map(([path, { shape, data }]) => [path, { shape, data: new Float32Array(data.length).fill(value) }]),
  );
}

export function markedCheckpoint(step: number): Checkpoint {
  return {
    trained: {
      model: { spec: base.spec, state: filled(step, false), batchesTracked: step },
      preprocessing: { height: 32, width: 32, mean: [0.1, 0.2, 0.3], std: [1, 2, 3] },
      classes: ["cat", "dog"],
      dataset: "marks",
    },
    training: { momentum: filled(-step, true), run: { step, half: 0.1 * step } },
  };
}
