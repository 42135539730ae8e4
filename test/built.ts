// Test support: the package as `npm run build` leaves it, for tests of what a user imports. They never build it,
// because they run side by side.
import { globSync, statSync } from "node:fs";

const newest = (pattern: string): number => Math.max(0, ...globSync(pattern).map((file) => statSync(file).mtimeMs));

/** @throws Error where dist/ is missing or older than the sources */
export function requireBuilt(): void {
  if (newest("dist/{index,node}.js") < newest("src/**/*.ts") || newest("dist/browser/densenet.js") === 0) {
    throw new Error("dist/ is older than src/: npm run build first (npm test does)");
  }
}
