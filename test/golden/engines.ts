// Beside the line: the engines that the golden tests hold against PyTorch.
import type { Engine } from "./engine.ts";
import { interpreter } from "./interpreter.ts";

export async function engines(): Promise<readonly Engine[]> {
  return [interpreter("f64"), interpreter("f32")];
}
