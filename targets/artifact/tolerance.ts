/**
 * How far a target's outputs may lie from the evaluator's.
 *
 * A float sum of n terms, in any order, lies within λ·√n·u·Σ|terms| of the exact one with probability of at least
 * 1 - 2 exp(-λ²/2) (u = 2^-24; Higham and Mary 2019, A New Approach to Probabilistic Rounding Error Analysis, theorem
 * 2.4), and so does the evaluator's own: two orders differ by twice that, relative to the terms. Along a path the
 * relative errors add (first order, for steps that do not amplify them). So an output of largest magnitude m may
 * differ by m · 2uλ · Σ √n over the path where that sum is greatest. λ = 6 leaves 3e-8 to chance.
 *
 * Only operations that targets may order or approximate differently count: sums, and functions such as exp. The rest
 * of IEEE 754 arithmetic gives the same bits everywhere.
 *
 * Where float values are rounded to codes, an error may move a value across a rounding boundary: its code then
 * differs by one step, which moves a sum over that vector by at most 1/qmax of the largest that the sum can be. One such
 * code in every rounding along the path, independent of the others, gives √Σ 1/qmax² of the largest output. What
 * follows may amplify such a step; the self test measures that on a slightly moved graph (perturb.ts).
 */

import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import { shapeBound } from "../../compiler/ir/extent.ts";
import type { Node, NodeOf, ValueName } from "../../compiler/ir/node.ts";
import { sizeOf } from "../../compiler/ir/tensor.ts";
import { formatMax } from "../../compiler/numeric/number_format.ts";
import { elementBytes, isFloat } from "../../compiler/numeric/element.ts";
import { parts } from "../../compiler/rewrite/expressions.ts";
import { elementaryFunctions, type Expression, type UnaryOperator } from "../../compiler/ir/expression.ts";
import { schemeOf } from "../../compiler/ir/types.ts";

const unitRoundoff = 2 ** -24;
const confidence = 6;

export interface Deviation {
  /** Σ √n over the path where it is greatest; 0 where a value is exact on every target. */
  readonly roundings: number;
  /** Σ 1/qmax² of the roundings to codes along the path. */
  readonly moved: number;
  /** Whether the value is a choice between others (an index, a comparison), so that near ties may change it whole. */
  readonly choice: boolean;
}

const exact: Deviation = { roundings: 0, moved: 0, choice: false };

export type Deviations = ReadonlyMap<ValueName, Deviation>;

/** The deviation of every value of a graph in one run; `before` is that of the run which left the states behind. */
export function deviations(graph: Graph, before?: Deviations): Deviations {
  const result = new Map<ValueName, Deviation>();
  const held = new Map<string, Deviation>();
  for (const node of graph.nodes) {
    const written = before?.get(node.inputs[0]);
    if (node.op === "writeState" && written !== undefined) held.set(node.attributes.state, written);
  }
  for (const { value } of graph.inputs) result.set(value, exact);
  for (const node of graph.nodes) {
    const deviation = deviationOf(graph, node, (value) => result.get(value) ?? exact, held);
    for (const output of node.outputs) result.set(output, deviation);
  }
  return result;
}

/** Largest |actual - expected| of an output; undefined where no bound holds (choices between inexact values). */
export function toleranceOf(deviation: Deviation, largest: number, isFloatOutput: boolean): number | undefined {
  if (deviation.roundings === 0 && deviation.moved === 0) return 0;
  if (deviation.choice) return undefined;
  const relative = 2 * unitRoundoff * confidence * deviation.roundings + Math.sqrt(deviation.moved);
  // Integers made from floats may round to the next one.
  return isFloatOutput ? Math.max(relative * largest, Number.MIN_VALUE) : Math.max(1, Math.ceil(relative * largest));
}

function deviationOf(
  graph: Graph,
  node: Node,
  of: (value: ValueName) => Deviation,
  held: ReadonlyMap<string, Deviation>,
): Deviation {
  const operands = node.inputs.map(of);
  const base: Deviation = {
    roundings: Math.max(0, ...operands.map(({ roundings }) => roundings)),
    moved: Math.max(0, ...operands.map(({ moved }) => moved)),
    choice: operands.some(({ choice }) => choice),
  };
  if (node.op === "readState") return held.get(node.attributes.state) ?? exact;
  const inexact = base.roundings > 0 || base.moved > 0;
  const output = typeOf(graph, node.outputs[0]);
  if (node.op === "quantize") {
    return inexact ? { ...base, moved: base.moved + formatMax(node.attributes.scheme.format) ** -2 } : base;
  }
  if (node.op === "argReduce" || node.op === "topK" || node.op === "poolIndices") return { ...base, choice: inexact };
  if (output.encoding.kind === "plain" && !isFloat(output.element)) {
    if (output.element === "bool") return { ...base, choice: base.choice || inexact };
    if (node.op !== "map" || !inexact) return base;
    // Codes that a map rounds to: elements of b bits have 2^(b-1) steps on each side of zero at most.
    return { ...base, moved: base.moved + (2 ** (8 * elementBytes(output.element) - 1) - 1) ** -2 };
  }
  return { ...base, roundings: base.roundings + Math.sqrt(ownRoundings(graph, node)) };
}

/** Operations behind one entry of a node's result that targets may order or approximate differently. */
function ownRoundings(graph: Graph, node: Node): number {
  const shape = (value: ValueName) => shapeBound(typeOf(graph, value).shape, graph.symbols);
  const extent = (value: ValueName, axis: number) => {
    const extents = shape(value);
    return extents[axis < 0 ? extents.length + axis : axis];
  };
  switch (node.op) {
    case "map":
      return approximations(node.attributes.expression);
    case "matmul":
      return contractionRoundings(graph, node, extent(node.inputs[0], -1));
    case "conv":
      return contractionRoundings(graph, node, sizeOf(shape(node.inputs[1])) / extent(node.inputs[1], 0));
    case "convTranspose":
      return sizeOf(shape(node.inputs[1])) / extent(node.inputs[1], 1) + 1;
    case "pool":
      return node.attributes.kind === "max" ? 0 : sizeOf(node.attributes.kernel) + 1;
    case "reduce":
      return node.attributes.kind === "max" || node.attributes.kind === "min"
        ? 0
        : node.attributes.axes.reduce((size, axis) => size * extent(node.inputs[0], axis), 1);
    case "softmax":
      return extent(node.inputs[0], node.attributes.axis) + ulpsOfFunctions;
    case "norm":
      return 2 * sizeOf(shape(node.inputs[0]).slice(node.attributes.axis)) + 6;
    case "rope":
      return 3;
    case "attention":
      return extent(node.inputs[0], 3) + 2 * extent(node.inputs[1], 1) + ulpsOfFunctions;
    case "resample":
      return extent(node.inputs[1], 1);
    case "cumulative":
      return extent(node.inputs[0], node.attributes.axis);
    case "recurrent":
      return extent(node.inputs[0], 0) *
        (extent(node.inputs[0], 2) + extent(node.inputs[2], 2) + 2 * ulpsOfFunctions);
    default:
      return 0;
  }
}

/** Bound on the error of exp, erf, ... on any target, in units in the last place. */
const ulpsOfFunctions = 8;

const approximated: ReadonlySet<UnaryOperator> = new Set(elementaryFunctions);

function approximations(expression: Expression): number {
  const inner = parts(expression).reduce((sum, part) => sum + approximations(part), 0);
  const own = (expression.kind === "unary" && approximated.has(expression.operator)) ||
    (expression.kind === "binary" && expression.operator === "pow");
  return own ? inner + ulpsOfFunctions : inner;
}

/** Float sums count every term; of quantized operands only the sum over blocks is float. */
function contractionRoundings(graph: Graph, node: NodeOf<"matmul"> | NodeOf<"conv">, terms: number): number {
  if (node.attributes.result.kind !== "real") return 0;
  const [a, b] = node.inputs.slice(0, 2).map((value) => schemeOf(typeOf(graph, value)));
  if (a === undefined || b === undefined) return terms + 1;
  const sharedBy = Math.min(
    ...[...a.block, ...b.block].map((entry) => (entry === "all" || entry === 1 ? terms : entry)),
  );
  const blocks = Math.ceil(terms / sharedBy);
  return blocks > 1 ? blocks + 1 : 0;
}
