// export: whether a network survives the way through every pair of formats. Each format is written, read again, written
// as each other one and read once more; what comes out must be the network to the bit.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { UsageError } from "../errors.ts";
import { type ExportFormatName, exportFormatNames } from "./export.ts";
import { readExport } from "./readExport.node.ts";
import { writeExport } from "./write.node.ts";

export interface RoundTrip {
  readonly from: ExportFormatName;
  readonly to: ExportFormatName;
  /** Numbers, of all parameters and running statistics, that came out another. */
  readonly changed: number;
  /** Whether labels and preprocessing came out as they were. */
  readonly described: boolean;
}

/** What a pair of formats did to the network, for all pairs; and the formats that cannot hold it, with the reason. */
export async function roundTrips(trained: TrainedModel): Promise<{
  readonly trips: readonly RoundTrip[];
  readonly refused: readonly { readonly format: ExportFormatName; readonly why: string }[];
}> {
  const folder = await mkdtemp(join(tmpdir(), "densenet-convert-"));
  const trips: RoundTrip[] = [];
  const refused: { format: ExportFormatName; why: string }[] = [];
  try {
    const fitting: ExportFormatName[] = [];
    for (const from of exportFormatNames) {
      try {
        await writeExport(trained, join(folder, from), from);
        fitting.push(from);
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        refused.push({ format: from, why: error.message });
      }
    }
    for (const from of fitting) {
      const first = await readExport(join(folder, from), from);
      for (const to of fitting) {
        const place = join(folder, `${from}-${to}`);
        await writeExport(first, place, to);
        trips.push({ from, to, ...compared(trained, await readExport(place, to)) });
        await rm(place, { recursive: true });
      }
    }
    return { trips, refused };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function compared(before: TrainedModel, after: TrainedModel): Pick<RoundTrip, "changed" | "described"> {
  let changed = 0;
  for (const [path, { data }] of before.model.state) {
    const found = after.model.state.get(path)?.data;
    // As bits: 0 and −0 are two.
    for (let i = 0; i < data.length; i++) if (found === undefined || !Object.is(data[i], found[i])) changed++;
  }
  const facts = ({ model: _, ...rest }: TrainedModel): string => JSON.stringify(rest);
  return { changed, described: facts(before) === facts(after) };
}
