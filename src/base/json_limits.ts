/**
 * Limits for JSON that other nodes and operators write, checked before it is parsed: leases and the
 * network configuration.
 */

export interface JsonLimits {
  readonly maxBytes: number;
  /** Levels of nested arrays and objects. Functions that traverse the value recurse. */
  readonly maxDepth: number;
}

/**
 * Why a text exceeds the limits, as a predicate: `has 120000 bytes, more than 65536`, or `is nested
 * 60000 levels deep, more than 32`. `undefined` if it is within them; it may still be invalid JSON.
 */
export function jsonLimitProblem(
  text: string,
  { maxBytes, maxDepth }: JsonLimits,
): string | undefined {
  // A UTF-16 code unit takes three bytes of UTF-8 at most.
  const bytes = text.length * 3 > maxBytes ? Buffer.byteLength(text) : 0;
  if (bytes > maxBytes) return `has ${bytes} bytes, more than ${maxBytes}`;
  const depth = jsonDepth(text);
  return depth > maxDepth ? `is nested ${depth} levels deep, more than ${maxDepth}` : undefined;
}

/** The greatest nesting depth of arrays and objects. */
function jsonDepth(text: string): number {
  let [depth, deepest] = [0, 0];
  let isInString = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (isInString) {
      if (code === BACKSLASH) i++;
      else if (code === QUOTE) isInString = false;
    } else if (code === QUOTE) {
      isInString = true;
    } else if (code === OPEN_OBJECT || code === OPEN_ARRAY) {
      if (++depth > deepest) deepest = depth;
    } else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) {
      depth--;
    }
  }
  return deepest;
}

const QUOTE = 0x22;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
