// data: the regular files of a tar archive (POSIX ustar), as views into it. Portable.
import { InputError } from "../errors.ts";

const BLOCK = 512;

/**
 * Path → content. @throws InputError when the archive is cut off or its headers do not add up; `name` is what the
 * message calls it.
 */
export function readTar(archive: Uint8Array, name: string): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  let at = 0;
  while (at + BLOCK <= archive.length) {
    const header = archive.subarray(at, at + BLOCK);
    if (header.every((byte) => byte === 0)) return files;
    if (checksum(header) !== octal(header, 148, 8)) {
      throw new InputError(`${name}: byte ${at} is not a tar header; expected the original archive, unchanged`, {
        file: name,
        at,
      });
    }
    const size = octal(header, 124, 12);
    const content = at + BLOCK;
    if (content + size > archive.length) {
      throw new InputError(
        `${name}: ${text(header, 0, 100)} ends after ${archive.length - content} of its ${size} bytes; the archive is cut off`,
        { file: name, found: archive.length - content, expected: size },
      );
    }
    const type = header[156];
    const prefix = text(header, 257, 5) === "ustar" ? text(header, 345, 155) : "";
    // "0" or NUL: a regular file. Directories and extended headers carry nothing that is needed here.
    if (type === 0x30 || type === 0) {
      files.set((prefix === "" ? "" : `${prefix}/`) + text(header, 0, 100), archive.subarray(content, content + size));
    }
    at = content + Math.ceil(size / BLOCK) * BLOCK;
  }
  throw new InputError(
    `${name}: the archive ends after ${archive.length} bytes without its closing blocks; it is cut off`,
    {
      file: name,
      found: archive.length,
    },
  );
}

function text(header: Uint8Array, offset: number, length: number): string {
  const field = header.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}

function octal(header: Uint8Array, offset: number, length: number): number {
  return Number.parseInt(text(header, offset, length).trim(), 8);
}

/** Sum of the header's bytes with its own field read as spaces. */
function checksum(header: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 0x20 : header[i];
  return sum;
}
