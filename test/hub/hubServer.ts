// Test support: a server that speaks as much of the Hugging Face hub's API as fetching takes, and fails on demand.
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface HubFaults {
  /** Connections that transfer weights are cut after so many bytes, this many times. */
  cut?: { after: number; times: number };
  /** Other weights than were published are sent, this many times. */
  wrong?: number;
  /** Requests that get this status before one is answered. */
  busy?: { status: number; times: number; retryAfter?: string };
  /** Files lie elsewhere: `once`, or a loop that never ends. */
  redirect?: "once" | "loop";
  /** Answers requests for parts with the whole. */
  ignoresRange?: boolean;
  /** Accepts and says nothing. */
  silent?: boolean;
  /** Another commit or hash in the answers. */
  says?: { sha?: string; oid?: string };
}

export interface HubServer {
  readonly url: string;
  readonly sha: string;
  /** What was asked, in order, such as `GET /api/models/…` and `GET /… bytes=7-`. */
  readonly asked: string[];
  faults: HubFaults;
  close(): Promise<void>;
}

/** Serves `files` as the model `repo`, in one commit on `main`. */
export async function serveHub(repo: string, files: Readonly<Record<string, Uint8Array>>): Promise<HubServer> {
  const sha = createHash("sha1").update(Object.keys(files).join()).digest("hex");
  const asked: string[] = [];
  const state: HubServer = {
    url: "",
    sha,
    asked,
    faults: {},
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  const json = (response: ServerResponse, value: unknown): void => {
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(value));
  };
  const entry = ([path, bytes]: [string, Uint8Array]): unknown => {
    // Text lies in git, the rest in large file storage.
    const git = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
    const oid = state.faults.says?.oid ?? createHash("sha256").update(bytes).digest("hex");
    const lfs = { oid, size: bytes.length, pointerSize: 130 };
    return { type: "file", path, size: bytes.length, oid: git, ...(path.endsWith(".json") ? {} : { lfs }) };
  };
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    const { pathname } = new URL(request.url ?? "", "http://localhost");
    const range = /^bytes=(\d+)-/.exec(request.headers.range ?? "");
    asked.push(`GET ${pathname}${range === null ? "" : ` from ${range[1]}`}`);
    const { faults } = state;
    if (faults.silent) return;
    if (faults.busy !== undefined && faults.busy.times-- > 0) {
      if (faults.busy.retryAfter !== undefined) response.setHeader("Retry-After", faults.busy.retryAfter);
      response.statusCode = faults.busy.status;
      response.end();
      return;
    }
    if (pathname === `/api/models/${repo}/revision/main` || pathname === `/api/models/${repo}/revision/${sha}`) {
      json(response, {
        _id: "1",
        id: repo,
        sha: faults.says?.sha ?? sha,
        downloads: 1,
        likes: 1,
        private: false,
        gated: false,
      });
      return;
    }
    if (pathname === `/api/models/${repo}/tree/${sha}`) {
      json(response, Object.entries(files).map(entry));
      return;
    }
    const [, name = ""] = new RegExp(`^(?:/${repo}/resolve/${sha}|/elsewhere)/(.+)$`).exec(pathname) ?? [];
    const content = files[name];
    if (content === undefined) {
      response.statusCode = 404;
      json(response, { error: "Repository not found" });
      return;
    }
    if (faults.redirect === "loop" || (faults.redirect === "once" && !pathname.startsWith("/elsewhere"))) {
      response.statusCode = 302;
      response.setHeader("Location", `/elsewhere/${name}`);
      response.end();
      return;
    }
    const start = range === null || faults.ignoresRange ? 0 : Number(range[1]);
    const isWeights = !name.endsWith(".json");
    const isWrong = isWeights && faults.wrong !== undefined && faults.wrong-- > 0;
    const body = Buffer.from(content.subarray(start));
    if (isWrong) body[body.length - 1] ^= 1;
    response.statusCode = start > 0 ? 206 : 200;
    response.setHeader("Content-Length", body.length);
    if (start > 0) response.setHeader("Content-Range", `bytes ${start}-${content.length - 1}/${content.length}`);
    if (isWeights && faults.cut !== undefined && faults.cut.times > 0 && body.length > faults.cut.after) {
      faults.cut.times--;
      response.write(body.subarray(0, faults.cut.after), () => setTimeout(() => request.socket.destroy(), 50));
      return;
    }
    response.end(body);
  };
  const server = createServer(handle);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return Object.assign(state, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
}
