import type { Expression } from "../../compiler/ir/expression.ts";
import { broadcastShapes } from "../../compiler/ir/type_rules.ts";
import { equalShapes, isStatic } from "../../compiler/ir/extent.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { patched, type Rule } from "../../compiler/rewrite/rule.ts";
import { rules } from "../../compiler/rewrite/drive.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";
import { composedMap, isLeaf, literalValue, normalized } from "./composed_map.ts";

type Reduce = Extract<Node, { readonly op: "reduce" }>;

/** x / sqrt(mean(x²) + epsilon) and (x - mean(x)) / sqrt(mean((x - mean(x))²) + epsilon) over trailing axes. */
const raiseQuotient: Rule = {
  name: "raise-norm",
  rewrite: (node, view) => {
    if (node.op !== "map" || view.typeOf(node.outputs[0]).element !== "f32") return undefined;
    const sum = squareSumBehind(node, view);
    if (sum === undefined) return undefined;
    const { reduce, value } = sum;
    const map = composedMap(node, view, (leaf) => leaf === value || leaf === reduce.outputs[0]);
    if (map === undefined || map.inputs.some((leaf) => leaf !== value && leaf !== reduce.outputs[0])) return undefined;
    const epsilon = epsilonOf(normalized(map.expression), map.inputs, value, reduce, view);
    if (epsilon === undefined) return undefined;
    const centred = centredOperand(value, reduce, view);
    const { shape } = view.typeOf(value);
    const patch = new PatchBuilder("raise-norm", view);
    patch.mention(...nodesBehind(value, reduce, centred, view), ...[...map.producers].reverse());
    patch.remove(node);
    const [x, kind] = centred === undefined ? [value, "rms" as const] : [centred, "layer" as const];
    patch.addAs(node.outputs, "norm", [x], { kind, axis: shape.length - reduce.attributes.axes.length, epsilon });
    return patched(patch.finish());
  },
};

/** Mean, difference, square and sum, in order. */
function nodesBehind(
  value: ValueName,
  reduce: Reduce,
  centred: ValueName | undefined,
  view: GraphView,
): readonly Node[] {
  const difference = centred === undefined ? undefined : view.producer(value);
  const means = difference?.inputs.flatMap((input) => meanSource(input, view)) ?? [];
  const square = view.producer(reduce.inputs[0]);
  return [...means, difference, square, reduce].filter((node) => node !== undefined);
}

/** The sum of squares behind the divisor of a map, and the value that is squared. */
function squareSumBehind(
  node: Node,
  view: GraphView,
): { readonly reduce: Reduce; readonly value: ValueName } | undefined {
  let frontier: readonly ValueName[] = node.inputs;
  for (let depth = 0; depth < 5 && frontier.length > 0; depth++) {
    const next: ValueName[] = [];
    for (const value of frontier) {
      const producer = view.producer(value);
      if (producer?.op === "reduce") {
        const squared = squaredValue(producer, view);
        if (squared !== undefined && view.typeOf(squared).shape.length === view.typeOf(value).shape.length) {
          return { reduce: producer, value: squared };
        }
      }
      if (producer?.op === "map") next.push(...producer.inputs);
    }
    frontier = next;
  }
  return undefined;
}

/** v, where the node is Σ v² over trailing axes that stay. */
function squaredValue(node: Reduce, view: GraphView): ValueName | undefined {
  const { kind, axes, keepAxes } = node.attributes;
  const { shape } = view.typeOf(node.inputs[0]);
  const trailing = axes.length > 0 && axes.every((axis, index) => axis === shape.length - axes.length + index);
  if (kind !== "sum" || !keepAxes || !trailing || !axes.every((axis) => isStatic(shape[axis]))) return undefined;
  const square = view.producer(node.inputs[0]);
  if (square?.op !== "map" || square.inputs.length !== 1) return undefined;
  const expression = normalized(square.attributes.expression);
  const isSquare = expression.kind === "binary" && expression.operator === "mul" && isLeaf(expression.x, 0) &&
    isLeaf(expression.y, 0);
  return isSquare ? square.inputs[0] : undefined;
}

/** epsilon, where the expression is v / sqrt(Σ / n + epsilon). */
function epsilonOf(
  expression: Expression,
  inputs: readonly ValueName[],
  value: ValueName,
  reduce: Reduce,
  view: GraphView,
): number | undefined {
  if (expression.kind !== "binary" || expression.operator !== "div") return undefined;
  if (!isLeaf(expression.x, inputs.indexOf(value))) return undefined;
  const root = expression.y;
  if (root.kind !== "unary" || root.operator !== "sqrt") return undefined;
  const inside = root.x;
  const sum = inputs.indexOf(reduce.outputs[0]);
  const count = averagedEntries(reduce, view);
  if (isMean(inside, sum, count)) return 0;
  if (inside.kind !== "binary" || inside.operator !== "add" || !isMean(inside.x, sum, count)) return undefined;
  const epsilon = literalValue(inside.y);
  return epsilon !== undefined && epsilon >= 0 ? epsilon : undefined;
}

function averagedEntries(reduce: Reduce, view: GraphView): number {
  const { shape } = view.typeOf(reduce.inputs[0]);
  return reduce.attributes.axes.reduce((product, axis) => {
    const extent = shape[axis];
    return isStatic(extent) ? product * extent : NaN;
  }, 1);
}

/** leaf / count, or leaf times the f32 nearest to 1 / count. */
function isMean(expression: Expression, leaf: number, count: number): boolean {
  if (expression.kind !== "binary" || !isLeaf(expression.x, leaf)) return false;
  const factor = literalValue(expression.y);
  if (factor === undefined) return false;
  return expression.operator === "div"
    ? factor === count
    : expression.operator === "mul" && factor === Math.fround(1 / count);
}

/** x, where v = x - mean(x) over the axes of `reduce`. */
function centredOperand(value: ValueName, reduce: Reduce, view: GraphView): ValueName | undefined {
  const node = view.producer(value);
  if (node?.op !== "map") return undefined;
  const sums = node.inputs.flatMap((input) => meanSource(input, view));
  for (const sum of sums) {
    const x = sum.inputs[0];
    const sameAxes = sum.attributes.kind === "sum" && sum.attributes.keepAxes &&
      sum.attributes.axes.join() === reduce.attributes.axes.join();
    const map = composedMap(node, view, (leaf) => leaf === x || leaf === sum.outputs[0]);
    if (!sameAxes || map === undefined || map.inputs.length !== 2) continue;
    const expression = normalized(map.expression);
    if (expression.kind !== "binary" || expression.operator !== "sub") continue;
    const [left, right] = [map.inputs.indexOf(x), map.inputs.indexOf(sum.outputs[0])];
    if (isLeaf(expression.x, left) && isMean(expression.y, right, averagedEntries(sum, view))) return x;
  }
  return undefined;
}

function meanSource(value: ValueName, view: GraphView): readonly Reduce[] {
  const producer = view.producer(value);
  if (producer?.op === "reduce") return [producer];
  const inner = producer?.op === "map" && producer.inputs.length === 1 ? view.producer(producer.inputs[0]) : undefined;
  return inner?.op === "reduce" ? [inner] : [];
}

/** norm(x) * gain and norm(x) * gain + bias, with constants that broadcast to x. */
const takeGainAndBias: Rule = {
  name: "raise-norm",
  rewrite: (node, view) => {
    if (node.op !== "map") return undefined;
    const normed = node.inputs.find((value) => view.producer(value)?.op === "norm");
    const norm = normed === undefined ? undefined : view.producer(normed);
    if (normed === undefined || norm?.op !== "norm" || view.onlyReader(normed) !== node) return undefined;
    const parameters = parametersOf(node, normed, norm.inputs.length, view);
    if (parameters === undefined) return undefined;
    const { shape } = view.typeOf(normed);
    const broadcasts = parameters.every((value) =>
      view.constantOf(value) !== undefined && view.typeOf(value).element === view.typeOf(normed).element &&
      view.typeOf(value).shape.length <= shape.length &&
      equalShapes(broadcastShapes(shape, view.typeOf(value).shape), shape)
    );
    if (!broadcasts || !equalShapes(view.typeOf(node.outputs[0]).shape, shape)) return undefined;
    const patch = new PatchBuilder("raise-norm", view);
    patch.remove(norm, node);
    patch.addAs(node.outputs, "norm", [...norm.inputs, ...parameters], norm.attributes);
    return patched(patch.finish());
  },
};

/** Operands that a map adds to a norm with `held` of them: a gain, a bias, or both at once. */
function parametersOf(
  node: Extract<Node, { readonly op: "map" }>,
  normed: ValueName,
  held: number,
  view: GraphView,
): readonly ValueName[] | undefined {
  const { expression } = node.attributes;
  if (expression.kind !== "binary") return undefined;
  const index = node.inputs.indexOf(normed);
  if (held === 1 && expression.operator === "mul") return otherOperand(node, expression, index);
  if (held === 2 && expression.operator === "add") return otherOperand(node, expression, index);
  if (held !== 1 || expression.operator !== "add") return undefined;
  const [scaled, shift] = expression.x.kind === "binary" ? [expression.x, expression.y] : [expression.y, expression.x];
  if (scaled.kind !== "binary" || scaled.operator !== "mul" || shift.kind !== "input") return undefined;
  const gain = otherOperand(node, scaled, index);
  return gain === undefined || view.constantOf(node.inputs[shift.index]) === undefined
    ? undefined
    : [...gain, node.inputs[shift.index]];
}

function otherOperand(
  node: Node,
  expression: Extract<Expression, { readonly kind: "binary" }>,
  index: number,
): readonly ValueName[] | undefined {
  const other = isLeaf(expression.x, index) ? expression.y : isLeaf(expression.y, index) ? expression.x : undefined;
  return other?.kind === "input" && other.index !== index ? [node.inputs[other.index]] : undefined;
}

/**
 * Finds layer norm and rms norm that an exporter has spelled out as means, squares and roots, and makes each one op.
 * Exact over the reals.
 */
export const raiseNorm = definePass({
  name: "raise-norm",
  summary: "Raise spelled-out layer and rms norms to one op",
  from: "any",
  to: "any",
  exactness: "reassociates",
  needs: [],
  options: {},
  run: rules(raiseQuotient, takeGainAndBias),
});
