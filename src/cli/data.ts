// cli: `densenet data check` — what is wrong with a folder of images, before a network learns it.
import type { Command } from "commander";
import { type CheckedFolder, checkData, classCounts, type DataFinding } from "../analyze/dataCheck.ts";
import { formatInteger, table } from "../analyze/format.ts";
import { dataPage, shownFiles, verdict } from "../analyze/report/dataPage.ts";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import { readForCheck, thumbnails } from "../run/dataCheck.node.ts";
import { BAD_INPUT } from "./exitCodes.ts";
import { examples, jsonOption, settingOption } from "./flags.ts";
import { printJson, printLine, say, toned } from "./output.ts";
import { requireWritable } from "./outputFile.ts";

interface CheckOptions {
  readonly output?: string;
  readonly maxPixels?: number;
  readonly json?: boolean;
}

/** Files that the text names of a finding; --json has all. */
const SHOWN = 5;

export function addData(program: Command): void {
  const data = program
    .command("data")
    .summary("check images before training")
    .description("Checks the images that a network is to learn from.")
    .addHelpText(
      "after",
      examples("densenet data check photos --output check.html", "densenet data check photos --json"),
    );
  data
    .command("check")
    .summary("broken, duplicate, leaked, uneven, tiny and huge images")
    .description(
      "Decodes every image of a folder of classes and says what is broken, there twice (exactly or nearly), in two " +
        "splits or in two classes; which classes are rare or missing; which images are tiny, huge or of another " +
        "format than their name says. Ends with 3 where it finds errors: what training refuses, or an image in two " +
        "classes or splits.",
    )
    .argument("<folder>", "one folder of images per class, or train/<class>/… with val or test beside it")
    .option("-o, --output <file>", "write a page with the images that it is about")
    .addOption(settingOption("data.maxPixels"))
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples(
        "densenet data check photos",
        "densenet data check photos --output check.html",
        "densenet data check photos --json",
      ),
    )
    .action(check);
}

async function check(dir: string, { output, maxPixels, json }: CheckOptions): Promise<void> {
  if (output !== undefined) await requireWritable(output);
  const folder = await readForCheck(dir, { maxPixels, report: say });
  const findings = checkData(folder);
  if (output !== undefined) {
    const shown = await thumbnails(dir, shownFiles(findings));
    await writeFileAtomic(output, dataPage(folder, findings, shown));
    say(`page  ${output}`);
  }
  if (json) {
    const { images, broken, splits } = folder;
    printJson({
      dir,
      images: images.length,
      broken: broken.length,
      splits,
      classes: classCounts(folder),
      verdict: verdict(findings),
      findings,
    });
  } else show(folder, findings);
  if (findings.some(({ grade }) => grade === "error")) process.exitCode = BAD_INPUT;
}

function show(folder: CheckedFolder, findings: readonly DataFinding[]): void {
  const { images, broken, splits } = folder;
  const counts = classCounts(folder);
  const rows = [
    ["class", ...splits.map((split) => (split === "all" ? "images" : split))],
    ...counts.map(({ name, counts: of }) => [name, ...splits.map((split) => formatInteger(of[split] ?? 0))]),
  ];
  const total = `${formatInteger(images.length)} of ${formatInteger(images.length + broken.length)} images decode, in`;
  printLine(
    table(
      rows,
      splits.map((_, at) => at + 1),
    ),
  );
  printLine(`\n${total} ${formatInteger(counts.length)} ${counts.length === 1 ? "class" : "classes"}`);
  for (const { grade, title, advice, groups } of findings) {
    printLine("");
    printLine(title, `${toned(TONES[grade], grade, process.stdout)}: `);
    printLine(`  ${advice}`);
    for (const { files, note } of groups.slice(0, SHOWN)) printLine(`    ${line(files, note)}`);
    const more = groups.length - SHOWN;
    if (more > 0) printLine(`    and ${formatInteger(more)} more; --output and --json have them`);
  }
  printLine(`\n${verdict(findings)}`);
}

const TONES = { error: "red", warning: "bold", note: "dim" } as const;

/** What is wrong with a broken file names it already. */
function line(files: readonly string[], note: string | undefined): string {
  const names = files.join("  =  ");
  if (note === undefined) return names;
  return note.startsWith(names) ? note : `${names}  ${note}`;
}
