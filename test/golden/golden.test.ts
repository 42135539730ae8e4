// Every engine against PyTorch (scripts/fixtures/makeFixtures.py), from logits to the tenth step of training.
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { engines } from "./engines.ts";
import { assertGolden, loadFixture } from "./fixture.ts";

const isGradient = (name: string) => name.startsWith("d(");
const isValue = (name: string) => name.startsWith("value:");

for (const engine of await engines()) {
  describe(engine.name, () => {
    after(() => engine.dispose?.());

    const residual = ["resnet", "resnet-stochastic", "preresnet", "preresnet-stochastic"];
    const small = ["densenet-bc", "densenet-plain", ...residual];
    for (const name of engine.big ? [...small, "densenet121"] : small) {
      it(`${name} · inference · logits`, async () => {
        const fixture = loadFixture(name);
        const found = await engine.infer(fixture);
        const golden = fixture.tensors.filter((tensor) => tensor.name === "eval:logits");
        assertGolden(golden, engine.precision, () => found.get("logits"));
      });
    }

    // The lifted twin is for f32: unlifted, float32 flips the sign of some ReLU inputs, in PyTorch too (see
    // makeFixtures.py).
    const big = engine.precision === "f64" ? ["densenet121"] : ["densenet121", "densenet121-lifted"];
    for (const name of engine.big ? [...small, ...big] : small) {
      it(`${name} · training · activations, loss, running statistics, every gradient`, async () => {
        const fixture = loadFixture(name);
        const found = await engine.train(fixture);
        const golden = fixture.tensors.filter((tensor) => !tensor.name.startsWith("eval:"));
        const gradients = golden.filter((tensor) => isGradient(tensor.name));
        const values = golden.filter((tensor) => isValue(tensor.name));
        const rest = golden.filter((tensor) => !isGradient(tensor.name) && !isValue(tensor.name));
        const look = (tensor: string) => found.get(tensor);
        assertGolden(rest, engine.precision, look);
        if (engine.keepsActivations && values.length > 0) assertGolden(values, engine.precision, look);
        assert.equal([...found.keys()].filter(isGradient).length, gradients.length, "one gradient per parameter");
        if (name !== "densenet121" || engine.precision === "f64") assertGolden(gradients, engine.precision, look);
      });
    }

    for (const name of ["densenet-bc", "resnet", "resnet-stochastic", "preresnet"]) {
      it(`${name} · ten steps of SGD`, async () => {
        const fixture = loadFixture(`${name}-curve`);
        const found = await engine.curve(fixture);
        assertGolden(fixture.tensors, engine.precision, (tensor) => found.get(tensor));
      });
    }
  });
}
