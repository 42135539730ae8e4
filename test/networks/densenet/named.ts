// Test support: a named DenseNet with the fields of a DenseNet, which the registry's union hides.
import { densenet } from "../../../src/networks/densenet/family.ts";
import type { DenseNetSpec } from "../../../src/networks/densenet/spec.ts";
import { canonicalName } from "../../../src/networks/registry.ts";

export type DenseNetFields = { readonly [F in keyof DenseNetSpec]?: DenseNetSpec[F] | undefined };

export const defineDenseNet = (fields: DenseNetFields = {}): DenseNetSpec => {
  const { family: _family, ...rest } = fields;
  return densenet.define(rest);
};

export const namedDenseNet = (name: string, overrides: DenseNetFields = {}): DenseNetSpec =>
  defineDenseNet({
    ...(densenet.variants.get(canonicalName(name)) ?? densenet.pattern.read(name.toLowerCase())?.fields),
    ...overrides,
  });
