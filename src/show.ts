// Values from outside as they stand in a message, short whatever they are.

const LONGEST = 80;

/** JSON where there is any; a missing value is "nothing". */
export function show(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" && typeof value !== "string") return String(value);
  let text: string;
  try {
    text = JSON.stringify(value);
  } catch {
    text = "an object that is not JSON";
  }
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** The first few of many names: "a, b, c and 12 more". */
export function showSome(names: readonly string[], most = 3): string {
  const more = names.length - most;
  return names.slice(0, most).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
