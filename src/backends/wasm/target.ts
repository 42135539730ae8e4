// backends/wasm: what code to write for the machine at hand. The register tile belongs to the target (tile.ts).

/** The instructions that emitted WebAssembly uses. */
export interface Target {
  /** Relaxed SIMD: a multiply-add is one instruction, and on FMA hardware rounded once. */
  readonly relaxedSimd: boolean;
  /** V8 packs adjacent 128-bit operations into 256-bit ones; then the larger tile fits the sixteen registers. */
  readonly revectorized: boolean;
}

/** Output rows × 128-bit vectors of the register tile. */
export interface TileShape {
  readonly rows: number;
  readonly vectors: number;
}

// Measured on one Zen core (2026-11): 6×16 reaches 117 GFLOP/s revectorized and spills to 31 without; 4×8 reaches
// 43–55.
export const tileShape = (target: Target): TileShape =>
  target.revectorized ? { rows: 6, vectors: 4 } : { rows: 4, vectors: 2 };
