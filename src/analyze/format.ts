// analyze: numbers as people read them; the command and the report say the same figure the same way.

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;
const COUNT_UNITS = ["", "K", "M", "G", "T"] as const;

/** 769162 → "769,162". */
export function formatInteger(value: number): string {
  return grouped.format(value);
}

/** Percent with `digits` decimals: 34.12 → "34.1 %". NaN → "–". */
export function formatPercent(percent: number, digits = 1): string {
  return Number.isFinite(percent) ? `${percent.toFixed(digits)} %` : "–";
}

/** Three significant digits of a count with K, M, G, T (powers of 1000): 287.9e6 → "288 M". */
export function formatCount(value: number): string {
  const { number, unit } = scaled(value, 1000, COUNT_UNITS);
  return unit === "" ? number : `${number} ${unit}`;
}

/** Bytes with binary units, three significant digits: 1536 → "1.50 KiB". */
export function formatBytes(bytes: number): string {
  const { number, unit } = scaled(bytes, 1024, BYTE_UNITS);
  return `${number} ${unit}`;
}

/** Seconds as "4.2 s", "3 min 05 s" or "2 h 04 min". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

/** Wilson's 95 % interval of a rate that was observed on `count` independent cases, as [low, high]. */
export function wilsonInterval(rate: number, count: number): readonly [number, number] {
  const z = 1.959964;
  const centre = rate + (z * z) / (2 * count);
  const spread = z * Math.sqrt((rate * (1 - rate)) / count + (z * z) / (4 * count * count));
  const scale = 1 + (z * z) / count;
  return [Math.max(0, (centre - spread) / scale), Math.min(1, (centre + spread) / scale)];
}

/** Columns padded to equal width, two spaces apart; numbers, being right-aligned, are named by their column. */
export function table(rows: readonly (readonly string[])[], rightAligned: readonly number[] = []): string {
  const widths = rows.reduce<number[]>(
    (found, row) => row.map((cell, column) => Math.max(found[column] ?? 0, cell.length)),
    [],
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return rightAligned.includes(column) ? cell.padStart(width) : cell.padEnd(width);
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function scaled<U extends string>(value: number, base: number, units: readonly U[]): { number: string; unit: U } {
  let power = 0;
  let rest = value;
  while (Math.abs(rest) >= base && power < units.length - 1) {
    rest /= base;
    power++;
  }
  const digits = power === 0 || Math.abs(rest) >= 99.95 ? 0 : Math.abs(rest) >= 9.995 ? 1 : 2;
  return { number: rest.toFixed(digits), unit: units[power] as U };
}
