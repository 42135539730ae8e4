// cli: `densenet paper` — the paper's tables and figures beside what was measured here.
import type { Command } from "commander";
import { paperDocument } from "../analyze/paper/document.ts";
import { renderPaper } from "../analyze/paper/page.ts";
import { readResults } from "../analyze/paper/results.node.ts";
import { paperText } from "../analyze/paper/terminal.ts";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import { examples, jsonOption } from "./flags.ts";
import { printJson, printLine, say } from "./output.ts";
import { requireWritable } from "./outputFile.ts";

export function addPaper(program: Command): void {
  program
    .command("paper")
    .summary("the paper's tables and figures beside what was measured here")
    .description(
      "Tables 1 to 3 and figures 1 to 5 of the DenseNet paper with our figures beside them and how each was made, from " +
        "the runs that the package keeps in results/: as text, as one self-contained page, or as JSON.",
    )
    .option("-o, --output <file>", "write the page, an HTML file, in place of the text")
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples("densenet paper | less -S", "densenet paper --output paper.html", "densenet paper --json"),
    )
    .action(paper);
}

async function paper({ output, json }: { readonly output?: string; readonly json?: boolean }): Promise<void> {
  if (output !== undefined) await requireWritable(output);
  const document = paperDocument(await readResults());
  if (output !== undefined) {
    await writeFileAtomic(output, renderPaper(document));
    say(`${output}: the page`);
  }
  if (json) printJson(document);
  else if (output === undefined) printLine(paperText(document));
}
