/** Elementwise arithmetic that takes sums and codes to codes. */

import { roundHalfEven } from "../../compiler/numeric/element.ts";
import { codeElement, intRange } from "../../compiler/numeric/number_format.ts";
import { binary, cast, type Expression, input, literal, substitute } from "../../compiler/ir/expression.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, plainTensor } from "../../compiler/ir/tensor.ts";
import { channelEntry, type ChannelVector, type LinearForm } from "../../compiler/rewrite/affine.ts";
import { add, clamp, mul, round, sub } from "../../compiler/rewrite/expressions.ts";
import type { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { type Coded, type CodeGrid, codeOf, plainCodes } from "./grid.ts";
import type { IntegerSum } from "./accumulator.ts";

/** An operand of the float map: an i32 sum, or codes. */
export type CodeOperand =
  | { readonly kind: "sum"; readonly value: ValueName; readonly sum: IntegerSum }
  | { readonly kind: "codes"; readonly value: ValueName; readonly coded: Coded };

/** Operands and expression of a map under construction. */
class MapParts {
  readonly inputs: ValueName[] = [];

  constructor(readonly patch: PatchBuilder, readonly rank: number, readonly axis: number) {}

  operand(value: ValueName): Expression {
    const known = this.inputs.indexOf(value);
    return input(known >= 0 ? known : this.inputs.push(value) - 1);
  }

  /** A number per channel: a literal where all are equal, else a constant along the channel axis. */
  realVector(vector: Float32Array): Expression {
    if (vector.every((entry) => entry === vector[0])) return literal(vector[0]);
    return this.operand(this.patch.constant(floatTensor(this.#shape(vector.length), vector), { name: "multiplier" }));
  }

  integerVector(vector: Int32Array<ArrayBuffer>): Expression {
    if (vector.every((entry) => entry === vector[0])) return literal(vector[0], "i32");
    return this.operand(
      this.patch.constant(plainTensor("i32", this.#shape(vector.length), vector), { name: "multiplier" }),
    );
  }

  /** A sum's whole i32, its offset added. */
  sum({ sum }: Extract<CodeOperand, { readonly kind: "sum" }>): Expression {
    const value = this.operand(sum.accumulate(this.patch));
    return sum.offset === 0 ? value : add(value, literal(sum.offset, "i32"));
  }

  #shape(channels: number): number[] {
    return Array.from({ length: this.rank - this.axis }, (_, index) => (index === 0 ? channels : 1));
  }
}

/** A map with its result's codes: expression and operands. */
export interface CodeMap {
  readonly expression: Expression;
  readonly inputs: readonly ValueName[];
}

/**
 * Codes of a linear form in fixed point:
 *
 *   code = clamp(((round(f32(Σ) * m·2^k) + Σ_i (q_i - z_i) * R_i + D + 2^(k-1)) >> k) + zero),
 *   m = factor * scale / step,  R_i = round(factor_i * step_i / step * 2^k),  D = round(shift / step * 2^k)
 *
 * Every operation is exact or rounds alone, so that no target can fuse or reorder it. Against the real form the error
 * is below 2^-k (1/2 + Σ_i |q_i - z_i| / 2 + 1/2) steps before the last rounding. k is 0 where one sum stands alone.
 */
export function linearCodes(
  patch: PatchBuilder,
  form: LinearForm,
  operands: ReadonlyMap<ValueName, CodeOperand>,
  target: CodeGrid,
  place: { readonly rank: number; readonly axis: number },
): CodeMap | undefined {
  const shiftBits = isSumAlone(form, operands) ? 0 : fractionBits(form, operands, target);
  if (shiftBits === undefined) return undefined;
  const unit = 2 ** shiftBits;
  const parts = new MapParts(patch, place.rank, place.axis);
  const terms: Expression[] = [];
  let constant = integerVectorOf(form.shift, (entry) => entry / target.step * unit);
  for (const [value, factor] of form.factors) {
    const operand = operands.get(value);
    if (operand === undefined) return undefined;
    if (operand.kind === "sum") terms.push(wholeSum(parts, operand, factor, target.step / unit));
    else {
      const { grid } = operand.coded;
      const ratio = integerVectorOf(factor, (entry) => entry * grid.step / target.step * unit);
      const codes = cast("i32", parts.operand(plainCodes(patch, operand.coded.value)));
      terms.push(mul(codes, parts.integerVector(ratio)));
      constant = combined(constant, ratio, (total, entry) => total - entry * grid.zero);
    }
  }
  const whole = terms.reduce(add);
  const code = add(
    shiftBits === 0 ? whole : fixedPoint(parts, whole, constant, shiftBits),
    literal(target.zero, "i32"),
  );
  const [low, high] = [codeOf(form.low, target), codeOf(form.high, target)];
  const limited = clamp(code, literal(low, "i32"), literal(high, "i32"));
  return { expression: cast(codeElement(target.format), limited), inputs: parts.inputs };
}

/** One sum times a number needs no fraction: it is rounded once. */
function isSumAlone(form: LinearForm, operands: ReadonlyMap<ValueName, CodeOperand>): boolean {
  const [value, ...others] = form.factors.keys();
  return others.length === 0 && operands.get(value)?.kind === "sum" && form.shift.every((entry) => entry === 0);
}

/** (sum + constant + 2^(bits-1)) >> bits: rounds half up. */
function fixedPoint(parts: MapParts, sum: Expression, constant: Int32Array<ArrayBuffer>, bits: number): Expression {
  const half = Int32Array.of(2 ** (bits - 1));
  const rest = parts.integerVector(combined(constant, half, (total, entry) => total + entry));
  return binary("shr", add(sum, rest), literal(bits, "i32"));
}

/** Sums beyond 2^30 in units of 2^-k steps lie far outside the codes: they are cut off so that the additions cannot wrap. */
function wholeSum(
  parts: MapParts,
  operand: Extract<CodeOperand, { readonly kind: "sum" }>,
  factor: ChannelVector,
  unit: number,
): Expression {
  const { scale } = operand.sum;
  const multiplier = Float32Array.from(
    { length: Math.max(scale.length, factor.length) },
    (_, channel) => channelEntry(factor, channel) * channelEntry(scale, channel) / unit,
  );
  const scaled = round(mul(cast("f32", parts.sum(operand)), parts.realVector(multiplier)));
  return cast("i32", clamp(scaled, literal(-(2 ** 30)), literal(2 ** 30)));
}

/**
 * Bits after the point: 14, or fewer where a factor is so large that codes times factors would pass 2^24 units.
 * Undefined when fewer than 6 would be left, or the shift does not fit.
 */
function fractionBits(
  form: LinearForm,
  operands: ReadonlyMap<ValueName, CodeOperand>,
  target: CodeGrid,
): number | undefined {
  let largest = form.shift.reduce((most, entry) => Math.max(most, Math.abs(entry) / target.step), 0);
  for (const [value, factor] of form.factors) {
    const operand = operands.get(value);
    if (operand?.kind !== "codes") continue;
    const { grid } = operand.coded;
    const { min, max } = intRange(grid.format);
    const reach = Math.max(max - grid.zero, grid.zero - min) * grid.step / target.step;
    for (const entry of factor) largest = Math.max(largest, Math.abs(entry) * reach);
  }
  const bits = Math.min(14, Math.floor(24 - Math.log2(Math.max(1, largest))));
  return bits >= 6 ? bits : undefined;
}

function integerVectorOf(vector: ChannelVector, convert: (entry: number) => number): Int32Array<ArrayBuffer> {
  return Int32Array.from(vector, (entry) => roundHalfEven(convert(entry)));
}

function combined(
  a: Int32Array<ArrayBuffer>,
  b: Int32Array<ArrayBuffer>,
  apply: (x: number, y: number) => number,
): Int32Array<ArrayBuffer> {
  return Int32Array.from(
    { length: Math.max(a.length, b.length) },
    (_, channel) => apply(channelEntry(a, channel), channelEntry(b, channel)),
  );
}

/**
 * Codes of any elementwise function f, computed in f32 between the codes:
 *
 *   code = clamp(round(f(f32(Σ) * scale, (f32(q_i) - z_i) * step_i) * (1 / step)) + zero)
 */
export function realCodes(
  patch: PatchBuilder,
  map: CodeMap,
  operands: ReadonlyMap<ValueName, CodeOperand>,
  target: CodeGrid,
  place: { readonly rank: number; readonly axis: number },
): CodeMap {
  const parts = new MapParts(patch, place.rank, place.axis);
  const decoded = new Map<ValueName, Expression>();
  const decode = (value: ValueName): Expression => {
    const operand = operands.get(value);
    if (operand === undefined) return parts.operand(value);
    if (operand.kind === "sum") {
      return mul(cast("f32", parts.sum(operand)), parts.realVector(Float32Array.from(operand.sum.scale)));
    }
    const { grid, value: coded } = operand.coded;
    const codes = cast("f32", parts.operand(plainCodes(patch, coded)));
    return mul(sub(codes, literal(grid.zero)), literal(grid.step));
  };
  const real = substitute(map.expression, (index) => {
    const value = map.inputs[index];
    const known = decoded.get(value) ?? decode(value);
    decoded.set(value, known);
    return known;
  });
  const { min, max } = intRange(target.format);
  const code = add(round(mul(real, literal(Math.fround(1 / target.step)))), literal(target.zero));
  const limited = clamp(code, literal(min), literal(max));
  return { expression: cast(codeElement(target.format), limited), inputs: parts.inputs };
}
