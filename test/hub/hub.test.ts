// Weights by their name on the hub, from a server on this machine: fetched once, proved by their hashes, resumed, had
// without a network, and what happens when the hub or the cache fails.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { type DenseNetError, InputError, VerificationError } from "../../src/errors.ts";
import { loadNetwork } from "../../src/formats/network.node.ts";
import { fetchFromHub } from "../../src/hub/hub.node.ts";
import { parseHubName } from "../../src/hub/hubName.ts";
import { densenet } from "../cli/command.ts";
import { unpackFixtures } from "../formats/oracle.ts";
import { type HubFaults, type HubServer, serveHub } from "./hubServer.ts";

const { folder } = unpackFixtures();
const read = (path: string): Uint8Array => readFileSync(join(folder, path));
const files = { "config.json": read("timm/config.json"), "model.safetensors": read("timm/model.safetensors") };
const MODEL_HASH = createHash("sha256").update(files["model.safetensors"]).digest("hex");
const REPO = "timm/densenet.small";
const NAME = `hf:${REPO}`;
const root = mkdtempSync(join(tmpdir(), "hub-"));
const servers: HubServer[] = [];
after(async () => {
  for (const server of servers) await server.close();
  rmSync(root, { recursive: true, force: true });
});

/** A server and an empty cache of its own, which the process then asks. */
async function fresh(faults: HubFaults = {}, served: Readonly<Record<string, Uint8Array>> = files) {
  const server = await serveHub(REPO, served);
  servers.push(server);
  server.faults = faults;
  const cache = mkdtempSync(join(root, "cache-"));
  const env = { HF_ENDPOINT: server.url, HF_HUB_CACHE: cache, HF_HUB_OFFLINE: "0", HF_HUB_DOWNLOAD_TIMEOUT: "1" };
  Object.assign(process.env, env);
  const blobs = join(cache, "models--timm--densenet.small", "blobs");
  return { server, cache, blobs, env };
}

const transfers = ({ asked }: HubServer): string[] =>
  asked.filter((line) => line.includes("model.safetensors")).map((line) => line.replace(/^.*\/model/, "model"));

for (const [name, repo, revision] of [
  ["hf:timm/densenet121.ra_in1k", "timm/densenet121.ra_in1k", "main"],
  ["hf:timm/densenet121.ra_in1k@v1.0", "timm/densenet121.ra_in1k", "v1.0"],
  ["torchvision:densenet169", "timm/densenet169.tv_in1k", "main"],
] as const) {
  test(`${name} · ${repo} at ${revision}`, () => assert.deepEqual(parseHubName(name), { repo, revision }));
}

for (const name of [
  "hf:",
  "hf:timm",
  "hf:../x",
  "hf:a/../../b",
  "hf:a/b/c",
  "hf:a/b@",
  "hf:a/b@../..",
  "torchvision:resnet50",
  "hf:a/b?x=1",
  "hf:a\n/b",
]) {
  test(`${JSON.stringify(name)} · is no name`, () => {
    assert.throws(
      () => parseHubName(name),
      (error: unknown) => error instanceof InputError && /expected/.test(error.message),
    );
  });
}

test("the weights are those of the folder; fetched once, then only the commit is asked for", async () => {
  const { server, cache } = await fresh();
  const lines: string[] = [];
  const network = await loadNetwork(NAME, "last", (line) => lines.push(line));
  const expected = await loadNetwork(join(folder, "timm"));
  assert.deepEqual(network.trained.model, expected.trained.model);
  assert.deepEqual(network.trained.classes, expected.trained.classes);
  assert.equal(lines.length, 2);
  assert.match(lines[1], /^fetching timm\/densenet\.small\/model\.safetensors, 0\.0 MB$/);
  assert.match(
    network.notes[0],
    new RegExp(`^${REPO} at commit ${server.sha.slice(0, 12)}, checked by its published hashes$`),
  );
  const before = server.asked.length;
  await loadNetwork(NAME);
  assert.deepEqual(
    server.asked.slice(before).map((line) => line.split("/")[5]),
    ["revision", "tree"],
  );
  // As huggingface_hub of Python lays it out.
  const repo = join(cache, "models--timm--densenet.small");
  assert.equal(readFileSync(join(repo, "refs/main"), "utf8"), server.sha);
  const link = join(repo, "snapshots", server.sha, "model.safetensors");
  assert.ok(lstatSync(link).isSymbolicLink());
  assert.match(realpathSync(link), /blobs\/[0-9a-f]{64}$/);
  assert.deepEqual(
    readdirSync(join(repo, "blobs")).filter((name) => name.includes(".")),
    [],
  );
});

test("offline · nothing is asked, the cache is used; what is not there is a sentence", async () => {
  const { server } = await fresh();
  process.env.HF_HUB_OFFLINE = "1";
  await assert.rejects(
    fetchFromHub(NAME),
    (error: DenseNetError) =>
      error instanceof InputError && /HF_HUB_OFFLINE is set, and the cache .* has no whole main$/.test(error.message),
  );
  process.env.HF_HUB_OFFLINE = "0";
  await fetchFromHub(NAME);
  const before = server.asked.length;
  process.env.HF_HUB_OFFLINE = "1";
  const { notes } = await fetchFromHub(NAME);
  assert.match(notes[0], /from the cache: HF_HUB_OFFLINE is set$/);
  await fetchFromHub(`${NAME}@${server.sha}`);
  assert.equal(server.asked.length, before);
});

test("no network · the cache is used and it is said; without one a sentence", async () => {
  const { server } = await fresh();
  await fetchFromHub(NAME);
  await server.close();
  const { notes } = await fetchFromHub(NAME);
  assert.match(notes[0], /from the cache: the hub cannot be reached \(.*\)$/);
  await assert.rejects(
    fetchFromHub("hf:timm/other"),
    /^InputError: hf:timm\/other: the hub cannot be reached .*the cache .* has no whole main$/,
  );
});

test("a transfer that is cut three times · continues where it ended", async () => {
  const { server } = await fresh({ cut: { after: 700, times: 3 } });
  await fetchFromHub(NAME);
  const from = transfers(server).map((line) => Number(/from (\d+)$/.exec(line)?.[1] ?? 0));
  assert.equal(from[0], 0);
  assert.ok(from.length === 4 && from.slice(1).every((start, i) => start > from[i]), from.join());
});

test("a server that is cut off for good · a sentence; the next run continues after what it has", async () => {
  const { server, blobs } = await fresh({ cut: { after: 0, times: 99 } });
  await assert.rejects(
    fetchFromHub(NAME),
    (error: DenseNetError) => error instanceof InputError && /cannot be fetched/.test(error.message),
  );
  server.faults = {};
  await fetchFromHub(NAME);
  rmSync(blobs, { recursive: true });
  mkdirSync(blobs);
  writeFileSync(join(blobs, `${MODEL_HASH}.incomplete`), files["model.safetensors"].subarray(0, 1000));
  server.asked.length = 0;
  await fetchFromHub(NAME);
  assert.deepEqual(transfers(server), ["model.safetensors from 1000"]);
});

test("damaged bytes of an earlier attempt · noticed by the hash, fetched again from the start", async () => {
  const { server, blobs } = await fresh();
  await fetchFromHub(NAME);
  rmSync(join(blobs, MODEL_HASH));
  writeFileSync(join(blobs, `${MODEL_HASH}.incomplete`), new Uint8Array(1000).fill(7));
  server.asked.length = 0;
  await fetchFromHub(NAME);
  assert.deepEqual(transfers(server), ["model.safetensors from 1000", "model.safetensors"]);
});

test("a server without ranges · from the start again", async () => {
  const { server, blobs } = await fresh();
  await fetchFromHub(NAME);
  rmSync(join(blobs, MODEL_HASH));
  writeFileSync(join(blobs, `${MODEL_HASH}.incomplete`), files["model.safetensors"].subarray(0, 1000));
  server.faults = { ignoresRange: true };
  server.asked.length = 0;
  await fetchFromHub(NAME);
  assert.deepEqual(transfers(server), ["model.safetensors from 1000", "model.safetensors"]);
});

test("another content once · fetched again; always · a sentence with the hash, and nothing is kept", async () => {
  const { server, blobs } = await fresh({ wrong: 1 });
  await fetchFromHub(NAME);
  rmSync(blobs, { recursive: true });
  server.faults = { wrong: 99 };
  await assert.rejects(
    fetchFromHub(NAME),
    /model\.safetensors: cannot be fetched: its SHA-256 is not the published [0-9a-f]{64}$/,
  );
  assert.equal(readdirSync(blobs).length, 1, "the config alone");
});

test("429 with Retry-After, then 503 · waited for; always · the cache, or a sentence", async () => {
  const { server } = await fresh({ busy: { status: 429, times: 2, retryAfter: "0.1" } });
  const start = performance.now();
  await fetchFromHub(NAME);
  assert.ok(performance.now() - start >= 200);
  server.faults = { busy: { status: 503, times: 99, retryAfter: "0" } };
  assert.match((await fetchFromHub(NAME)).notes[0], /from the cache: the hub answers with status 503$/);
  await assert.rejects(fetchFromHub("hf:timm/other"), /the hub answers with status 503, and the cache/);
});

test("files elsewhere · followed; in a circle · a sentence", async () => {
  const { server, blobs } = await fresh({ redirect: "once" });
  await fetchFromHub(NAME);
  assert.ok(server.asked.includes("GET /elsewhere/model.safetensors"));
  rmSync(blobs, { recursive: true });
  server.faults = { redirect: "loop" };
  await assert.rejects(fetchFromHub(NAME), /^InputError: .*cannot be fetched: redirect count exceeded/);
});

test("a server that says nothing · given up after HF_HUB_DOWNLOAD_TIMEOUT seconds", async () => {
  await fresh({ silent: true });
  await assert.rejects(fetchFromHub(NAME), /the hub cannot be reached \(no answer within 1 s\)/);
});

for (const [what, faults, served, says] of [
  ["a commit that is none", { says: { sha: "../../etc" } }, files, /commit \.\.\/\.\.\/etc, expected 40 hex digits/],
  ["a hash that is none", { says: { oid: "../../x" } }, files, /has config\.json, expected one of model\.safetensors/],
  ["no weights", {}, { "README.md": files["config.json"] }, /has README\.md, expected one of model\.safetensors/],
  [
    "an index that leaves its folder",
    {},
    { "model.safetensors.index.json": Buffer.from('{"weight_map":{"w":"../../../x"}}') },
    /its index names the file \.\.\/\.\.\/\.\.\/x, expected one beside it/,
  ],
  [
    "an index that is no JSON",
    {},
    { "model.safetensors.index.json": Buffer.from("{") },
    /its index cannot be read as JSON/,
  ],
] as readonly (readonly [string, HubFaults, Record<string, Uint8Array>, RegExp])[]) {
  test(`${what} · a sentence`, async () => {
    await fresh(faults, served);
    await assert.rejects(fetchFromHub(NAME), (error: unknown) => {
      assert.ok(error instanceof InputError, String(error));
      assert.match(error.message, says);
      return true;
    });
  });
}

test("a model that is not there · a sentence with the status", async () => {
  await fresh();
  await assert.rejects(
    fetchFromHub("hf:timm/other"),
    /^InputError: hf:timm\/other: the hub has no such model or revision, or it is private \(status 404\)$/,
  );
});

test("a blob in the cache that has changed · VerificationError", async () => {
  const { blobs } = await fresh();
  await fetchFromHub(NAME);
  const blob = join(blobs, MODEL_HASH);
  const bytes = readFileSync(blob);
  bytes[bytes.length - 1] ^= 1;
  writeFileSync(blob, bytes);
  await assert.rejects(
    fetchFromHub(NAME),
    (error: unknown) =>
      error instanceof VerificationError && /is damaged, its hash is not its name; delete it/.test(error.message),
  );
  // Of another size it is fetched again.
  appendFileSync(blob, "x");
  await fetchFromHub(NAME);
});

test("the command · inspect hf:…, exit 3 where the hub has no such model", async () => {
  const { env } = await fresh();
  const found = await densenet(["inspect", NAME], { env });
  assert.equal(found.code, 0, found.stderr);
  assert.match(found.stderr, /fetching timm\/densenet\.small\/model\.safetensors/);
  const missing = await densenet(["predict", "hf:timm/other", "cat.png"], { env });
  assert.equal(missing.code, 3, missing.stderr);
  assert.match(missing.stderr, /^densenet: hf:timm\/other: the hub has no such model .*\n$/);
});
