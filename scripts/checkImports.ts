// A folder of src/ imports only from folders that stand before it on the line, and portable files never import Node's
// modules.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";

const order = [
  "ops",
  "graph",
  "networks",
  "model",
  "plan",
  "backends",
  "data",
  "checkpoint",
  "hub",
  "formats",
  "train",
  "infer",
  "analyze",
  "export",
  "run",
  "cli",
];
/** Folders in which every file may use Node; elsewhere only files named *.node.ts. */
const nodeFolders = new Set(["cli"]);
const root = "src";

const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
const problems: string[] = [];
let imports = 0;
for (const file of files) {
  const folder = file.includes("/") ? (file.split("/")[0] ?? "") : "";
  const place = order.indexOf(folder);
  if (folder !== "" && place < 0) problems.push(`${root}/${file}: folder ${folder} has no place in the order`);
  const text = readFileSync(join(root, file), "utf8");
  const written = text.matchAll(/(?:^|\n)\s*(?:import|export)\s[^;]*?from\s+"([^"]+)"/g);
  const whenNeeded = text.matchAll(/import\("(\.[^"]+)"\)/g);
  for (const [, target = ""] of [...written, ...whenNeeded]) {
    imports++;
    if (target.startsWith("node:")) {
      const mayUseNode = nodeFolders.has(folder) || file.endsWith(".node.ts") || file === "node.ts";
      if (!mayUseNode) problems.push(`${root}/${file} is portable but imports ${target}`);
      continue;
    }
    if (!target.startsWith(".")) continue;
    const imported = relative(root, normalize(join(root, dirname(file), target)));
    const importedFolder = imported.includes("/") ? (imported.split("/")[0] ?? "") : "";
    if (folder !== "" && importedFolder !== "" && order.indexOf(importedFolder) > place) {
      problems.push(`${root}/${file} imports ${imported}, which stands later on the line`);
    }
    const portable = !nodeFolders.has(folder) && !file.endsWith(".node.ts") && file !== "node.ts";
    if (portable && (imported.endsWith(".node.ts") || imported === "node.ts")) {
      problems.push(`${root}/${file} is portable but imports ${imported}`);
    }
  }
}
for (const problem of problems) process.stderr.write(`${problem}\n`);
process.stdout.write(
  `${imports} imports of ${files.length} files: ${problems.length} against the order ${order.join(" → ")}\n`,
);
process.exitCode = problems.length === 0 ? 0 : 1;
