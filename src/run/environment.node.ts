// run: the machine and runtime that a run or a diagnosis took place on.
import { availableParallelism, cpus, totalmem } from "node:os";
import { formatBytes } from "../analyze/format.ts";
import type { ReportFact } from "../analyze/report/data.ts";
import type { BackendInfo } from "../backends/backend.ts";

export interface Environment {
  readonly node: string;
  readonly v8: string;
  readonly platform: string;
  readonly cpu: string;
  readonly cores: number;
  /** What this process may use: the machine's memory, or a container's share of it. */
  readonly memoryBytes: number;
}

export function readEnvironment(): Environment {
  return {
    node: process.versions.node,
    v8: process.versions.v8,
    platform: `${process.platform} ${process.arch}`,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY),
  };
}

/** Environment and backend as rows of the report. */
export function environmentFacts(environment: Environment, backend: BackendInfo): ReportFact[] {
  const features = Object.entries(backend.features)
    .filter(([, present]) => present)
    .map(([name]) => featureName(name));
  return [
    { name: "processor", value: environment.cpu },
    { name: "cores", value: String(environment.cores) },
    { name: "memory", value: formatBytes(environment.memoryBytes) },
    { name: "system", value: environment.platform },
    { name: "node", value: `${environment.node} (V8 ${environment.v8})` },
    { name: "backend", value: `${backend.name}, ${backend.threads} ${backend.threads === 1 ? "thread" : "threads"}` },
    { name: "features", value: features.join(", ") || "none" },
    ...backend.notes.map((note) => ({ name: "note", value: note })),
  ];
}

/** relaxedSimd → relaxed SIMD */
export function featureName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace(/\bsimd\b/, "SIMD");
}
