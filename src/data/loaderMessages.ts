// data: what the loader and its thread say to each other. Plain data; pixel bytes in shared memory.
import {
  DenseNetError,
  DeviceError,
  DivergedError,
  type ErrorDetails,
  InputError,
  ResourceError,
  UsageError,
  VerificationError,
} from "../errors.ts";
import type { BatchRecipe } from "./batch.ts";
import type { Batch, SplitDescription } from "./dataset.ts";

/** Given to the thread when it starts. */
export interface LoaderTask {
  readonly split: SplitDescription;
  readonly recipe: BatchRecipe;
  readonly padTo: number | undefined;
}

/** To the thread: make this batch. */
export interface BatchRequest {
  readonly number: number;
  readonly indices: Int32Array;
}

/** From the thread, in the order of the requests. */
export type BatchReply =
  | { readonly number: number; readonly batch: Batch }
  | { readonly number: number; readonly error: PostedError };

/** An error as plain data: structured cloning forgets the class. */
export interface PostedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly details: ErrorDetails;
}

const CLASSES = [UsageError, InputError, DivergedError, ResourceError, DeviceError, VerificationError];

export function postError(error: unknown): PostedError {
  if (!(error instanceof Error)) return { name: "Error", message: String(error), stack: undefined, details: {} };
  const details = error instanceof DenseNetError ? error.details : {};
  return { name: error.name, message: error.message, stack: error.stack, details };
}

/** The same error again, of the same class. */
export function receiveError(posted: PostedError): Error {
  const Known = CLASSES.find((candidate) => candidate.name === posted.name);
  const error = Known === undefined ? new Error(posted.message) : new Known(posted.message, posted.details);
  if (posted.stack !== undefined) error.stack = posted.stack;
  return error;
}
