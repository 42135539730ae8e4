// What the checks in a browser share: an installed Chromium, and a server of built files to it.
import { existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { type Browser, chromium } from "playwright-core";

export function chromiumPath(): string | undefined {
  return ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path));
}

/** @throws Error where no Chromium is installed */
export async function openChromium(): Promise<Browser> {
  const executablePath = chromiumPath();
  if (!executablePath) throw new Error("no Chromium found in /usr/bin; install Debian's package chromium");
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      // Chromium's own Vulkan on the CPU, so that WebGPU is there on any machine.
      "--enable-unsafe-webgpu",
      "--use-webgpu-adapter=swiftshader",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

const types: Readonly<Record<string, string>> = { ".js": "text/javascript", ".html": "text/html", ".png": "image/png" };

/**
 * How a page is served: alone in its process, so that it gets shared memory; the same without the header on worker
 * scripts; or as any other page.
 */
export const servings = ["isolated", "unmarked-worker", "plain"] as const;
export type Serving = (typeof servings)[number];

export interface FileServer {
  /** Of a page or file under a way of serving, e.g. url("plain", "infer.js"). */
  url(serving: Serving, path: string): string;
  close(): void;
}

/**
 * Serves the files of `folder` under /isolated/, /unmarked-worker/ and /plain/; the folder of each is an empty page.
 */
export async function serveFolder(folder: string): Promise<FileServer> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const [, serving = "", ...rest] = normalize(pathname).split("/");
    const path = rest.join("/");
    const headers: Record<string, string> = { "content-type": types[extname(path)] ?? "text/html" };
    if (serving !== "plain") {
      headers["cross-origin-opener-policy"] = "same-origin";
      if (serving === "isolated" || path !== "worker.js") headers["cross-origin-embedder-policy"] = "require-corp";
    }
    if (path === "") return response.writeHead(200, headers).end("<!doctype html><title>densenet</title>");
    const file = join(folder, path);
    if (!existsSync(file) || !statSync(file).isFile()) return response.writeHead(404).end();
    return response.writeHead(200, headers).end(readFileSync(file));
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: (serving, path) => `http://127.0.0.1:${port}/${serving}/${path}`,
    close: () => server.close(),
  };
}
