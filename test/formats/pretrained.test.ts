// The models that come with the package: each is there, is what its card says, and errs as often as its card says.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createBackend } from "../../src/backends/create.ts";
import { loadBatches } from "../../src/data/loader.node.ts";
import { openDataset } from "../../src/data/open.node.ts";
import { InputError, UsageError, VerificationError } from "../../src/errors.ts";
import { loadModelCard, loadPretrained, pretrainedNames } from "../../src/formats/pretrained.ts";
import { evaluate } from "../../src/infer/evaluate.ts";
import { parameterCount } from "../../src/networks/registry.ts";
import { firstState, settingsFrom } from "../../src/run/start.node.ts";
import { resolveConfig } from "../../src/train/resolveConfig.ts";
import { densenet } from "../cli/command.ts";

const FOLDER = "assets/models";
/** All models together, what the package may hold of them. */
const MAX_BYTES = 8_000_000;

describe("packaged models", () => {
  it(`the folder holds a file and a card for each name, and together at most ${MAX_BYTES} bytes`, () => {
    const found = readdirSync(FOLDER).filter((file) => file !== "README.md");
    assert.deepEqual(found.sort(), pretrainedNames.flatMap((name) => [`${name}.json`, `${name}.safetensors`]).sort());
    assert.ok(found.reduce((sum, file) => sum + statSync(join(FOLDER, file)).size, 0) <= MAX_BYTES);
  });

  for (const name of pretrainedNames) {
    it(`${name}: the card is about this file`, async () => {
      const bytes = readFileSync(join(FOLDER, `${name}.safetensors`));
      const card = await loadModelCard(name);
      const { model, classes, preprocessing, dataset } = await loadPretrained(name);
      assert.equal(card.name, name);
      assert.deepEqual(card.file, {
        bytes: bytes.length,
        sha256: createHash("sha256").update(bytes).digest("hex"),
        weights: "f16",
      });
      assert.equal(card.params, parameterCount(model.spec));
      assert.deepEqual(card.classes, classes);
      assert.deepEqual(card.preprocessing, preprocessing);
      assert.equal(card.training.dataset, dataset);
      for (const text of [card.licence, card.dataTerms, card.limits]) assert.ok(text.length > 3);
      assert.doesNotMatch(JSON.stringify(card), /["\s]\/\w/, "it names a folder of the machine it was made on");
    });

    it(`${name}: errs on the embedded test images as its card says`, async () => {
      const { measured } = await loadModelCard(name);
      await using backend = await createBackend("wasm", { threads: 2 });
      const dataset = await openDataset();
      const found = await evaluate({ trained: await loadPretrained(name), dataset, backend, loadBatches });
      assert.equal(found.count, measured.embedded.images);
      // Another machine sums in another order; an image whose two best classes are that close may change sides.
      assert.ok(Math.abs(found.top1Error - measured.embedded.top1Error) <= 100 / found.count + 1e-9);
      assert.ok(Math.abs(found.loss / measured.embedded.loss - 1) < 1e-4);
      // Of all test images the embedded ones are a tenth, chosen without looking.
      const { test, unrounded } = measured;
      assert.ok(test.images > found.count && Math.abs(test.top1Error - found.top1Error) < 5);
      assert.ok(Math.abs(test.top1Error - unrounded.top1Error) < 0.1, "rounding to f16 costs accuracy");
    });
  }

  describe("by name", () => {
    const [name] = pretrainedNames;
    const folder = mkdtempSync(join(tmpdir(), "densenet-pretrained-"));
    after(() => rmSync(folder, { recursive: true, force: true }));

    it("predict, eval and inspect take it where they take a file of weights", async () => {
      const predicted = await densenet(["predict", name, "assets/samples/ship-1.png", "--json"]);
      assert.equal(predicted.code, 0, predicted.stderr);
      const [{ top }] = JSON.parse(predicted.stdout);
      assert.equal(top[0].label, "ship");
      const inspected = await densenet(["inspect", name, "--json"]);
      assert.equal(JSON.parse(inspected.stdout).params, (await loadModelCard(name)).params);
      const evaluated = await densenet(["eval", name, "--json"]);
      assert.equal(JSON.parse(evaluated.stdout).count, 1000);
    });

    it("a run starts from it: from its network, with its weights", async () => {
      const { config } = resolveConfig({ settings: await settingsFrom(name) });
      assert.equal(config.model.variant, "BC-40-12");
      const { state } = (await firstState(config, await openDataset(), name, () => {})).model;
      const { model } = await loadPretrained(name);
      for (const [path, { data }] of model.state) assert.deepEqual(state.get(path)?.data, data, path);
      const printed = await densenet(["train", "--init-from", name, "--print-config"]);
      assert.equal(printed.code, 0, printed.stderr);
      assert.match(printed.stdout, /BC-40-12/);
    });

    it("a misspelt name is answered with the names, as a path and in the library", async () => {
      const { code, stderr } = await densenet(["predict", `${name}0`, "assets/samples/ship-1.png"]);
      assert.equal(code, 3);
      assert.match(stderr, new RegExp(`there is no such checkpoint.*${name}`));
      await assert.rejects(
        loadPretrained(`${name}0`),
        (error) => error instanceof UsageError && error.message.includes(`did you mean ${name}?`),
      );
    });

    it("models lists them and shows the card of one", async () => {
      const listed = await densenet(["models"]);
      assert.match(listed.stdout, new RegExp(`^model .*\\n${name} +CIFAR-10 +176,122 .* %`));
      const shown = await densenet(["models", name]);
      assert.match(shown.stdout, /95 % interval[\s\S]*licence +MIT/);
      const all = await densenet(["models", "--json"]);
      assert.deepEqual(JSON.parse(all.stdout), await Promise.all(pretrainedNames.map((known) => loadModelCard(known))));
    });

    it("a file of that name is taken for itself", async () => {
      writeFileSync(join(folder, name), "no weights");
      const { code, stderr } = await densenet(["inspect", name], { cwd: folder });
      assert.equal(code, 3);
      assert.match(stderr, new RegExp(`${name}: is of no kind that is known`));
    });
  });

  describe("served elsewhere", () => {
    const [name] = pretrainedNames;
    const bytes = readFileSync(join(FOLDER, `${name}.safetensors`));
    const server = createServer((request, response) => {
      if (request.url === `/models/${name}.safetensors`) response.end(bytes);
      else if (request.url === `/damaged/${name}.safetensors`)
        response.end(Uint8Array.from(bytes, (byte, at) => (at === bytes.length - 5 ? byte ^ 1 : byte)));
      else response.writeHead(404).end();
    });
    let origin = "";
    before(async () => {
      server.listen(0, "127.0.0.1");
      await new Promise((resolve) => server.once("listening", resolve));
      origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    });
    after(() => server.close());

    it("it is fetched from there, with and without the slash at the end", async () => {
      for (const from of [`${origin}/models`, new URL(`${origin}/models/`)]) {
        const { dataset } = await loadPretrained(name, { from });
        assert.equal(dataset, "CIFAR-10");
      }
    });

    it("what is not there is said with the URL and what to pass", async () => {
      await assert.rejects(loadPretrained(name, { from: `${origin}/other` }), (error) => {
        assert.ok(error instanceof InputError);
        assert.match(
          error.message,
          new RegExp(`^${origin}/other/${name}.safetensors: the server answered 404.*\`from\``),
        );
        return true;
      });
      await assert.rejects(loadPretrained(name, { from: "no scheme" }), UsageError);
      await assert.rejects(loadPretrained(name, { from: "file:///nowhere/at/all" }), InputError);
    });

    it("what was damaged on the way is refused", async () => {
      await assert.rejects(loadPretrained(name, { from: `${origin}/damaged` }), VerificationError);
    });
  });
});
