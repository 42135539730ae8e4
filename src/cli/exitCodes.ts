// cli: which exit code the command ends with for each kind of failure. The library knows kinds only.
import {
  type DenseNetError,
  DeviceError,
  DivergedError,
  InputError,
  ResourceError,
  UsageError,
  VerificationError,
} from "../errors.ts";

/** Not a failure that anybody foresaw. */
export const BUG = 1;
/** What was found to be wrong with the input by a verb that looks for it. */
export const BAD_INPUT = 3;

const CODES = [
  [UsageError, 2],
  [InputError, BAD_INPUT],
  [DivergedError, 4],
  [ResourceError, 5],
  [DeviceError, 6],
  [VerificationError, 7],
] as const;

/** A kind without a row is a bug of this table, and ends as one. */
export function exitCodeOf(error: DenseNetError): number {
  return CODES.find(([kind]) => error instanceof kind)?.[1] ?? BUG;
}
