// Errors of the whole package: one class per kind.
// A message is one sentence for the person who can fix it: what was given, what was expected, where.

/** Facts of an error by name, such as `field`, `value`, `path`, `bytes`. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/**
 * Base of every error that this package throws on purpose. `details` holds the same facts as the sentence, for
 * programs.
 */
export abstract class DenseNetError extends Error {
  /** The class's name, written out in each, because minifiers rename classes. */
  override readonly name: string = "DenseNetError";
  readonly details: ErrorDetails;

  constructor(message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.details = details;
  }
}

/** An option, variant name or specification that cannot mean anything. */
export class UsageError extends DenseNetError {
  override readonly name: string = "UsageError";
}
/**
 * Something was asked of a backend, executable, predictor or trainer that was disposed of, or that was disposed of
 * before it could answer.
 */
export class DisposedError extends UsageError {
  override readonly name = "DisposedError";
}
/** A file, image, label or checkpoint that is not what was expected. */
export class InputError extends DenseNetError {
  override readonly name = "InputError";
}
/** The loss stopped being a finite number. */
export class DivergedError extends DenseNetError {
  override readonly name = "DivergedError";
}
/** Memory or disk does not suffice. */
export class ResourceError extends DenseNetError {
  override readonly name = "ResourceError";
}
/** A backend cannot be had or broke. */
export class DeviceError extends DenseNetError {
  override readonly name = "DeviceError";
}
/** Two things that must agree do not: a checksum, a self-check, a comparison. */
export class VerificationError extends DenseNetError {
  override readonly name = "VerificationError";
}
