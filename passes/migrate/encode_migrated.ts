import { equalShapes, type Extent } from "../../compiler/ir/extent.ts";
import { cast } from "../../compiler/ir/expression.ts";
import type { Expression } from "../../compiler/ir/expression.ts";
import { type IntFormat, intFormat } from "../../compiler/numeric/number_format.ts";
import { perTensor, perToken, type QuantScheme } from "../../compiler/numeric/scheme.ts";
import { codesElement, floatTensor, type QuantizedTensor } from "../../compiler/ir/tensor.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { decodedOperand } from "../../compiler/ir/evaluate/operand_rows.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule } from "../../compiler/rewrite/rule.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

/**
 * Turns codes that are held as numbers into codes: after `migrate-quant-step` and `quantize-weights`, an activation that is
 * rounded and clamped to integers meets weights that are codes, and the product runs on integers.
 *
 *   x = min(max(round(u), l), h) in f32   ⇒   x = 1 · code,  code = i8(x)
 *
 * Exact: the numbers are integers within the format. The step of the activation is 1, so the product's only step is the
 * weights' own. Zero points leave through the bias, taken from the weights as they are quantized:
 *
 *   (q - z) · W = q · W - Σ_j z_j W_j,  W_ij = w_i p_ij,  Σ_j z_j p_ij a whole number
 *
 * Where the first rows have steps of their own (a sink), x = step_t · code with one step per row.
 */
export const encodeMigrated = definePass({
  name: "encode-migrated",
  summary: "Hold rounded and clamped activations as integer codes of step 1",
  from: "any",
  to: "any",
  exactness: "exact",
  needs: [],
  options: {},
  run: (graph, scope) => {
    const shifted = sweep(graph, [zerosRule], { selects: scope.selects });
    const encoded = sweep(shifted.graph, [encodeRule, encodeRowsRule], { selects: scope.selects });
    const applied = [...shifted.applied, ...encoded.applied];
    return {
      graph: encoded.graph,
      applied,
      declined: [...shifted.declined, ...encoded.declined],
      metrics: { zeros: shifted.applied.length, encoded: encoded.applied.length },
    };
  },
});

const encodeRule: Rule = {
  name: "encode-migrated",
  rewrite: (node, view) => {
    if (node.op !== "map") return undefined;
    const format = clampedFormat(node.attributes.expression);
    const [value] = node.outputs;
    if (format === undefined || !feedsCodes(value, view)) return undefined;
    const rank = view.typeOf(value).shape.length;
    const scheme: QuantScheme = { format, block: perTensor(rank), step: "f32", zeroPoint: false, range: "static" };
    const patch = new PatchBuilder("encode-migrated", view);
    patch.remove(node);
    const codes = patch.map(cast(codesElement(scheme), node.attributes.expression), node.inputs, {
      name: `${value}.i8`,
    });
    const step = patch.constant(floatTensor(new Array<number>(rank).fill(1), [1]));
    const bundle = patch.add("fromCodes", [codes, step], { scheme, element: "f32" }, { name: `${value}.q` });
    patch.replace(value, bundle, { retyped: true });
    return patched(patch.finish());
  },
};

/** A matmul of codes less constant zero points: the constants move into the bias. */
const zerosRule: Rule = {
  name: "encode-migrated",
  rewrite: (node, view) => {
    if (node.op !== "matmul" || node.attributes.result.kind !== "real") return undefined;
    const [value, weights, ...rest] = node.inputs;
    const shift = view.producer(value);
    if (shift?.op !== "map" || !isDifference(shift.attributes.expression)) return undefined;
    const [codes, zeroValue] = shift.inputs;
    const [zeros, tensor] = [view.constantOf(zeroValue), view.constantOf(weights)];
    if (zeros?.kind !== "plain" || zeros.shape.length !== 1 || tensor?.kind !== "quantized") return undefined;
    const known = node.attributes.hasBias ? view.constantOf(rest[0]) : undefined;
    if (node.attributes.hasBias && known?.kind !== "plain") return declined("its bias is no constant");
    const sums = weightedSums(tensor, Float64Array.from(zeros.data, Number), node.attributes.transposeB);
    const bias = sums.map((sum, row) => (known?.kind === "plain" ? Number(known.data[row]) : 0) - sum);
    const patch = new PatchBuilder("encode-migrated", view);
    patch.remove(node);
    const merged = patch.constant(floatTensor([bias.length], bias), { name: "bias_less_zeros" });
    patch.addAs(node.outputs, "matmul", [codes, weights, merged], { ...node.attributes, hasBias: true });
    return patched(patch.finish());
  },
};

function isDifference(expression: Expression): boolean {
  return expression.kind === "binary" && expression.operator === "sub" && expression.x.kind === "input" &&
    expression.x.index === 0 && expression.y.kind === "input" && expression.y.index === 1;
}

/** Σ_j z_j W_ij of every row i, over the decoded codes in float64. */
function weightedSums(weights: QuantizedTensor, zeros: Float64Array, transposeB: boolean): Float64Array {
  const decoded = decodedOperand(weights);
  const [first, second] = decoded.shape;
  const [rows, depth] = transposeB ? [first, second] : [second, first];
  const sums = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < depth; j++) {
      sums[row] += zeros[j] * Number(decoded.data[transposeB ? row * depth + j : j * rows + row]);
    }
  }
  return sums;
}

/** min(max(round(u), l_t), h_t) · step_t: codes and one step per row. */
const encodeRowsRule: Rule = {
  name: "encode-migrated",
  rewrite: (node, view) => {
    if (node.op !== "map" || !isProduct(node.attributes.expression)) return undefined;
    const [value] = node.outputs;
    const [codesValue, steps] = node.inputs;
    const rounding = view.producer(codesValue);
    if (rounding?.op !== "map" || view.onlyReader(codesValue) !== node) return undefined;
    const { expression } = rounding.attributes;
    const format = clampedFormat(expression);
    const { shape } = view.typeOf(value);
    if (format === undefined || !isRowVector(view.typeOf(steps).shape, shape) || !feedsCodes(value, view)) {
      return undefined;
    }
    const scheme: QuantScheme = {
      format,
      block: perToken(shape.length),
      step: "f32",
      zeroPoint: false,
      range: "static",
    };
    const patch = new PatchBuilder("encode-migrated", view);
    patch.remove(node, rounding);
    const codes = patch.map(cast(codesElement(scheme), expression), rounding.inputs, { name: `${value}.i8` });
    const bundle = patch.add("fromCodes", [codes, steps], { scheme, element: "f32" }, { name: `${value}.q` });
    patch.replace(value, bundle, { retyped: true });
    return patched(patch.finish());
  },
};

function isProduct(expression: Expression): boolean {
  return expression.kind === "binary" && expression.operator === "mul" && expression.x.kind === "input" &&
    expression.x.index === 0 && expression.y.kind === "input" && expression.y.index === 1;
}

/** One entry per row of `shape`. */
function isRowVector(steps: readonly Extent[], shape: readonly Extent[]): boolean {
  return equalShapes(steps, [...shape.slice(0, -1), 1]);
}

function feedsCodes(value: ValueName, view: GraphView): boolean {
  const readers = view.readers(value);
  return !view.isOutput(value) && readers.length > 0 && readers.every((reader) => readsAsCodes(reader, value, view));
}

/** A matmul whose left operand is the value and whose weights are codes. */
function readsAsCodes(node: Node, value: string, view: GraphView): boolean {
  return node.op === "matmul" && node.inputs[0] === value && node.inputs.indexOf(value, 1) < 0 &&
    view.typeOf(node.inputs[1]).encoding.kind === "quantized" && node.attributes.result.kind === "real";
}

/** The signed integer format that min(max(round(u), low), high) fills, in some row at least. */
function clampedFormat(expression: Expression): IntFormat | undefined {
  if (expression.kind !== "binary" || expression.operator !== "min") return undefined;
  const lower = expression.x;
  if (lower.kind !== "binary" || lower.operator !== "max") return undefined;
  if (lower.x.kind !== "unary" || lower.x.operator !== "round") return undefined;
  const [lows, highs] = [limitsOf(lower.y), limitsOf(expression.y)];
  if (lows === undefined || highs === undefined) return undefined;
  const [low, high] = [Math.min(...lows), Math.max(...highs)];
  const bits = Math.log2(high + 1) + 1;
  return Number.isInteger(bits) && bits <= 8 && low === -high - 1 ? intFormat(bits, true) : undefined;
}

/** The values that a limit may take: a literal, or a choice of two. */
function limitsOf(limit: Expression): readonly number[] | undefined {
  if (limit.kind === "literal") return [Number(limit.value)];
  if (limit.kind !== "select" || limit.x.kind !== "literal" || limit.y.kind !== "literal") return undefined;
  return [Number(limit.x.value), Number(limit.y.value)];
}
