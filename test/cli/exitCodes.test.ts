import assert from "node:assert/strict";
import { test } from "node:test";
import { exitCodeOf } from "../../src/cli/exitCodes.ts";
import * as errors from "../../src/errors.ts";

const { DenseNetError, ...kinds } = errors;

test("every kind of error has the exit code that the help lists", () => {
  const codes = Object.entries(kinds).map(([name, Kind]) => [name, exitCodeOf(new Kind("planted"))]);
  assert.deepEqual(Object.fromEntries(codes), {
    UsageError: 2,
    DisposedError: 2,
    InputError: 3,
    DivergedError: 4,
    ResourceError: 5,
    DeviceError: 6,
    VerificationError: 7,
  });
});

test("a kind that the table does not know ends as a bug", () => {
  class NewError extends DenseNetError {}
  assert.equal(exitCodeOf(new NewError("planted")), 1);
});
