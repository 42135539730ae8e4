// backends: feature maps in f16 are refused wherever they cannot be stored, before a device is opened and before a plan
// is compiled.
import { UsageError } from "../errors.ts";
import type { ActivationDtype, Plan } from "../plan/plan.ts";
import type { BackendInfo } from "./backend.ts";
import type { BackendName } from "./names.ts";

/** @throws UsageError for feature maps in f16 on a backend that keeps them in f32 */
export function requireOfferedDtype(name: BackendName, activationDtype: ActivationDtype): void {
  if (activationDtype === "f32" || name === "webgpu" || name === "auto") return;
  throw new UsageError(
    `activationDtype: f16 is for the devices webgpu and auto, got it with ${name}, which has f32 only: ask for f32`,
    {
      field: "activationDtype",
      value: activationDtype,
      device: name,
    },
  );
}

/** @throws UsageError for a plan with feature maps in f16 on a backend that was not opened for them */
export function requireStorable(
  { name, activationDtype }: Pick<BackendInfo, "name" | "activationDtype">,
  plans: Readonly<Record<string, Plan>>,
): void {
  if (activationDtype === "f16") return;
  const [planName] = Object.entries(plans).find(([, { f16ArenaBytes }]) => f16ArenaBytes > 0) ?? [];
  if (planName === undefined) return;
  const remedy =
    name === "webgpu"
      ? 'create the backend with activationDtype "f16", or plan with "f32"'
      : 'plan with activationDtype "f32"';
  throw new UsageError(
    `plan ${planName} stores feature maps in f16, this ${name} backend ` +
      `${name === "webgpu" ? "was opened for f32" : "has f32 only"}: ${remedy}`,
    { plan: planName, backend: name },
  );
}
