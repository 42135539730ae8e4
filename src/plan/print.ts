// plan: a plan as text, one kernel call a line, then every buffer with its lifetime.
import type { KernelCall, Plan, View } from "./plan.ts";
import { channelsOf } from "./reading.ts";

const isView = (value: unknown): value is View =>
  typeof value === "object" && value !== null && "buffer" in value && "channels" in value && "offset" in value;

const count = (value: number, unit: string): string => {
  for (const [limit, prefix] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ] as const) {
    if (value >= limit) return `${(value / limit).toFixed(2)} ${prefix}${unit}`;
  }
  return `${value} ${unit}`;
};

function operands(plan: Plan, call: KernelCall): string {
  const shown: string[] = [];
  const visit = (name: string, value: unknown): void => {
    if (isView(value)) {
      const buffer = plan.buffers.get(value.buffer);
      if (!buffer)
        throw new RangeError(`${call.path}: ${name} names buffer ${value.buffer}, which the plan does not have`);
      const { shape } = buffer;
      const whole = channelsOf(buffer);
      const [batch, , ...plane] = shape;
      const dimensions =
        shape.length === 1 ? `[${value.channels}]` : `[${[batch, value.channels, ...plane].join("×")}]`;
      const slice = value.channels === whole ? "" : ` of ${whole} from ${value.offset}`;
      shown.push(`${name}=${value.buffer}${dimensions}${slice}`);
    } else if (name === "write" || name === "weight") shown.push(`${name}=${String(value)}`);
    else if (name === "composite" && typeof value === "object" && value !== null) {
      shown.push("composite");
      if ("x" in value) visit("at", value.x);
    }
  };
  for (const [name, value] of Object.entries(call.args)) visit(name, value);
  return shown.join("  ");
}

/**
 * Every kernel call with shapes, multiply-adds and bytes; every buffer with shape, bytes, offset and the calls it lives
 * through; peakBytes.
 */
export function printPlan(plan: Plan): string {
  const calls = plan.calls.map((call, index) => {
    const work = `${count(call.macs, "MAC")}, ${count(call.trafficBytes, "B")}`;
    return (
      `${String(index).padStart(5)}  ${call.kernel.padEnd(24)} ${call.path}${call.recompute ? " (again)" : ""} ` +
      ` ${operands(plan, call)}  ${work}`
    );
  });
  const buffers = [...plan.buffers.values()].map(({ name, shape, dtype, bytes, role, offset, birth, death }) => {
    const life = role === "arena" ? `calls ${birth}…${death}` : "persistent";
    return (
      `  ${role.padEnd(11)} ${name} [${shape.join("×")}]${dtype === "f16" ? " f16" : ""} ${count(bytes, "B")} ` +
      `at ${offset}, ${life}`
    );
  });
  const macs = plan.calls.reduce((sum, call) => sum + call.macs, 0);
  return [
    `${plan.calls.length} kernel calls, ${count(macs, "MAC")}`,
    ...calls,
    `${plan.buffers.size} buffers`,
    ...buffers,
    `arena ${count(plan.arenaBytes, "B")}${plan.f16ArenaBytes > 0 ? ` (f16 ${count(plan.f16ArenaBytes, "B")})` : ""} + persistent ${count(plan.persistentBytes, "B")} = peakBytes ${plan.peakBytes}`,
    "",
  ].join("\n");
}
