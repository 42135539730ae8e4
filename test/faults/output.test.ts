// A full disk or a reader that is gone behind stdout or stderr: output that is lost ends the command with 5 and a sentence, a reader that left with 0,
// and neither keeps a run from being saved.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { densenet, entry, start } from "../cli/command.ts";
import { makeImages, tinyConfig } from "../cli/images.ts";

interface Outcome {
  readonly code: number | null;
  readonly stderr: string;
}

let folder = "";
let run = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "densenet-output-"));
  const data = join(folder, "images");
  run = join(folder, "run");
  await makeImages(data, 8);
  for (const epochs of [1, 500]) {
    await writeFile(join(folder, `${epochs}.json`), JSON.stringify(tinyConfig(data, epochs)));
  }
  await densenet(["train", "--config", join(folder, "1.json"), "--output", run]);
});
after(() => rm(folder, { recursive: true }));

/** The command in a shell that leads its output elsewhere: `>/dev/full`. */
function redirected(args: readonly string[], where: string): Promise<Outcome> {
  const child = spawn("sh", ["-c", `"$0" "$@" ${where}`, process.execPath, entry, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  child.stdout.resume();
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stderr }));
  });
}

const files = async (path: string): Promise<string[]> => readdir(path).catch(() => []);

describe("a full device behind the output", { skip: process.platform !== "linux" }, () => {
  const commands = (): readonly (readonly string[])[] => [
    ["--help"],
    ["--version"],
    ["train", "--help"],
    ["train", "--print-config"],
    ["train", "--print-config", "--json"],
    ["train", "--resume", run],
    ["eval", run],
    ["eval", run, "--json"],
    ["predict", run, join(folder, "images", "red", "0.png")],
    ["predict", run, join(folder, "images", "red", "0.png"), "--json"],
    ["inspect", "BC-40-12"],
    ["inspect", "BC-40-12", "--plan", "--json"],
    ["doctor", "--threads", "1"],
    ["doctor", "--threads", "1", "--json"],
  ];

  test("of stdout · whatever the verb, exit 5 and a sentence, no stack", async (context) => {
    for (const args of commands()) {
      const { code, stderr } = await redirected(args, ">/dev/full");
      assert.equal(code, 5, `${args.join(" ")}: ${stderr}`);
      assert.match(stderr, /^densenet: stdout: the output could not be written \(ENOSPC/m, args.join(" "));
      // Frames of our own code and Node's; a graphics library may print one of its own (….cpp).
      assert.doesNotMatch(stderr, /\n +at .*(\.[jt]s|node:)/);
    }
    context.diagnostic(`${commands().length} commands, each exit 5`);
  });

  test("of stdout · a failure keeps its own code", async () => {
    assert.equal((await redirected(["eval", join(folder, "nowhere"), "--json"], ">/dev/full")).code, 3);
  });

  test("of stdout in mid-run · the run finishes its step, saves and ends with 5", async () => {
    const output = join(folder, "events");
    const args = ["train", "--config", join(folder, "500.json"), "--output", output, "--json"];
    const { code, stderr } = await redirected(args, ">/dev/full");
    assert.equal(code, 5, stderr);
    assert.match(stderr, /^stopped after step \d+ and saved; go on with: densenet train --resume /m);
    assert.ok((await files(join(output, "checkpoints"))).includes("last.json"));
  });

  for (const [what, where] of [
    ["full", "2>/dev/full"],
    ["closed", "2>&-"],
    ["a pipe that nobody reads", "2>&1 >/dev/null | true; exit 0"],
  ] as const) {
    test(`of stderr, ${what} · the run ends as it would and is saved`, async () => {
      const output = join(folder, `stderr ${what}`);
      const args = ["train", "--config", join(folder, "1.json"), "--output", output];
      const { code } = await redirected(args, where);
      assert.equal(code, 0);
      assert.match(await readFile(join(output, "report.html"), "utf8"), /Training finished/);
      assert.ok((await files(join(output, "checkpoints"))).includes("last.json"));
    });
  }

  test("of stderr · a signal still saves the run", async () => {
    const output = join(folder, "signal");
    const args = ["train", "--config", join(folder, "500.json"), "--output", output, "--json"];
    const child = spawn("sh", ["-c", `exec "$0" "$@" 2>/dev/full`, process.execPath, entry, ...args], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    let seen = "";
    child.stdout.on("data", (text: Buffer) => {
      if (!seen.includes('"step":3,')) child.kill(`${seen}${text}`.includes('"step":3,') ? "SIGTERM" : 0);
      seen += text.toString();
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    assert.equal(code, 143);
    assert.match(seen, /"type":"interrupted"/);
    assert.ok((await files(join(output, "checkpoints"))).includes("last.json"));
  });
});

test("a reader of stdout that goes away · exit 0, also where a report is long", async () => {
  const { child, done } = start(["inspect", "BC-100-12", "--plan"]);
  child.stdout?.once("data", () => child.stdout?.destroy());
  const { code, stderr } = await done;
  assert.deepEqual([code, stderr], [0, ""]);
});
