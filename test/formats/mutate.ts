// Test support: seeded damage to a file.

/** Numbers in [0, 1) by Mulberry32: the same for the same seed. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One to four changes: bits, bytes, runs of extreme values, copies from elsewhere, insertions, deletions. */
export function mutated(bytes: Uint8Array, random: () => number): Uint8Array {
  const whole = (below: number): number => Math.floor(random() * below);
  let out = Uint8Array.from(bytes);
  for (let changes = 1 + whole(4); changes > 0 && out.length > 0; changes--) {
    // Half of all changes fall into the first or last tenth, where headers and directories are.
    const zone = random();
    const tenth = Math.max(1, Math.floor(out.length / 10));
    const at = zone < 0.25 ? whole(tenth) : zone < 0.5 ? out.length - 1 - whole(tenth) : whole(out.length);
    const length = Math.min(1 + whole(8), out.length - at);
    switch (whole(7)) {
      case 0:
        out[at] ^= 1 << whole(8);
        break;
      case 1:
        out[at] = whole(256);
        break;
      case 2:
        out.fill(0xff, at, at + length);
        break;
      case 3:
        out.fill(0, at, at + length);
        break;
      case 4:
        out.copyWithin(at, whole(out.length), whole(out.length) + length);
        break;
      case 5: {
        const longer = new Uint8Array(out.length + length);
        longer.set(out.subarray(0, at));
        longer.set(
          Uint8Array.from({ length }, () => whole(256)),
          at,
        );
        longer.set(out.subarray(at), at + length);
        out = longer;
        break;
      }
      default: {
        const shorter = new Uint8Array(out.length - length);
        shorter.set(out.subarray(0, at));
        shorter.set(out.subarray(at + length), at);
        out = shorter;
      }
    }
  }
  return out;
}
