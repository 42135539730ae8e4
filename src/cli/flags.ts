// cli: flags that several verbs share, and how their texts become values.
import { Option } from "commander";
import type { BackendName } from "../backends/create.ts";
import { UsageError } from "../errors.ts";
import { activationDtypes } from "../plan/plan.ts";

/** Parser of a flag's number; ranges are the business of who uses it. */
export function numberFlag(flag: string): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (!Number.isFinite(value)) {
      throw new UsageError(`${flag}: got "${text}", expected a number`, { flag, value: text });
    }
    return value;
  };
}

/** Parser of a flag's whole number of at least `least`. */
export function wholeFlag(flag: string, least: number): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (!Number.isInteger(value) || value < least) {
      throw new UsageError(`${flag}: got "${text}", expected a whole number of at least ${least}`, {
        flag,
        value: text,
      });
    }
    return value;
  };
}

/** Parser of numbers with commas between. */
export function listFlag(flag: string): (text: string) => number[] {
  return (text) => text.split(",").map(numberFlag(flag));
}

export const jsonOption = (what = "one JSON document on stdout, errors too"): Option => new Option("--json", what);
export const EMBEDDED = "the CIFAR-10 subset that comes with the package";
export const dataDirOption = (otherwise: string): Option =>
  new Option(
    "--data-dir <dir>",
    `CIFAR-10/100 binary folder or .tar.gz, or a folder of pictures per class (default: ${otherwise})`,
  );
export const threadsOption = (): Option =>
  new Option("--threads <n>", "compute threads, 1 to 64 (default: one per processor)").argParser(
    wholeFlag("--threads", 1),
  );
/** What --device takes: the backends, and the CPU by its other name. */
const devices: Readonly<Record<string, BackendName>> = {
  auto: "auto",
  webgpu: "webgpu",
  cpu: "wasm",
  wasm: "wasm",
  reference: "reference",
};
export const deviceOption = (): Option =>
  new Option(
    "--device <name>",
    "cpu (wasm), webgpu, auto: webgpu where there is a GPU, or reference: slow and obviously right",
  ).argParser((text: string): BackendName => {
    const device = devices[text];
    if (device !== undefined) return device;
    throw new UsageError(`--device: got "${text}", expected one of ${Object.keys(devices).join(", ")}`, {
      value: text,
    });
  });

export const storageOption = (): Option =>
  new Option(
    "--storage <type>",
    "how a GPU keeps feature maps; f16: in half the memory, rounded to 11 bits; needs --device webgpu or auto",
  ).choices(activationDtypes);

export const EXIT_CODES = `Exit codes:
  0 ok   1 bug   2 usage   3 bad input   4 diverged   5 out of memory or disk
  6 device   7 verification failed   130 or 143 stopped by SIGINT or SIGTERM`;

/** The text under a verb's help. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join("\n")}\n\n${EXIT_CODES}`;
}
