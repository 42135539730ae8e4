// networks: the fields of a spec as data: what each may hold, checked here in one sentence and, for configurations, by
// a schema made from the same data.
import { UsageError } from "../errors.ts";
import { nearestName } from "../nearestName.ts";
import { show } from "../show.ts";
import type { CommonSpec, GivenFields } from "./family.ts";

/**
 * What a field may hold. Bounds are far beyond what can be meant; they keep every product in the size arithmetic exact.
 */
export type FieldRule =
  /** A whole number from 1. */
  | { readonly kind: "count"; readonly most: number }
  /** At least one count, such as one for every block. */
  | { readonly kind: "counts"; readonly items: string; readonly most: number; readonly longest: number }
  /** A number above 0 and at most 1. */
  | { readonly kind: "fraction" }
  /** A number of at least 0 and below 1. */
  | { readonly kind: "probability" }
  | { readonly kind: "flag" }
  | { readonly kind: "choice"; readonly of: readonly string[] };

/** By field. */
export type FieldRules = Readonly<Record<string, FieldRule>>;

export type FieldValue<R extends FieldRule> = R extends { kind: "choice" }
  ? R["of"][number]
  : { count: number; counts: readonly number[]; fraction: number; probability: number; flag: boolean }[Exclude<
      R["kind"],
      "choice"
    >];

/** `cifar`: one 3×3 convolution. `imagenet`: 7×7 stride 2, batch norm, ReLU, 3×3 max pool stride 2. */
export type Stem = "cifar" | "imagenet";

export const stemRule = { kind: "choice", of: ["cifar", "imagenet"] } as const satisfies FieldRule;
/** Layers of each block. */
export const blocksRule = {
  kind: "counts",
  items: "numbers of layers, such as [16, 16, 16]",
  most: 1000,
  longest: 16,
} as const satisfies FieldRule;

export const commonRules = {
  dropRate: { kind: "probability" },
  inChannels: { kind: "count", most: 1_000_000 },
  numClasses: { kind: "count", most: 1_000_000 },
} as const satisfies Record<Exclude<keyof CommonSpec, "family">, FieldRule>;

export function impossible(field: string, value: unknown, expected: string): UsageError {
  return new UsageError(`${field}: got ${show(value)}, expected ${expected}`, { field, value, expected });
}

/**
 * Reads the fields that were given by their rules, and takes the defaults for the others. `label`: "DenseNet".
 * @throws UsageError for a field that has no rule, with the nearest one that has; the function returned throws it for a
 * value against its rule
 */
export function fieldReader<const R extends FieldRules>(
  given: GivenFields,
  rules: R,
  label: string,
): <F extends keyof R & string>(field: F, otherwise: FieldValue<R[F]>) => FieldValue<R[F]> {
  const known = Object.keys(rules);
  for (const [field, value] of Object.entries(given)) {
    if (known.includes(field) || value === undefined) continue;
    const nearest = nearestName(field, known);
    const advice = nearest ? `did you mean ${nearest}?` : `its fields are ${known.join(", ")}`;
    throw new UsageError(`${field}: a ${label} has no such field; ${advice}`, { field, value });
  }
  return (field, otherwise) => {
    const value = given[field] ?? otherwise;
    requireRule(field, rules[field], value);
    return value as typeof otherwise;
  };
}

function requireRule(field: string, rule: FieldRule, value: unknown): void {
  const number = typeof value === "number" ? value : Number.NaN;
  switch (rule.kind) {
    case "count":
      if (Number.isInteger(number) && number >= 1 && number <= rule.most) return;
      throw impossible(field, value, `a whole number from 1 to ${rule.most}`);
    case "counts":
      if (!Array.isArray(value) || value.length === 0 || value.length > rule.longest) {
        throw impossible(field, value, `a list of at least one and at most ${rule.longest} ${rule.items}`);
      }
      value.forEach((item: unknown, index) => {
        requireRule(`${field}[${index}]`, { kind: "count", most: rule.most }, item);
      });
      return;
    case "fraction":
      if (number > 0 && number <= 1) return;
      throw impossible(field, value, "a number above 0 and at most 1");
    case "probability":
      if (number >= 0 && number < 1) return;
      throw impossible(field, value, "a probability of at least 0 and below 1");
    case "flag":
      if (typeof value === "boolean") return;
      throw impossible(field, value, "true or false");
    case "choice":
      if (typeof value === "string" && rule.of.includes(value)) return;
      throw impossible(field, value, rule.of.map((choice) => JSON.stringify(choice)).join(" or "));
  }
}

/** Classes where nobody says how many: of CIFAR-10, or of ImageNet. */
export const usualClasses = (stem: Stem): number => (stem === "imagenet" ? 1000 : 10);
