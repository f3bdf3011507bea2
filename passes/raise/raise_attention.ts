import { equalExtents, equalShapes, type Extent, isStatic } from "../../compiler/ir/extent.ts";
import type { Expression } from "../../compiler/ir/expression.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { broadcastShapes } from "../../compiler/ir/type_rules.ts";
import { inlineMap, type OpenMap } from "../../compiler/rewrite/expressions.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule, type RuleResult } from "../../compiler/rewrite/rule.ts";
import { rules } from "../../compiler/rewrite/drive.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";
import { isLeaf, literalValue, normalized, readsInput } from "./composed_map.ts";

type Matmul = Extract<Node, { readonly op: "matmul" }>;

/** What stands between q·k and the softmax: a factor, and a mask that is added. */
interface Scores {
  readonly product: Matmul;
  readonly scale: number;
  readonly mask?: ValueName;
  readonly chain: readonly Node[];
}

/** softmax(scale * q·kᵀ + mask)·v over batches of matrices. */
const raiseProduct: Rule = {
  name: "raise-attention",
  rewrite: (node, view) => {
    if (node.op !== "matmul" || !isPlainProduct(node, view)) return undefined;
    const softmax = view.producer(node.inputs[0]);
    if (softmax?.op !== "softmax") return undefined;
    const { shape } = view.typeOf(softmax.outputs[0]);
    if (softmax.attributes.axis !== shape.length - 1) return declined("the softmax is not over the last axis");
    if (view.onlyReader(softmax.outputs[0]) !== node) return declined("the attention weights have other readers");
    const scores = scoresBehind(softmax, view);
    if (typeof scores === "string") return declined(scores);
    if (node.attributes.transposeB) return declined("the values are transposed");
    return raised(node, softmax, scores, view);
  },
};

function isPlainProduct(node: Matmul, view: GraphView): boolean {
  return node.attributes.result.kind === "real" && !node.attributes.hasBias &&
    node.inputs.every((value) => {
      const type = view.typeOf(value);
      return type.element === "f32" && type.encoding.kind === "plain" && view.constantOf(value) === undefined;
    });
}

/** Follows the softmax's operand back through elementwise nodes to the product of queries and keys. */
function scoresBehind(softmax: Node, view: GraphView): Scores | string {
  let [value] = softmax.inputs;
  let reader = softmax;
  const chain: Node[] = [];
  let open: OpenMap | undefined;
  for (;;) {
    const producer = view.producer(value);
    if (view.onlyReader(value) !== reader || producer === undefined) return "the scores have other readers";
    if (producer.op === "matmul") {
      if (!isPlainProduct(producer, view)) return "the scores are not a product of two activations";
      const form = open === undefined ? { scale: 1 } : scoreForm(open, value, view);
      return typeof form === "string" ? form : { product: producer, chain, ...form };
    }
    if (producer.op !== "map") return `the scores come from ${producer.op}`;
    const next: OpenMap = { expression: producer.attributes.expression, inputs: producer.inputs };
    open = open === undefined ? next : inlineMap(open, open.inputs.indexOf(value), next);
    chain.push(producer);
    reader = producer;
    const back = producer.inputs.filter((input) => leadsToProduct(input, view));
    if (back.length !== 1) return "the scores are not one product, scaled and masked";
    [value] = back;
  }
}

function leadsToProduct(value: ValueName, view: GraphView, depth = 0): boolean {
  const producer = view.producer(value);
  if (producer?.op === "matmul") return isPlainProduct(producer, view);
  return producer?.op === "map" && depth < 4 && producer.inputs.some((input) => leadsToProduct(input, view, depth + 1));
}

function scoreForm(
  open: OpenMap,
  product: ValueName,
  view: GraphView,
): { readonly scale: number; readonly mask?: ValueName } | string {
  const index = open.inputs.indexOf(product);
  const expression = normalized(open.expression);
  const scale = scaleOf(expression, index);
  if (scale !== undefined) return { scale };
  if (expression.kind !== "binary" || expression.operator !== "add") {
    return "the scores are not one product, scaled and masked";
  }
  const [scaled, mask] = readsInput(expression.x, index) ? [expression.x, expression.y] : [expression.y, expression.x];
  const factor = scaleOf(scaled, index);
  if (factor === undefined || mask.kind !== "input") return "the scores are not one product, scaled and masked";
  const value = open.inputs[mask.index];
  const { shape, element } = view.typeOf(value);
  const whole = view.typeOf(product).shape;
  if (element !== "f32" || shape.length > whole.length || !equalShapes(broadcastShapes(shape, whole), whole)) {
    return "the mask does not broadcast to the scores";
  }
  return { scale: factor, mask: value };
}

/** The factor of q·k: 1, or the literal that it is multiplied or divided by. */
function scaleOf(expression: Expression, index: number): number | undefined {
  if (isLeaf(expression, index)) return 1;
  if (expression.kind !== "binary" || !isLeaf(expression.x, index)) return undefined;
  const factor = literalValue(expression.y);
  if (factor === undefined) return undefined;
  if (expression.operator === "mul") return factor;
  return expression.operator === "div" && factor !== 0 ? 1 / factor : undefined;
}

function raised(node: Matmul, softmax: Node, scores: Scores, view: GraphView): RuleResult {
  const { product } = scores;
  const [q, k] = product.inputs;
  const v = node.inputs[1];
  const rank = view.typeOf(q).shape.length;
  if (rank !== 3 && rank !== 4) return declined(`the queries have rank ${rank}`);
  const batch = view.typeOf(q).shape.slice(0, -2);
  const sameBatch = [k, v].every((value) => equalShapes(view.typeOf(value).shape.slice(0, -2), batch));
  if (!sameBatch || !isStatic(batch[batch.length - 1])) {
    return declined("queries, keys and values have different batches");
  }
  const patch = new PatchBuilder("raise-attention", view);
  patch.remove(product, ...scores.chain, softmax, node);
  const keys = groupedHeads(k, product.attributes.transposeB ? "rows" : "columns", view);
  const values = groupedHeads(v, "rows", view);
  const grouped = keys !== undefined && values !== undefined && equalExtents(keys.groups, values.groups);
  const inputs = [
    headsInside(patch, q, "rows"),
    grouped
      ? headsInside(patch, keys.value, "rows")
      : headsInside(patch, k, product.attributes.transposeB ? "rows" : "columns"),
    grouped ? headsInside(patch, values.value, "rows") : headsInside(patch, v, "rows"),
    ...(scores.mask === undefined ? [] : [maskOperand(patch, scores.mask, rank)]),
  ];
  const mixed = patch.add("attention", inputs, { scale: scores.scale, causal: false, softcap: 0, window: 0 });
  const { shape } = view.typeOf(node.outputs[0]);
  if (rank === 4) patch.addAs(node.outputs, "transpose", [mixed], { permutation: [0, 2, 1, 3] });
  else patch.addAs(node.outputs, "reshape", [mixed], { shape });
  return patched(patch.finish());
}

/** [B, H, T, D] (or [B, H, D, T] of columns) as [B, T, H, D]; without a head axis, as one head. */
function headsInside(patch: PatchBuilder, value: ValueName, layout: "rows" | "columns"): ValueName {
  const { shape } = patch.typeOf(value);
  if (shape.length === 4) {
    return patch.add("transpose", [value], { permutation: layout === "rows" ? [0, 2, 1, 3] : [0, 3, 1, 2] });
  }
  const rows = layout === "rows" ? value : patch.add("transpose", [value], { permutation: [0, 2, 1] });
  const [batch, length, extent] = patch.typeOf(rows).shape;
  return patch.add("reshape", [rows], { shape: [batch, length, 1, extent] });
}

/** Scores without a head axis stand as one head: [B, T, S] as [B, 1, T, S]. */
function maskOperand(patch: PatchBuilder, mask: ValueName, rank: number): ValueName {
  const { shape } = patch.typeOf(mask);
  if (rank === 4 || shape.length < 3) return mask;
  return patch.add("reshape", [mask], { shape: [shape[0], 1, shape[1], shape[2]] });
}

/**
 * Keys or values whose heads repeat, as grouped queries need them: [B, G, S, D] -> [B, G, 1, S, D] -> expanded
 * [B, G, R, S, D] -> [B, G·R, S, D]. Gives the unrepeated rows.
 */
function groupedHeads(
  value: ValueName,
  layout: "rows" | "columns",
  view: GraphView,
): { readonly value: ValueName; readonly groups: Extent } | undefined {
  const rows = layout === "rows" ? value : transposedRows(value, view);
  const merged = rows === undefined ? undefined : view.producer(rows);
  if (merged?.op !== "reshape") return undefined;
  const expanded = view.producer(merged.inputs[0]);
  if (expanded?.op !== "expand") return undefined;
  const split = view.producer(expanded.inputs[0]);
  if (split?.op !== "reshape") return undefined;
  const [whole, repeated, single] = [merged, expanded, split].map((node) => view.typeOf(node.outputs[0]).shape);
  const source = view.typeOf(split.inputs[0]).shape;
  if (whole.length !== 4 || repeated.length !== 5 || source.length !== 4) return undefined;
  const [batch, groups, length, extent] = source;
  const repeats = repeated[2];
  const fits = equalShapes(single, [batch, groups, 1, length, extent]) &&
    equalShapes(repeated, [batch, groups, repeats, length, extent]) && isStatic(groups) && isStatic(repeats) &&
    equalShapes(whole, [batch, groups * repeats, length, extent]);
  return fits ? { value: split.inputs[0], groups } : undefined;
}

/** The rows whose transposed last axes a value is. */
function transposedRows(value: ValueName, view: GraphView): ValueName | undefined {
  const node = view.producer(value);
  return node?.op === "transpose" && node.attributes.permutation.join() === "0,1,3,2" ? node.inputs[0] : undefined;
}

/**
 * Finds attention that an exporter has spelled out as two products about a softmax, and makes it one op. Heads that are
 * repeated for grouped queries are read where they are. Exact over the reals.
 */
export const raiseAttention = definePass({
  name: "raise-attention",
  summary: "Raise products about a softmax to one attention op",
  from: "any",
  to: "any",
  exactness: "reassociates",
  needs: [],
  options: {},
  run: rules(raiseProduct),
});
