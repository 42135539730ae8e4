// cli: the command as it was given, for pages and reports that say how they were made.

/** With what it needs to be pasted into a POSIX shell. */
export function commandLine(): string {
  return ["densenet", ...process.argv.slice(2)].map(quoted).join(" ");
}

/** A word in quotation marks, where a POSIX shell needs them. */
export function quoted(word: string): string {
  return /^[\p{L}\p{N}_@%+=:,./-]+$/u.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
