/** Bytes on disk by number format. */

import type { Graph } from "../../compiler/ir/graph.ts";
import { producers, typeOf } from "../../compiler/ir/graph.ts";
import { sizeOf } from "../../compiler/ir/tensor.ts";
import { schemeOf } from "../../compiler/ir/types.ts";
import { formatName } from "../../compiler/numeric/number_format.ts";
import type { WeightEntry } from "../target.ts";

export interface FormatRow {
  /** `int4`, `e4m3fn`, or the element of a plain tensor. */
  readonly format: string;
  readonly tensors: number;
  /** Numbers that the tensors stand for; a constant that is stored twice counts once. */
  readonly parameters: number;
  /** Bytes in weights.bin, steps and zero points included. */
  readonly bytes: number;
}

export interface Sizes {
  readonly formats: readonly FormatRow[];
  readonly parameters: number;
  readonly weightBytes: number;
  readonly bitsPerWeight: number;
}

/** Sums weights by the format of their numbers. Padding between tensors is not counted. */
export function sizesOf(graph: Graph, weights: readonly WeightEntry[]): Sizes {
  const made = producers(graph);
  const rows = new Map<string, { tensors: Set<string>; parameters: number; bytes: number }>();
  for (const { value, bytes } of weights) {
    const type = typeOf(graph, value);
    const node = made.get(value);
    // Steps and zero points of an activation lie in weights.bin too, but its codes do not: it holds no parameters.
    const isConstant = node?.op === "constant";
    const scheme = isConstant ? schemeOf(type) : undefined;
    const format = scheme === undefined ? type.element : formatName(scheme.format);
    const row = rows.get(format) ?? { tensors: new Set<string>(), parameters: 0, bytes: 0 };
    rows.set(format, row);
    const identity = isConstant ? node.attributes.hash : value;
    if (isConstant && !row.tensors.has(identity)) row.parameters += sizeOf(type.shape.map(Number));
    row.tensors.add(identity);
    row.bytes += bytes.byteLength;
  }
  const formats = [...rows].map(([format, row]) => ({ ...row, format, tensors: row.tensors.size }))
    .sort((a, b) => b.bytes - a.bytes || (a.format < b.format ? -1 : 1))
    .map(({ format, tensors, parameters, bytes }) => ({ format, tensors, parameters, bytes }));
  const parameters = formats.reduce((sum, row) => sum + row.parameters, 0);
  const weightBytes = formats.reduce((sum, row) => sum + row.bytes, 0);
  return { formats, parameters, weightBytes, bitsPerWeight: parameters === 0 ? 0 : (8 * weightBytes) / parameters };
}
