// Test support: the plain graph interpreter as an engine: no plan, no backend, one op after another.

import { differentiate } from "../../src/graph/differentiate.ts";
import { evaluateGraph } from "../../src/graph/evaluate.ts";
import type { Graph, TensorId } from "../../src/graph/graph.ts";
import { type BuildOptions, buildGraph } from "../../src/networks/registry.ts";
import type { Engine, Values } from "./engine.ts";
import type { Fixture, Precision } from "./fixture.ts";
import { labels, makeImages, stateValue } from "./formula.ts";

type Data = Float32Array | Float64Array | Int32Array;

function build(fixture: Fixture, shape: Fixture["inputShape"], mode: BuildOptions["mode"]): Graph {
  const [batch, , height, width] = shape;
  return buildGraph(fixture.spec, { batch, height, width, mode });
}

/** Parameters and running statistics of a graph, in f64 whatever the engine's precision. */
function formulaState(graph: Graph, lift: number): Map<TensorId, Float64Array> {
  const learned = graph.tensors.filter(({ kind }) => kind === "parameter" || kind === "state");
  return new Map(learned.map(({ id, name, shape }) => [id, Float64Array.from(stateValue(name, shape, lift))]));
}

function withBatch(graph: Graph, state: ReadonlyMap<TensorId, Data>, key: string): Map<TensorId, Data> {
  const given = new Map<TensorId, Data>(state);
  given.set(graph.images, makeImages(key, graph.tensors[graph.images].shape));
  if (graph.labels !== undefined) {
    const [batch, classes] = graph.tensors[graph.logits].shape;
    given.set(graph.labels, labels(key, batch, classes));
  }
  return given;
}

export function interpreter(precision: Precision): Engine {
  const run = (graph: Graph, given: ReadonlyMap<TensorId, Data>) =>
    evaluateGraph(graph, given, { precision, seed: 0, step: 0 });

  /** The state that a training pass leaves behind. */
  function newState(graph: Graph, values: ReadonlyMap<TensorId, Data>): Map<TensorId, Data> {
    const state = new Map<TensorId, Data>();
    for (const { op, inputs, outputs } of graph.nodes) {
      if (op !== "updateRunning") continue;
      outputs.forEach((output, i) => {
        state.set(inputs[2 + i], values.get(output) as Data);
      });
    }
    return state;
  }

  return {
    name: `interpreter ${precision}`,
    precision,
    big: precision === "f64",
    keepsActivations: true,

    async infer(fixture): Promise<Values> {
      const graph = build(fixture, fixture.evalShape, "inference");
      const values = run(graph, withBatch(graph, formulaState(graph, fixture.lift), fixture.evalKey));
      return new Map([["logits", values.get(graph.logits) as Data]]);
    },

    async train(fixture): Promise<Values> {
      const graph = differentiate(build(fixture, fixture.inputShape, "training"));
      const values = run(graph, withBatch(graph, formulaState(graph, fixture.lift), fixture.imagesKey));
      const found = new Map<string, Data>();
      for (const { op, path, outputs, pass } of graph.nodes) {
        if (pass === "forward" && ["conv2d", "normalize", "avgPool2d", "linear"].includes(op)) {
          found.set(`value:${path}`, values.get(outputs[0]) as Data);
        }
      }
      for (const [parameter, gradient] of graph.gradients) {
        found.set(`d(${graph.tensors[parameter].name})`, values.get(gradient) as Data);
      }
      for (const [id, data] of newState(graph, values)) found.set(graph.tensors[id].name, data);
      found.set("logits", values.get(graph.logits) as Data);
      return found.set("loss", values.get(graph.loss as TensorId) as Data);
    },

    async curve(fixture): Promise<Values> {
      const graph = differentiate(build(fixture, fixture.inputShape, "training"));
      const { learningRate, momentum, weightDecay } = fixture;
      let state = formulaState(graph, fixture.lift);
      const velocities = new Map(
        [...graph.gradients.keys()].map((id) => [id, new Float64Array(state.get(id)?.length ?? 0)]),
      );
      const losses: number[] = [];
      for (let step = 0; step < fixture.steps; step++) {
        const values = run(graph, withBatch(graph, state, `images.${step}`));
        losses.push(Number(values.get(graph.loss as TensorId)?.[0]));
        const next = new Map(state);
        for (const [id, data] of newState(graph, values)) next.set(id, Float64Array.from(data));
        // PyTorch's SGD with Nesterov momentum: g += λw, v = μv + g, w −= η(g + μv).
        for (const [parameter, gradient] of graph.gradients) {
          const velocity = velocities.get(parameter) as Float64Array;
          const weights = state.get(parameter) as Float64Array;
          const slope = values.get(gradient) as Data;
          const updated = weights.map((weight, i) => {
            const g = slope[i] + weightDecay * weight;
            velocity[i] = momentum * velocity[i] + g;
            return weight - learningRate * (g + momentum * velocity[i]);
          });
          next.set(parameter, updated);
        }
        state = next;
      }
      const found = new Map<string, ArrayLike<number>>([["losses", losses]]);
      for (const [id, data] of state) found.set(graph.tensors[id].name, data);
      return found;
    },
  };
}
