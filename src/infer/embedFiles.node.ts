// infer: in Node, image files → vectors.
import { decodeImage } from "../data/image.node.ts";
import { InputError } from "../errors.ts";
import { type Embedding, embed } from "./embed.ts";
import type { NodeReader } from "./nodeReader.ts";

/** A file's vector, or why it has none. */
export type FileEmbedding =
  | ({ readonly file: string } & Embedding)
  | { readonly file: string; readonly error: InputError };

/** Files decoded and embedded together: what is held in memory at once. */
const AT_ONCE = 64;

/**
 * The vector of each image file, in order; a file that is no image, does not decode or is too large gets an error and
 * keeps no other from its vector.
 * @throws InputError for a network that takes no images of files
 */
export async function* embedFiles(
  reader: NodeReader,
  files: readonly string[],
  options: { readonly maxPixels?: number | undefined } = {},
): AsyncGenerator<FileEmbedding, void, undefined> {
  const { channels, ...size } = reader.inputSize;
  if (channels !== 1 && channels !== 3) {
    throw new InputError(`a network of ${channels} input channels cannot take image files, expected 1 or 3`);
  }
  const decode = async (file: string): Promise<Uint8Array | InputError> => {
    try {
      return await decodeImage(file, { channels, ...size }, options);
    } catch (error) {
      if (error instanceof InputError) return error;
      throw error;
    }
  };
  for (let start = 0; start < files.length; start += AT_ONCE) {
    const some = files.slice(start, start + AT_ONCE);
    const decoded = await Promise.all(some.map(decode));
    const embeddings = await embed(
      reader,
      decoded.filter((image) => image instanceof Uint8Array),
    );
    let next = 0;
    for (const [at, file] of some.entries()) {
      const image = decoded[at];
      yield image instanceof InputError ? { file, error: image } : { file, ...embeddings[next++] };
    }
  }
}
