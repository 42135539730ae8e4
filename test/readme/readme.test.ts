// The README shows only what runs: its code blocks are executed against the built package, its commands are parsed by
// the command.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { requireBuilt } from "../built.ts";

const readme = readFileSync("README.md", "utf8");
const blocks = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code);
const commands = [...readme.matchAll(/^ {4}densenet (.+?)(?:\s{2,}#.*)?$/gm)].map(([, line]) => line.trim());

/** Where runs go that nobody names a folder for. */
const runs = (): string[] => (existsSync("runs") ? readdirSync("runs") : []);

describe("README", () => {
  before(requireBuilt);

  for (const [index, code] of blocks.entries()) {
    test(`code block ${index + 1} runs`, () => {
      // Inside the package, so that it resolves the name "densenet" as its own.
      const folder = mkdtempSync(join("test/readme", ".block-"));
      const before = runs();
      try {
        const file = join(folder, "example.ts");
        writeFileSync(file, code);
        const { status, stdout, stderr } = spawnSync(process.execPath, [file], { encoding: "utf8" });
        assert.equal(status, 0, stderr);
        const expected = [/test error \d+\.\d %[\s\S]*score/, /^769162 28\d{7}\n\d+ kernel calls, .*\n\d+ MB/];
        assert.match(stdout, expected[index]);
      } finally {
        rmSync(folder, { recursive: true, force: true });
        for (const run of runs().filter((name) => !before.includes(name)))
          rmSync(join("runs", run), { recursive: true });
      }
    });
  }

  test("names commands that exist, with options that exist", () => {
    assert.ok(commands.length >= 8);
    for (const command of commands) {
      const words = command.replace("assets/samples/*.png", "assets/samples/cat-1.png").split(/\s+/);
      const verb = words[0];
      const help = spawnSync(process.execPath, ["src/cli/main.ts", verb, "--help"], { encoding: "utf8" });
      assert.equal(help.status, 0, `densenet ${verb} --help`);
      for (const word of words.filter((part) => part.startsWith("--"))) {
        assert.ok(help.stdout.includes(word), `densenet ${verb} knows ${word}`);
      }
    }
  });

  test("names a stand-in for the command that works in the clone", () => {
    const [, line = ""] = /In the clone, `(npm run [^`]+)` stands for `densenet`/.exec(readme) ?? [];
    const { status, stdout, stderr } = spawnSync("sh", ["-c", `${line} inspect BC-100-12 --json`], {
      encoding: "utf8",
    });
    assert.equal(status, 0, stderr);
    assert.equal(JSON.parse(stdout).params, 769_162);
  });

  test("names files that exist", () => {
    const links = [...readme.matchAll(/\]\(((?!http)[^)]+)\)/g)].map(([, target]) => target);
    assert.ok(links.length >= 3);
    for (const link of links) assert.ok(existsSync(link), link);
  });
});
