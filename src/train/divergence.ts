// train: where a net broke, found when a loss is no longer finite.
//
// Running statistics are the trace: each batch norm keeps a moving average of its input's mean and variance, so the
// first one, in the network's order, that is not finite shows whose output overflowed. They persist, unlike the feature
// maps themselves.
import type { Executable } from "../backends/backend.ts";
import type { Plan, RunningEntry } from "../plan/plan.ts";

/** The first layer whose output was not finite, as a phrase for a message. `name`: the training plan that ran last. */
export async function findBrokenLayer(
  executable: Executable,
  plans: Readonly<Record<string, Plan>>,
  name: string,
): Promise<string> {
  const plan = plans[name];
  if (plan === undefined) throw new RangeError(`no plan ${name} was compiled`);
  const producers = plan.calls.filter((call) => call.kernel === "channelStatistics");
  const entries = plan.calls.flatMap((call) => (call.kernel === "updateRunningStatistics" ? call.args.entries : []));
  for (const entry of inNetworkOrder(plan, entries)) {
    const channel = await firstNotFinite(executable, [entry.runningMean, entry.runningVariance]);
    if (channel === -1) continue;
    const position = entry.mean.offset + channel;
    const producer = producers.find(
      ({ args: { mean } }) =>
        mean.buffer === entry.mean.buffer && mean.offset <= position && position < mean.offset + mean.channels,
    );
    if (producer)
      return `${producer.path} (channel ${position - producer.args.mean.offset} of its output is not finite)`;
  }
  return "classifier (every batch norm before it is finite)";
}

/** The running statistics lie in the network's order among the states, whatever order the calls have. */
function inNetworkOrder({ buffers }: Plan, entries: readonly RunningEntry[]): RunningEntry[] {
  const place = ({ runningMean }: RunningEntry): number => buffers.get(runningMean)?.offset ?? 0;
  return [...entries].sort((a, b) => place(a) - place(b));
}

async function firstNotFinite(executable: Executable, names: readonly string[]): Promise<number> {
  const found = (await executable.read(names))
    .map((values) => values.findIndex((value) => !Number.isFinite(value)))
    .filter((channel) => channel !== -1);
  return found.length === 0 ? -1 : Math.min(...found);
}
