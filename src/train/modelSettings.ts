// train: the settings that change a named network, as schemas made from what the families of networks say of their
// fields.
import * as z from "zod";
import { type FieldRule, type ModelFields, modelRules } from "../networks/registry.ts";

type Schemas = {
  [F in keyof ModelFields]-?: z.ZodExactOptional<z.ZodType<Exclude<ModelFields[F], undefined>>>;
};

/** By field of a spec. All may be left out: then the network that is named decides. */
export const modelFieldSchemas = Object.fromEntries(
  Object.entries(modelRules).map(([field, rule]) => [field, schemaOf(rule).exactOptional()]),
) as Schemas;

function schemaOf(rule: FieldRule): z.ZodType {
  switch (rule.kind) {
    case "count":
      return z.int().gte(1).lte(rule.most);
    case "counts":
      return z.array(z.int().gte(1).lte(rule.most)).min(1).max(rule.longest);
    case "fraction":
      return z.number().gt(0).lte(1);
    case "probability":
      return z.number().gte(0).lt(1);
    case "flag":
      return z.boolean();
    case "choice":
      return z.enum(rule.of);
  }
}
