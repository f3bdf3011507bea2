/** Merges of a SentencePiece BPE vocabulary, which stores scores of pieces instead. */

/** Longer pieces take no part: no real vocabulary has them, and their splits grow with the square of the length. */
const longestPiece = 256;

/** ggml's types of tokens that merging can make: normal and user-defined. */
const mergeableTypes: ReadonlySet<number> = new Set([1, 4]);

/**
 * Every way to put a piece together from two pieces, best score first; ties prefer the longer left part, then the longer
 * right part. A BPE tokenizer that applies these by rank makes SentencePiece's choices.
 */
export function sentencePieceMerges(
  tokens: readonly string[],
  types: readonly number[],
  scores: readonly number[],
): readonly (readonly [string, string])[] {
  const known = new Set(tokens);
  const merges: { readonly left: string; readonly right: string; readonly score: number; readonly split: number }[] =
    [];
  tokens.forEach((token, id) => {
    if (!mergeableTypes.has(types[id])) return;
    const characters = Array.from(token);
    if (characters.length < 2 || characters.length > longestPiece) return;
    for (let split = characters.length - 1; split > 0; split--) {
      const left = characters.slice(0, split).join("");
      const right = characters.slice(split).join("");
      if (known.has(left) && known.has(right)) merges.push({ left, right, score: scores[id], split });
    }
  });
  // Sorting is stable, so splits of one piece stay longest left part first.
  merges.sort((a, b) => b.score - a.score);
  return merges.map(({ left, right }) => [left, right]);
}
