/** Selectors: which nodes a pass looks at, by source name, by pattern on source names, or by op kind. */

import type { Node } from "../ir/node.ts";

/**
 * Nodes that match one of `targets` and none of `ignore`. A pattern is a source node's name, the name of an op
 * (`matmul`), or `re:` with a regular expression that is searched for in the source names.
 * No targets means every node.
 */
export interface Selector {
  readonly targets: readonly string[];
  readonly ignore: readonly string[];
}

export const everyNode: Selector = { targets: [], ignore: [] };

/** Whether one pattern matches a node. */
export function matchesPattern(pattern: string, node: Node): boolean {
  if (pattern.startsWith("re:")) {
    const expression = compilePattern(pattern);
    return expression !== undefined && node.origin.some((name) => expression.test(name));
  }
  return node.op === pattern || node.origin.includes(pattern);
}

export function selects(selector: Selector, node: Node): boolean {
  const targeted = selector.targets.length === 0 || selector.targets.some((pattern) => matchesPattern(pattern, node));
  return targeted && !selector.ignore.some((pattern) => matchesPattern(pattern, node));
}

/** The regular expression of a `re:` pattern; undefined when it is malformed. */
export function compilePattern(pattern: string): RegExp | undefined {
  try {
    return new RegExp(pattern.slice("re:".length), "u");
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
