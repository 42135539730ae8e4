// data: the regular files of a .tar.gz. The archive format is modern-tar's; here stand the bounds, so that an archive
// whose headers state nonsense, or that unpacks to gigabytes, ends soon and in a sentence.
import { createGunzip } from "node:zlib";
import { createTarDecoder } from "modern-tar";
import { InputError } from "../errors.ts";

export interface TarLimits {
  /** Bytes that the archive may unpack to. */
  readonly maxBytes: number;
  readonly maxEntries: number;
}

/**
 * Path → content of each file that `wanted` names; the others are passed over unread.
 * @param name what messages call the archive
 * @throws InputError when it does not unpack, is cut off, or exceeds a limit
 */
export async function readTarGz(
  packed: Uint8Array,
  name: string,
  wanted: (path: string) => boolean,
  { maxBytes, maxEntries }: TarLimits,
): Promise<Map<string, Uint8Array>> {
  const archive = streamOf(unpack(packed, name, maxBytes));
  const files = new Map<string, Uint8Array>();
  let entries = 0;
  try {
    for await (const { header, body } of archive.pipeThrough(createTarDecoder({ strict: true }))) {
      entries++;
      if (entries > maxEntries) {
        throw new InputError(`${name}: has more than ${maxEntries} entries`, { file: name, maxEntries });
      }
      // Without this a header's claim would decide how long the rest of the archive is passed over.
      if (header.size > maxBytes) {
        throw new InputError(`${name}: ${header.name} claims ${header.size} bytes, expected at most ${maxBytes}`, {
          file: name,
          bytes: header.size,
        });
      }
      if (header.type === "file" && wanted(header.name)) {
        files.set(header.name, new Uint8Array(await new Response(body).arrayBuffer()));
      } else {
        await body.cancel();
      }
    }
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new InputError(
      `${name}: does not unpack (${why}); expected a .tar.gz as it was published, whole`,
      { file: name, bytes: packed.length },
      { cause },
    );
  }
  return files;
}

async function* unpack(packed: Uint8Array, name: string, maxBytes: number): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const gunzip = createGunzip({ chunkSize: 2 ** 20 });
  gunzip.end(packed);
  let bytes = 0;
  for await (const chunk of gunzip) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new InputError(`${name}: unpacks to more than ${maxBytes} bytes`, { file: name });
    yield chunk;
  }
}

function streamOf<T>(chunks: AsyncGenerator<T>): ReadableStream<T> {
  return new ReadableStream<T>({
    async pull(controller) {
      const { done, value } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await chunks.return(undefined);
    },
  });
}
