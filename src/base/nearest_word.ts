/** Suggestions for misspelled flags, configuration keys, backends and interfaces. */

/**
 * The candidate with the smallest edit distance from `word`, ignoring case; the first one if
 * several are equally near. `undefined` if all need more than `maxEdits`, by default a third of the
 * word's length.
 */
export function nearestWord(
  word: string,
  candidates: readonly string[],
  maxEdits: number = Math.floor(word.length / 3),
): string | undefined {
  if (word.length > MAX_WORD) return undefined;
  let best: string | undefined;
  let bestDistance = Infinity;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance <= maxEdits && distance < bestDistance) {
      [best, bestDistance] = [candidate, distance];
    }
  }
  return best;
}

/** Longer than any known word, even if it is misspelled. */
const MAX_WORD = 100;

/** Levenshtein distance: the insertions, deletions and substitutions between two words. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const substitution = (row[j - 1] as number) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[to.length] as number;
}
