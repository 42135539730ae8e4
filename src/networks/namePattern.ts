// networks: names that state a network's depth and width, for the many that no publication names.
import { UsageError } from "../errors.ts";
import type { CommonSpec, GivenFields } from "./family.ts";

export interface NamePattern<S extends CommonSpec> {
  /** For lists of names, L being the depth and k the growth rate: "BC-L-k". */
  readonly forms: readonly string[];
  /**
   * The network that a normalised spelling means; undefined where the pattern does not fit.
   * @throws UsageError where it fits and there is no such network
   */
  read(spelling: string): NamedFields | undefined;
  /** The only name by the pattern that the network can have; undefined where that cannot be said. */
  nameOf(spec: S): string | undefined;
}

/** Fields of a network and its canonical name. */
export interface NamedFields {
  readonly name: string;
  readonly fields: GivenFields;
}

/** Depth = each·N + others, with N units in each of the equal blocks. */
export interface DepthRule {
  readonly each: number;
  readonly others: number;
}

/** N of the network called `name`. @throws UsageError with the depths beside it where N would not be whole */
export function unitsOf(name: string, depth: number, { each, others }: DepthRule): number {
  const units = (depth - others) / each;
  if (units >= 1 && Number.isInteger(units)) return units;
  const below = others + each * Math.max(1, Math.floor(units));
  throw new UsageError(
    `no model is named "${name}": its equal blocks make a depth of ${each}N + ${others}, expected one such as ${below} ` +
      `or ${below + each}`,
    { name, depth, expected: [below, below + each] },
  );
}
