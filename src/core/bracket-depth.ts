/**
 * Most brackets that are open at once in YAML; in quotes they count, too. The parser takes a time that grows with depth times
 * length, so who reads a file that somebody else may have written asks first.
 */
export function bracketDepth(text: string): number {
  let [open, most] = [0, 0];
  for (const [bracket] of text.matchAll(/[[\]{}]/gu)) {
    open = Math.max(0, open + (bracket === "[" || bracket === "{" ? 1 : -1));
    most = Math.max(most, open);
  }
  return most;
}
