// Test support: plans on a backend as an engine. It finds buffers by what the calls say, so it holds for every planner
// option and backend.
import type { Backend, Executable } from "../../src/backends/backend.ts";
import type { ReferenceExecutable } from "../../src/backends/reference/backend.ts";
import { differentiate } from "../../src/graph/differentiate.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { buildGraph } from "../../src/networks/registry.ts";
import type { KernelCall, KernelName, Plan } from "../../src/plan/plan.ts";
import type { Engine, Values } from "./engine.ts";
import type { Fixture, Precision } from "./fixture.ts";
import { labels, makeImages, stateValue } from "./formula.ts";

export interface PlanEngineOptions {
  readonly name: string;
  readonly precision: Precision;
  readonly big: boolean;
  readonly backend: Backend;
  planInference(graph: Graph): Plan;
  /**
   * What one optimizer step runs, in order: a plan with the loss and all gradients, then, if it is another one, the
   * update.
   */
  planStep(graph: Graph, settings: { readonly momentum: number; readonly weightDecay: number }): readonly Plan[];
}

type Data = Float32Array | Float64Array | Int32Array;
/** One optimizer step on the images of a key: `loss` and `logits` before the update. */
type Step = (key: string, learningRate: number) => Promise<Map<string, Data>>;
type CallOf<K extends KernelName> = Extract<KernelCall, { readonly kernel: K }>;

function callOf<K extends KernelName>(plan: Plan, kernel: K): CallOf<K> {
  const call = plan.calls.find((candidate): candidate is CallOf<K> => candidate.kernel === kernel);
  if (call === undefined) throw new Error(`the plan has no ${kernel} call`);
  return call;
}

/** The stem's convolution reads the images. */
const imagesOf = (plan: Plan) => callOf(plan, "conv").args.x.buffer;

export function planEngine({ backend, planInference, planStep, ...about }: PlanEngineOptions): Engine {
  /** With all digits where the backend gives them. */
  async function read(executable: Executable, buffer: string, plan: string): Promise<Data> {
    const { memory } = executable as Partial<ReferenceExecutable>;
    return memory ? memory(plan).tensor(buffer).data.slice() : (await executable.read([buffer], plan))[0];
  }

  async function writeState(executable: Executable, plans: readonly Plan[], lift: number): Promise<void> {
    const buffers = new Map(plans.flatMap((plan) => [...plan.buffers]));
    for (const { name, role, shape } of buffers.values()) {
      if (role === "parameter" || role === "state") await executable.write(name, stateValue(name, shape, lift));
    }
  }

  async function withTraining<T>(
    fixture: Fixture,
    use: (step: Step, state: () => Promise<Map<string, Data>>) => Promise<T>,
  ): Promise<T> {
    const [batch, , height, width] = fixture.inputShape;
    const graph = differentiate(buildGraph(fixture.spec, { batch, height, width, mode: "training" }));
    const plans = planStep(graph, fixture);
    const [first] = plans;
    const named = Object.fromEntries(plans.map((plan, i) => [`step${i}`, plan]));
    const executable = await backend.compile(named);
    const images = imagesOf(first);
    const loss = callOf(first, "softmaxCrossEntropy").args;
    const all = async (role: string) => {
      const found = new Map<string, Data>();
      for (const [plan, { buffers }] of Object.entries(named)) {
        for (const buffer of buffers.values()) {
          if (buffer.role === role) found.set(buffer.name, await read(executable, buffer.name, plan));
        }
      }
      return found;
    };
    try {
      await writeState(executable, plans, fixture.lift);
      const step = async (key: string, learningRate: number) => {
        await executable.write(images, makeImages(key, fixture.inputShape), "step0");
        await executable.write(loss.labels, labels(key, batch, fixture.spec.numClasses), "step0");
        await executable.run("step0", { learningRate, seed: 0, step: 0 });
        const losses = Array.from(await read(executable, loss.sampleLoss, "step0"));
        const mean = losses.reduce((sum, value) => sum + value, 0) / batch;
        const found = new Map<string, Data>([
          ["loss", Float64Array.of(mean)],
          ["logits", await read(executable, loss.logits, "step0")],
        ]);
        for (const plan of Object.keys(named).slice(1)) await executable.run(plan, { learningRate });
        return found;
      };
      const state = async () =>
        new Map([...(await all("parameter")), ...(await all("state")), ...(await all("gradient"))]);
      return await use(step, state);
    } finally {
      await executable.dispose();
    }
  }

  return {
    ...about,
    keepsActivations: false, // their buffers are reused within the step

    async infer(fixture): Promise<Values> {
      const [batch, , height, width] = fixture.evalShape;
      const plan = planInference(buildGraph(fixture.spec, { batch, height, width, mode: "inference" }));
      const executable = await backend.compile({ infer: plan });
      try {
        await writeState(executable, [plan], fixture.lift);
        await executable.write(imagesOf(plan), makeImages(fixture.evalKey, fixture.evalShape), "infer");
        await executable.run("infer");
        return new Map([["logits", await read(executable, callOf(plan, "linear").args.y, "infer")]]);
      } finally {
        await executable.dispose();
      }
    },

    /** With learning rate 0 the update leaves the parameters alone. */
    train: (fixture) =>
      withTraining(fixture, async (step, state) => {
        const found = await step(fixture.imagesKey, 0);
        return new Map([...(await state()), ...found]);
      }),

    curve: (fixture) =>
      withTraining(fixture, async (step, state) => {
        const losses: number[] = [];
        for (let i = 0; i < fixture.steps; i++) {
          losses.push(Number((await step(`images.${i}`, fixture.learningRate)).get("loss")?.[0]));
        }
        return new Map<string, ArrayLike<number>>([...(await state()), ["losses", losses]]);
      }),

    dispose: () => backend.dispose(),
  };
}
