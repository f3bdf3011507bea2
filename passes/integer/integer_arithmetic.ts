import { perTensor, type QuantScheme } from "../../compiler/numeric/scheme.ts";
import { equalShapes } from "../../compiler/ir/extent.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, plainTensor } from "../../compiler/ir/tensor.ts";
import { type LinearForm, linearFormOf } from "../../compiler/rewrite/affine.ts";
import { rules } from "../../compiler/rewrite/drive.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule, type RuleResult } from "../../compiler/rewrite/rule.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";
import { type IntegerSum, integerSum } from "./accumulator.ts";
import { sharedLimits } from "./channel_limits.ts";
import { type CodeMap, type CodeOperand, linearCodes, realCodes } from "./code_map.ts";
import { type CodeGrid, codeOf, decodedCodes, gridOfValue } from "./grid.ts";
import { movedCodes } from "./moves.ts";

type Quantize = Extract<Node, { readonly op: "quantize" }>;

/** What a rule works with: the quantize node, the value it encodes, and the grid of its codes. */
interface Site {
  readonly node: Quantize;
  readonly value: ValueName;
  readonly grid: CodeGrid;
  readonly scheme: QuantScheme;
  readonly view: GraphView;
}

/** Rewrites what a quantize node encodes, when that comes from sums of codes and from decoded codes alone. */
const throughIntegers: Rule = {
  name: "integer-arithmetic",
  rewrite: (node, view) => {
    if (node.op !== "quantize" || node.attributes.scheme.range !== "static") return undefined;
    const grid = gridOfValue(node.outputs[0], view);
    const [value] = node.inputs;
    const producer = view.producer(value);
    if (grid === undefined || producer === undefined || producer.op === "constant") return undefined;
    const site: Site = { node, value, grid, scheme: node.attributes.scheme, view };
    if (view.onlyReader(value) !== node) {
      return isOverCodes(producer, view) ? declined("its float value is read too") : undefined;
    }
    if (producer.op === "map") return mappedSite(site, producer);
    return summedSite(site, producer) ?? movedSite(site, producer);
  },
};

function isOverCodes(node: Node, view: GraphView): boolean {
  const sum = integerSum(node, view);
  return (sum !== undefined && "sum" in sum) || node.inputs.some((value) => decodedCodes(value, view) !== undefined);
}

/** quantize(sum): the sum's own codes, or its accumulator times one multiplier. */
function summedSite(site: Site, producer: Node): RuleResult | undefined {
  const found = integerSum(producer, site.view);
  if (found === undefined) return undefined;
  if ("declined" in found) return declined(found.declined);
  const form: LinearForm = {
    factors: new Map([[site.value, Float64Array.of(1)]]),
    shift: Float64Array.of(0),
    low: -Infinity,
    high: Infinity,
  };
  return linearSite(site, form, new Map([[site.value, operandOf(site.value, found.sum)]]), [producer]);
}

function operandOf(value: ValueName, sum: IntegerSum): CodeOperand {
  return { kind: "sum", value, sum };
}

/** quantize(move(decoded codes)): the move on the codes. */
function movedSite(site: Site, producer: Node): RuleResult | undefined {
  const patch = new PatchBuilder("integer-arithmetic", site.view);
  patch.remove(site.node, producer);
  const moved = movedCodes(producer, site.grid, patch);
  if (moved === undefined) return undefined;
  if ("declined" in moved) return declined(moved.declined);
  return patched(bundled(patch, site, moved.codes));
}

/** quantize(map(sum, decoded codes, constants)). */
function mappedSite(site: Site, given: Extract<Node, { readonly op: "map" }>): RuleResult | undefined {
  const { view } = site;
  const map = sharedLimits(given, site.grid, view);
  const operands = new Map<ValueName, CodeOperand>();
  const removed: Node[] = [given];
  for (const value of new Set(map.inputs)) {
    if (view.constantOf(value) !== undefined) continue;
    const coded = decodedCodes(value, view);
    if (coded !== undefined) {
      operands.set(value, { kind: "codes", value, coded });
      continue;
    }
    const producer = view.producer(value);
    const found = integerSum(producer, view);
    if (found === undefined || producer === undefined) return declined(`%${value} is neither codes nor a sum of codes`);
    if ("declined" in found) return declined(found.declined);
    if (view.onlyReader(value) !== given) return declined(`the sum %${value} has other readers`);
    operands.set(value, operandOf(value, found.sum));
    removed.push(producer);
  }
  if (operands.size === 0) return undefined;
  for (const axis of channelAxes(site, operands)) {
    const form = linearFormOf(map, (value) => operands.has(value), axis, view);
    const result = form === undefined ? undefined : linearSite(site, form, operands, removed, axis);
    if (result !== undefined) return result;
  }
  return nonlinearSite(site, map, operands, removed);
}

/** Axes that per-channel constants may run along: that of the sum, or else the usual two. */
function channelAxes(site: Site, operands: ReadonlyMap<ValueName, CodeOperand>): readonly number[] {
  const rank = site.view.typeOf(site.value).shape.length;
  for (const operand of operands.values()) {
    if (operand.kind === "sum" && operand.sum.scale.length > 1) return [operand.sum.axis];
  }
  return rank > 2 ? [1, rank - 1] : [rank - 1];
}

/** One sum with limits becomes the contraction's own result; any other linear form runs in fixed point. */
function linearSite(
  site: Site,
  form: LinearForm,
  operands: ReadonlyMap<ValueName, CodeOperand>,
  removed: readonly Node[],
  axis = 0,
): RuleResult | undefined {
  const patch = new PatchBuilder("integer-arithmetic", site.view);
  patch.remove(...removed, site.node);
  const direct = directSum(site, form, operands);
  if (direct !== undefined) {
    direct(patch);
    return patched(patch.finish());
  }
  const { shape } = site.view.typeOf(site.value);
  const map = linearCodes(patch, form, operands, site.grid, { rank: shape.length, axis });
  return map === undefined ? undefined : patched(bundledMap(patch, site, map));
}

function directSum(
  site: Site,
  form: LinearForm,
  operands: ReadonlyMap<ValueName, CodeOperand>,
): ((patch: PatchBuilder) => void) | undefined {
  const [operand, ...others] = operands.values();
  if (others.length > 0 || operand.kind !== "sum" || form.shift.some((entry) => entry !== 0)) return undefined;
  const factor = form.factors.get(operand.value);
  const { requantize } = operand.sum;
  if (requantize === undefined || factor === undefined || factor.some((entry) => entry !== 1)) return undefined;
  const { grid, scheme } = site;
  const result = { kind: "quantized", scheme, low: codeOf(form.low, grid), high: codeOf(form.high, grid) } as const;
  return (patch) =>
    requantize(patch, site.node.outputs, {
      result,
      grid,
      multiplier: (scale) => Float32Array.from(scale, (entry) => entry / grid.step),
    });
}

function nonlinearSite(
  site: Site,
  map: Extract<Node, { readonly op: "map" }>,
  operands: ReadonlyMap<ValueName, CodeOperand>,
  removed: readonly Node[],
): RuleResult {
  const patch = new PatchBuilder("integer-arithmetic", site.view);
  patch.remove(...removed, site.node);
  const { shape } = site.view.typeOf(site.value);
  const [axis] = channelAxes(site, operands);
  const source = { expression: map.attributes.expression, inputs: map.inputs };
  return patched(bundledMap(patch, site, realCodes(patch, source, operands, site.grid, { rank: shape.length, axis })));
}

function bundledMap(patch: PatchBuilder, site: Site, map: CodeMap) {
  const { shape } = site.view.typeOf(site.value);
  const codes = patch.map(map.expression, map.inputs, { name: `${site.value}.codes` });
  // A broadcast operand alone would leave the result smaller than the value that it stands for.
  const whole = equalShapes(patch.typeOf(codes).shape, shape) ? codes : patch.add("expand", [codes], { shape });
  return bundled(patch, site, whole);
}

/** Names codes, step and zero point as the quantized value. */
function bundled(patch: PatchBuilder, site: Site, codes: ValueName) {
  const ones = new Array<number>(site.view.typeOf(site.value).shape.length).fill(1);
  const step = patch.constant(floatTensor(ones, [site.grid.step]), { name: "step" });
  const zero = site.scheme.zeroPoint
    ? [patch.constant(plainTensor("i32", ones, Int32Array.of(site.grid.zero)), { name: "zero" })]
    : [];
  patch.addAs(site.node.outputs, "fromCodes", [codes, step, ...zero], {
    scheme: { ...site.scheme, block: perTensor(ones.length) },
    element: "f32",
  });
  return patch.finish();
}

/**
 * Lets static codes flow from one integer operation to the next without a float tensor between them.
 *
 *   quantize(f(Σ (a - za)(w - zw) * sa * sw + bias, decoded codes))  ⇒  codes from the i32 sums and from the codes
 *
 * A sum with limits becomes the contraction's own result; sums and differences run in fixed point; other functions in f32
 * between integers; reshapes, maxima and the like move the codes. The bias is rounded to units of sa * sw.
 */
export const integerArithmetic = definePass({
  name: "integer-arithmetic",
  summary: "Compute between static codes with integers",
  from: "any",
  to: "any",
  exactness: "lossy",
  needs: [],
  options: {},
  run: rules(throughIntegers),
});
