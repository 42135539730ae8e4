// Makes a fresh checkout ready: installs the locked packages with their install scripts off, then lets the one package that brings
// Node run its own. Plain JavaScript, because the machine's own Node may be an old one. Does nothing when the lock file has not changed.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const stamp = "node_modules/.setup-of-lock-file";
const wanted = createHash("sha256").update(readFileSync("package-lock.json")).digest("hex");
const ready = existsSync("node_modules/node/bin/node") && existsSync(stamp) && readFileSync(stamp, "utf8") === wanted;
if (!ready) {
  for (const args of [
    // Not `npm ci`: it refuses a lock file without packages for other platforms, which not every registry has. Versions are the locked ones.
    ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
    ["rebuild", "node", "--ignore-scripts=false", "--loglevel=error"],
  ]) {
    process.stderr.write(`npm ${args.join(" ")}\n`);
    const { status } = spawnSync("npm", args, {
      stdio: ["ignore", "ignore", "inherit"],
      shell: process.platform === "win32",
    });
    if (status !== 0) process.exit(status ?? 1);
  }
  writeFileSync(stamp, wanted);
}
