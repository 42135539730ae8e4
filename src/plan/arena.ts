// plan: buffers whose lifetimes do not overlap share memory. Largest first, each at the lowest offset where it fits
// (greedy by size, as in Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).

export interface Lifetime {
  readonly name: string;
  readonly bytes: number;
  readonly birth: number;
  readonly death: number;
}

export interface Layout {
  readonly offsets: ReadonlyMap<string, number>;
  readonly bytes: number;
}

/** A cache line; also what a 256-bit load likes. */
export const alignment = 64;
export const aligned = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;

/** Offsets such that no two buffers that live at the same call overlap. Same input, same layout. */
export function layOut(lifetimes: readonly Lifetime[]): Layout {
  const placed: { offset: number; end: number; birth: number; death: number }[] = [];
  const offsets = new Map<string, number>();
  const bySize = [...lifetimes].sort((a, b) => b.bytes - a.bytes || a.birth - b.birth || (a.name < b.name ? -1 : 1));
  let bytes = 0;
  for (const { name, bytes: size, birth, death } of bySize) {
    const neighbours = placed
      .filter((other) => other.birth <= death && birth <= other.death)
      .sort((a, b) => a.offset - b.offset);
    let offset = 0;
    for (const other of neighbours) {
      if (offset + size <= other.offset) break;
      offset = Math.max(offset, aligned(other.end));
    }
    placed.push({ offset, end: offset + size, birth, death });
    offsets.set(name, offset);
    bytes = Math.max(bytes, aligned(offset + size));
  }
  return { offsets, bytes };
}
