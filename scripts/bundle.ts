// The portable subpaths as files that a page imports with no bundler and no import map: dist/browser/NAME.js, whose
// common code lies in chunks beside them, so that a page which imports two of them loads nothing twice. Compute threads
// start from dist/browser/worker.js. dist/browser/page.js is for the pages that `densenet export` writes.
//   node scripts/bundle.ts      after tsc -p tsconfig.build.json
import { rmSync } from "node:fs";
import { build, type Metafile } from "esbuild";

export const browserFolder = "dist/browser";
/** Portable subpaths of the package by the name of their bundle. */
export const portableEntries: Readonly<Record<string, string>> = {
  densenet: "dist/index.js",
  infer: "dist/infer.js",
  settings: "dist/settings.js",
  train: "dist/train.js",
  wasm: "dist/wasm.js",
  webgpu: "dist/webgpu.js",
};

export async function bundle(): Promise<Metafile> {
  rmSync(browserFolder, { recursive: true, force: true });
  const { metafile } = await build({
    entryPoints: { ...portableEntries, worker: "dist/backends/wasm/worker.js" },
    outdir: browserFolder,
    chunkNames: "chunk-[hash]",
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "browser",
    target: "es2024",
    minify: true,
    legalComments: "none",
    metafile: true,
    logLevel: "warning",
  });
  await bundlePage();
  return metafile;
}

/** The page that `export --format html` writes is one file: this script holds everything, its compute thread too. */
async function bundlePage(): Promise<void> {
  const whole = {
    bundle: true,
    format: "esm",
    platform: "browser",
    target: "es2024",
    minify: true,
    legalComments: "none",
    logLevel: "warning",
  } as const;
  const entryPoints = ["dist/backends/wasm/worker.js"];
  const worker = await build({ ...whole, format: "iife", entryPoints, write: false });
  await build({
    ...whole,
    entryPoints: { page: "dist/export/page.js" },
    outdir: browserFolder,
    define: { WORKER_SCRIPT: JSON.stringify(worker.outputFiles[0]?.text) },
  });
}

if (import.meta.main) await bundle();
