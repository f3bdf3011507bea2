/** Prints scalars over four lanes: f32x4 for floats, i32x4 for integers of up to 32 bits, lane masks for bool. */

import { type ElementType, isFloat } from "../../../compiler/numeric/element.ts";
import type { ComparisonOperator, UnaryOperator } from "../../../compiler/ir/expression.ts";
import { affineOf, indexOfAffine, scalarVariables } from "../../loops/index.ts";
import type { Index, Scalar } from "../../loops/program.ts";
import type { Emitter } from "./emitter.ts";
import { gatherLanes, loadLanes, storeFour } from "./lane_memory.ts";
import { laneStride } from "./lanes.ts";
import { binaryOperation, exactFloatUnary, tableLookup } from "./scalar.ts";
import { clampOf, fits } from "./ranges.ts";
import { floatText, isUnsigned } from "./types.ts";
import { InvariantError } from "../../../compiler/diagnostics.ts";

/** The lanes being printed: which variables differ from lane to lane, and the locals of their vectors. */
export interface LaneContext {
  readonly emitter: Emitter;
  /** The variable whose consecutive values the lanes hold. */
  readonly variable: string;
  readonly varying: ReadonlySet<string>;
  readonly localOf: (variable: string) => string;
}

type Shape = "f32x4" | "i32x4";

export function shapeOf(element: ElementType): Shape {
  return isFloat(element) ? "f32x4" : "i32x4";
}

export function isVarying(context: LaneContext, scalar: Scalar): boolean {
  return [...scalarVariables(scalar)].some((name) => context.varying.has(name));
}

/** A number in all four lanes; a bool as a mask. */
export function laneConstant(emitter: Emitter, element: ElementType, value: number | bigint): string {
  if (isFloat(element)) {
    return emitter.constant(`(v128.const f32x4${` ${floatText(Math.fround(Number(value)))}`.repeat(4)})`);
  }
  const bits = element === "bool" ? (Number(value) === 0 ? 0 : -1) : Number(BigInt.asIntN(32, BigInt(value)));
  return emitter.constant(`(v128.const i32x4${` ${bits}`.repeat(4)})`);
}

/** The four lanes of a scalar. */
export function printLanes(context: LaneContext, scalar: Scalar): string {
  const { emitter } = context;
  const { element } = scalar;
  if (scalar.kind === "literal") return laneConstant(emitter, element, scalar.value);
  if (!isVarying(context, scalar)) return uniformLanes(emitter, scalar);
  switch (scalar.kind) {
    case "variable":
      return `(local.get $${context.localOf(scalar.name)})`;
    case "index":
      return indexLanes(context, scalar.index);
    case "load":
      return loadOrGather(context, scalar);
    case "unary":
      return unaryLanes(emitter, scalar.operator, scalar.x.element, printLanes(context, scalar.x));
    case "binary":
      return binaryLanes(context, scalar);
    case "compare":
      return compareLanes(
        scalar.operator,
        scalar.x.element,
        printLanes(context, scalar.x),
        printLanes(context, scalar.y),
      );
    case "select": {
      const [x, y] = [printLanes(context, scalar.x), printLanes(context, scalar.y)];
      return `(v128.bitselect ${x} ${y} ${printLanes(context, scalar.condition)})`;
    }
    case "cast":
      return castLanes(context, scalar);
    case "reinterpret":
      return printLanes(context, scalar.x);
    case "table":
      return laneByLane(
        emitter,
        "f32",
        [{ element: "i32", text: printLanes(context, scalar.x) }],
        ([x]) => tableLookup(emitter, scalar.values, x),
      );
  }
}

function uniformLanes(emitter: Emitter, scalar: Scalar): string {
  const lanes = emitter.splat(scalar, shapeOf(scalar.element));
  return scalar.element === "bool" ? `(i32x4.neg ${lanes})` : lanes;
}

/** base + stride * lane. */
function indexLanes(context: LaneContext, index: Index): string {
  const affine = affineOf(index);
  const own = affine.terms.find(({ factor }) => factor.kind === "variable" && factor.name === context.variable);
  if (own === undefined) throw new InvariantError("An index over lanes does not hold the loop's variable");
  const steps = [0, 1, 2, 3].map((lane) => lane * own.coefficient);
  const base = `(i32x4.splat ${context.emitter.index(indexOfAffine(affine))})`;
  return `(i32x4.add ${base} ${context.emitter.constant(`(v128.const i32x4 ${steps.join(" ")})`)})`;
}

function loadOrGather(context: LaneContext, { element, buffer, index }: Extract<Scalar, { kind: "load" }>): string {
  const stride = laneStride(index, context.variable, context.varying);
  return stride === undefined || stride === 1
    ? loadLanes(context.emitter, element, buffer, index)
    : gatherLanes(context.emitter, buffer, index, stride);
}

/** Stores the four lanes of a scalar as neighbouring elements. */
export function storeLanes(context: LaneContext, buffer: string, index: Index, value: Scalar): string {
  const lanes = saturatedLanes(context, value) ?? printLanes(context, value);
  return storeFour(context.emitter, value.element, buffer, index, lanes);
}

/**
 * Narrowing instructions saturate, so a value that is clamped to exactly the element's range, or cannot leave it, is
 * handed to them as it is.
 */
function saturatedLanes(context: LaneContext, value: Scalar): string | undefined {
  if (value.kind !== "cast" || value.x.element !== "i32" || !isVarying(context, value)) return undefined;
  const inner = clampOf(value.x, value.element);
  if (inner !== undefined) return printLanes(context, inner);
  return fits(value.x, value.element) ? printLanes(context, value.x) : undefined;
}

/** Wraps or rounds lanes of 32-bit arithmetic to a narrower element. */
function fittedLanes(emitter: Emitter, element: ElementType, lanes: string): string {
  switch (element) {
    case "i8":
      return `(i32x4.shr_s (i32x4.shl ${lanes} (i32.const 24)) (i32.const 24))`;
    case "i16":
      return `(i32x4.shr_s (i32x4.shl ${lanes} (i32.const 16)) (i32.const 16))`;
    case "u8":
      return `(v128.and ${lanes} ${laneConstant(emitter, "i32", 255)})`;
    case "u16":
      return `(v128.and ${lanes} ${laneConstant(emitter, "i32", 65535)})`;
    case "f16":
      return emitter.call("f16_round_f32x4", lanes);
    case "bf16":
      return emitter.call("bf16_round_f32x4", lanes);
    default:
      return lanes;
  }
}

function unaryLanes(emitter: Emitter, operator: UnaryOperator, element: ElementType, x: string): string {
  if (!isFloat(element)) return integerUnary(emitter, operator, element, x);
  const exact = exactFloatUnary[operator];
  if (exact !== undefined) return `(f32x4.${exact} ${x})`;
  switch (operator) {
    case "sqrt":
      return fittedLanes(emitter, element, `(f32x4.sqrt ${x})`);
    case "isNaN": {
      const value = emitter.once(x, "v128");
      return `(f32x4.ne ${value.first} ${value.again})`;
    }
    case "isInf":
      return `(f32x4.eq (f32x4.abs ${x}) ${laneConstant(emitter, "f32", Infinity)})`;
    case "sign": {
      const value = emitter.once(x, "v128");
      const signBit = `(v128.and ${value.again} ${laneConstant(emitter, "i32", -(2 ** 31))})`;
      const isZero = `(f32x4.eq ${value.again} ${laneConstant(emitter, "f32", 0)})`;
      const stays = `(v128.or ${isZero} (f32x4.ne ${value.again} ${value.again}))`;
      return `(v128.bitselect ${value.first} (v128.or ${signBit} ${laneConstant(emitter, "f32", 1)}) ${stays})`;
    }
    default:
      return fittedLanes(emitter, element, emitter.vectorCall(`${operator}_f32x4`, x));
  }
}

function integerUnary(emitter: Emitter, operator: UnaryOperator, element: ElementType, x: string): string {
  switch (operator) {
    case "not":
      return element === "bool" ? `(v128.not ${x})` : fittedLanes(emitter, element, `(v128.not ${x})`);
    case "neg":
      return fittedLanes(emitter, element, `(i32x4.neg ${x})`);
    case "abs":
      return isUnsigned(element) ? x : fittedLanes(emitter, element, `(i32x4.abs ${x})`);
    case "sign": {
      const one = laneConstant(emitter, "i32", 1);
      if (isUnsigned(element)) return `(i32x4.min_u ${x} ${one})`;
      return `(i32x4.max_s (i32x4.min_s ${x} ${one}) ${laneConstant(emitter, "i32", -1)})`;
    }
    default:
      throw new InvariantError(`${operator} does not apply to ${element}`);
  }
}

function binaryLanes(context: LaneContext, scalar: Extract<Scalar, { kind: "binary" }>): string {
  const { emitter } = context;
  const { operator, element } = scalar;
  if (isFloat(element)) return floatBinary(context, scalar);
  if ((operator === "shl" || operator === "shr") && scalar.y.kind === "literal") {
    const count = Number(scalar.y.value);
    const bits = element === "i8" || element === "u8" ? 8 : element === "i16" || element === "u16" ? 16 : 32;
    const x = printLanes(context, scalar.x);
    if (count >= bits || count < 0) return laneConstant(emitter, "i32", 0);
    const instruction = operator === "shl" ? "i32x4.shl" : `i32x4.shr_${isUnsigned(element) ? "u" : "s"}`;
    return fittedLanes(emitter, element, `(${instruction} ${x} (i32.const ${count}))`);
  }
  const [x, y] = [printLanes(context, scalar.x), printLanes(context, scalar.y)];
  const sign = isUnsigned(element) ? "u" : "s";
  switch (operator) {
    case "add":
    case "sub":
    case "mul":
      return fittedLanes(emitter, element, `(i32x4.${operator} ${x} ${y})`);
    case "min":
    case "max":
      return `(i32x4.${operator}_${sign} ${x} ${y})`;
    case "and":
    case "or":
    case "xor":
      return `(v128.${operator} ${x} ${y})`;
    default:
      return laneByLane(
        emitter,
        element,
        [{ element, text: x }, { element, text: y }],
        ([a, b]) => binaryOperation(emitter, operator, element, a, b),
      );
  }
}

function floatBinary(context: LaneContext, scalar: Extract<Scalar, { kind: "binary" }>): string {
  const { emitter } = context;
  const { operator, element } = scalar;
  const [x, y] = [printLanes(context, scalar.x), printLanes(context, scalar.y)];
  switch (operator) {
    case "add":
    case "sub":
    case "mul":
    case "div":
      return fittedLanes(emitter, element, `(f32x4.${operator} ${x} ${y})`);
    case "min":
    case "max":
      return extremeLanes(emitter, operator, scalar.x, x, scalar.y, y);
    case "rem":
    case "mod":
    case "pow":
      return fittedLanes(emitter, element, emitter.vectorCall(`${operator}_f32x4`, x, y));
    default:
      throw new InvariantError(`${operator} does not apply to ${element}`);
  }
}

/**
 * Minimum or maximum that passes NaN on. Against a literal c the pseudo form does, in one instruction: pmax(x, c) is
 * x < c ? c : x. Only max(-0, 0) needs care: it is 0, which adding 0 restores.
 */
function extremeLanes(emitter: Emitter, operator: "min" | "max", a: Scalar, x: string, b: Scalar, y: string): string {
  const [value, limit, bound] = b.kind === "literal" ? [x, y, b] : [y, x, a];
  const number = bound.kind === "literal" ? Number(bound.value) : NaN;
  if (Number.isNaN(number) || Object.is(number, -0)) return `(f32x4.${operator} ${x} ${y})`;
  const pseudo = `(f32x4.p${operator} ${value} ${limit})`;
  return number === 0 && operator === "max" ? `(f32x4.add ${pseudo} ${laneConstant(emitter, "f32", 0)})` : pseudo;
}

function compareLanes(operator: ComparisonOperator, element: ElementType, x: string, y: string): string {
  if (isFloat(element)) return `(f32x4.${operator} ${x} ${y})`;
  if (element === "bool") return boolCompare(operator, x, y);
  const ordered = operator !== "eq" && operator !== "ne";
  return `(i32x4.${operator}${ordered ? (isUnsigned(element) ? "_u" : "_s") : ""} ${x} ${y})`;
}

/** Comparisons of masks, false before true: as numbers a mask is 0 or -1, so the order turns around. */
function boolCompare(operator: ComparisonOperator, x: string, y: string): string {
  if (operator === "eq" || operator === "ne") return `(i32x4.${operator} ${x} ${y})`;
  return `(i32x4.${operator}_s ${y} ${x})`;
}

const narrowRange: { readonly [E in ElementType]?: readonly [number, number] } = {
  i8: [-128, 127],
  u8: [0, 255],
  i16: [-32768, 32767],
  u16: [0, 65535],
};

function castLanes(context: LaneContext, scalar: Extract<Scalar, { kind: "cast" }>): string {
  const { emitter } = context;
  const to = scalar.element;
  const from = scalar.x.element;
  const x = printLanes(context, scalar.x);
  if (to === "bool") {
    return isFloat(from) ? `(f32x4.ne ${x} ${laneConstant(emitter, "f32", 0)})` : nonZero(emitter, from, x);
  }
  if (from === "bool") return `(v128.and ${x} ${laneConstant(emitter, to, 1)})`;
  if (isFloat(from) && isFloat(to)) {
    return to === "f32" || to === from ? x : fittedLanes(emitter, to, x);
  }
  if (isFloat(to)) {
    return fittedLanes(emitter, to, `(f32x4.convert_i32x4_${from === "u32" ? "u" : "s"} ${x})`);
  }
  if (isFloat(from)) {
    const range = narrowRange[to];
    if (range === undefined) return `(i32x4.trunc_sat_f32x4_${to === "u32" ? "u" : "s"} ${x})`;
    const held = `(f32x4.pmin (f32x4.pmax ${x} ${laneConstant(emitter, "f32", range[0])}) ${
      laneConstant(emitter, "f32", range[1])
    })`;
    return `(i32x4.trunc_sat_f32x4_s ${held})`;
  }
  return fits(scalar.x, to) ? x : fittedLanes(emitter, to, x);
}

function nonZero(emitter: Emitter, from: ElementType, x: string): string {
  return from === "bool" ? x : `(i32x4.ne ${x} ${laneConstant(emitter, "i32", 0)})`;
}

/** Does one lane after another what vectors have no instruction for. */
function laneByLane(
  emitter: Emitter,
  result: ElementType,
  operands: readonly { readonly element: ElementType; readonly text: string }[],
  scalar: (texts: readonly string[]) => string,
): string {
  const held = operands.map(({ element, text }) => ({
    shape: shapeOf(element),
    value: emitter.local("lanes", "v128"),
    text,
  }));
  const lane = (index: number) =>
    scalar(held.map(({ shape, value, text }) => {
      const source = index === 0 ? `(local.tee $${value} ${text})` : `(local.get $${value})`;
      return `(${shape}.extract_lane ${index} ${source})`;
    }));
  const shape = shapeOf(result);
  return [1, 2, 3].reduce(
    (lanes, index) => `(${shape}.replace_lane ${index} ${lanes} ${lane(index)})`,
    `(${shape}.splat ${lane(0)})`,
  );
}
