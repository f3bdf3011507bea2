/** Regions: what one kernel computes. A main node, with the elementwise nodes that run on its result before it is stored. */

import type { Expression } from "../compiler/ir/expression.ts";
import type { Node, ValueName } from "../compiler/ir/node.ts";

/**
 * Elementwise work on the main node's output: input 0 of `expression` is that output, input i + 1 is `operands[i]`,
 * which broadcasts to its shape. The region's result is the expression's value, plain, of the same shape.
 */
export interface Epilogue {
  readonly expression: Expression;
  readonly operands: readonly ValueName[];
  /** The fused map nodes, for origins. */
  readonly nodes: readonly Node[];
  readonly output: ValueName;
}

export interface Region {
  readonly main: Node;
  readonly epilogue?: Epilogue;
}

/** Values that a region writes, first output first. */
export function regionOutputs(region: Region): readonly ValueName[] {
  return region.epilogue === undefined ? region.main.outputs : [region.epilogue.output];
}

/** Values that a region reads, each once. */
export function regionInputs(region: Region): readonly ValueName[] {
  return [...new Set([...region.main.inputs, ...region.epilogue?.operands ?? []])];
}

/** Names of the source nodes behind a region, each once, main first. */
export function regionOrigin(region: Region): readonly string[] {
  return [...new Set([region.main, ...region.epilogue?.nodes ?? []].flatMap((node) => node.origin))];
}
