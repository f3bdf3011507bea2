/** Prints scalars as folded WAT expressions. */

import { type ElementType, isFloat } from "../../../compiler/numeric/element.ts";
import type { BinaryOperator, UnaryOperator } from "../../../compiler/ir/expression.ts";
import type { Scalar } from "../../loops/program.ts";
import { type Emitter, type PrintScalar, widthOf } from "./emitter.ts";
import { fits } from "./ranges.ts";
import { isUnsigned, literalText, loadInstruction, narrowBits, storeInstruction, wasmType } from "./types.ts";
import { InvariantError } from "../../../compiler/diagnostics.ts";

export function scalarPrinter(emitter: Emitter): PrintScalar {
  return (scalar) => printScalar(emitter, scalar);
}

export function printScalar(emitter: Emitter, scalar: Scalar): string {
  return emitter.hoisted(scalar) ?? printInPlace(emitter, scalar);
}

function printInPlace(emitter: Emitter, scalar: Scalar): string {
  const { element } = scalar;
  switch (scalar.kind) {
    case "literal":
      return literalText(element, scalar.value);
    case "variable":
      return `(local.get $${scalar.name})`;
    case "index":
      return emitter.index(scalar.index);
    case "load":
      return loadText(emitter, element, scalar.buffer, scalar.index);
    case "unary":
      return unaryText(emitter, scalar.operator, scalar.x.element, printScalar(emitter, scalar.x));
    case "binary":
      return binaryText(emitter, scalar);
    case "compare":
      return compareText(
        scalar.operator,
        scalar.x.element,
        printScalar(emitter, scalar.x),
        printScalar(emitter, scalar.y),
      );
    case "select": {
      const [x, y] = [printScalar(emitter, scalar.x), printScalar(emitter, scalar.y)];
      return `(select ${x} ${y} ${printScalar(emitter, scalar.condition)})`;
    }
    case "cast":
      return fits(scalar.x, element) && wasmType(element) === "i32" && wasmType(scalar.x.element) === "i32"
        ? printScalar(emitter, scalar.x)
        : castText(emitter, element, scalar.x.element, printScalar(emitter, scalar.x));
    case "reinterpret":
      return element === "f32"
        ? `(f32.reinterpret_i32 ${printScalar(emitter, scalar.x)})`
        : `(i32.reinterpret_f32 ${printScalar(emitter, scalar.x)})`;
    case "table":
      return tableLookup(emitter, scalar.values, printScalar(emitter, scalar.x));
  }
}

function loadText(
  emitter: Emitter,
  element: ElementType,
  buffer: string,
  index: Parameters<Emitter["index"]>[0],
): string {
  const { text, offset } = emitter.address(buffer, index, widthOf(element));
  const loaded = `(${loadInstruction(element)}${offset === 0 ? "" : ` offset=${offset}`} ${text})`;
  if (element === "f16") return emitter.call("f16_decode", loaded);
  return element === "bf16" ? `(f32.reinterpret_i32 (i32.shl ${loaded} (i32.const 16)))` : loaded;
}

/** A store of a value that already has the element. */
export function storeText(
  emitter: Emitter,
  element: ElementType,
  buffer: string,
  index: Parameters<Emitter["index"]>[0],
  value: string,
): string {
  const { text, offset } = emitter.address(buffer, index, widthOf(element));
  const held = element === "f16"
    ? emitter.call("f16_encode", value)
    : element === "bf16"
    ? emitter.call("bf16_encode", value)
    : value;
  return `(${storeInstruction(element)}${offset === 0 ? "" : ` offset=${offset}`} ${text} ${held})`;
}

/** Rounds or wraps a result of 32-bit arithmetic to a narrower element. */
function fitted(emitter: Emitter, element: ElementType, text: string): string {
  switch (element) {
    case "i8":
      return `(i32.extend8_s ${text})`;
    case "i16":
      return `(i32.extend16_s ${text})`;
    case "u8":
      return `(i32.and ${text} (i32.const 255))`;
    case "u16":
      return `(i32.and ${text} (i32.const 65535))`;
    case "f16":
      return emitter.call("f16_round", text);
    case "bf16":
      return emitter.call("bf16_round", text);
    default:
      return text;
  }
}

/** Float operators that one instruction computes, on scalars and on lanes alike. */
export const exactFloatUnary: { readonly [Operator in UnaryOperator]?: string } = {
  neg: "neg",
  abs: "abs",
  floor: "floor",
  ceil: "ceil",
  round: "nearest",
  trunc: "trunc",
};

function unaryText(emitter: Emitter, operator: UnaryOperator, element: ElementType, x: string): string {
  const type = wasmType(element);
  if (!isFloat(element)) return integerUnary(emitter, operator, element, x);
  const exact = exactFloatUnary[operator];
  if (exact !== undefined) return `(${type}.${exact} ${x})`;
  switch (operator) {
    case "sqrt":
      return fitted(emitter, element, `(${type}.sqrt ${x})`);
    case "isNaN": {
      const value = emitter.once(x, type);
      return `(${type}.ne ${value.first} ${value.again})`;
    }
    case "isInf":
      return `(${type}.eq (${type}.abs ${x}) (${type}.const inf))`;
    case "sign":
      return emitter.call(`sign_${type}`, x);
    default:
      return fitted(emitter, element, emitter.call(`${operator}_${type}`, x));
  }
}

function integerUnary(emitter: Emitter, operator: UnaryOperator, element: ElementType, x: string): string {
  const type = wasmType(element);
  switch (operator) {
    case "not":
      return element === "bool" ? `(i32.eqz ${x})` : fitted(emitter, element, `(${type}.xor ${x} (${type}.const -1))`);
    case "neg":
      return fitted(emitter, element, `(${type}.sub (${type}.const 0) ${x})`);
    case "abs": {
      if (isUnsigned(element)) return x;
      const value = emitter.once(x, type);
      const negated = `(${type}.sub (${type}.const 0) ${value.first})`;
      const chosen = `(select ${negated} ${value.again} (${type}.lt_s ${value.again} (${type}.const 0)))`;
      return fitted(emitter, element, chosen);
    }
    case "sign": {
      const value = emitter.once(x, type);
      if (isUnsigned(element)) {
        return type === "i64" ? `(i64.extend_i32_u (i64.ne ${x} (i64.const 0)))` : `(i32.ne ${x} (i32.const 0))`;
      }
      const above = `(${type}.gt_s ${value.first} (${type}.const 0))`;
      const below = `(${type}.lt_s ${value.again} (${type}.const 0))`;
      return type === "i64"
        ? `(i64.sub (i64.extend_i32_u ${above}) (i64.extend_i32_u ${below}))`
        : `(i32.sub ${above} ${below})`;
    }
    default:
      throw new InvariantError(`${operator} does not apply to ${element}`);
  }
}

function binaryText(emitter: Emitter, scalar: Extract<Scalar, { kind: "binary" }>): string {
  const [x, y] = [printScalar(emitter, scalar.x), printScalar(emitter, scalar.y)];
  const literal = scalar.y.kind === "literal" ? Number(scalar.y.value) : undefined;
  return binaryOperation(emitter, scalar.operator, scalar.element, x, y, literal);
}

/** One operator over printed operands; `literal` is the value of y where it is known. */
export function binaryOperation(
  emitter: Emitter,
  operator: BinaryOperator,
  element: ElementType,
  x: string,
  y: string,
  literal?: number,
): string {
  const type = wasmType(element);
  if (isFloat(element)) return floatBinary(emitter, operator, element, x, y);
  switch (operator) {
    case "add":
    case "sub":
    case "mul":
      return fitted(emitter, element, `(${type}.${operator} ${x} ${y})`);
    case "and":
    case "or":
    case "xor":
      return `(${type}.${operator} ${x} ${y})`;
    case "min":
    case "max": {
      const before = `${type}.${operator === "min" ? "lt" : "gt"}_${isUnsigned(element) ? "u" : "s"}`;
      return emitter.extreme(before, type, x, y);
    }
    case "shl":
    case "shr":
      return shiftText(emitter, operator, element, x, y, literal);
    case "div":
    case "rem":
      return fitted(emitter, element, quotientText(emitter, operator, element, x, y, literal));
    case "mod":
      return isUnsigned(element)
        ? quotientText(emitter, "rem", element, x, y, literal)
        : fitted(emitter, element, emitter.call(`mod_${type}`, x, y));
    case "pow":
      return fitted(emitter, element, emitter.call(`pow_${powElement(element)}`, x, y));
  }
}

/** Only the exponent's sign depends on signedness. */
function powElement(element: ElementType): string {
  if (element === "u32" || element === "u64") return element;
  return wasmType(element);
}

/** Division by a constant other than 0 and -1 cannot trap; any other goes through a function that tests. */
function quotientText(
  emitter: Emitter,
  operator: "div" | "rem",
  element: ElementType,
  x: string,
  y: string,
  literal: number | undefined,
): string {
  const type = wasmType(element);
  const sign = isUnsigned(element) ? "u" : "s";
  if (literal !== undefined && literal !== 0 && literal !== -1) return `(${type}.${operator}_${sign} ${x} ${y})`;
  const name = sign === "u" ? `u${type.slice(1)}` : type;
  return emitter.call(`${operator}_${name}`, x, y);
}

function shiftText(
  emitter: Emitter,
  operator: "shl" | "shr",
  element: ElementType,
  x: string,
  y: string,
  literal: number | undefined,
): string {
  const type = wasmType(element);
  const bits = narrowBits(element) ?? (type === "i64" ? 64 : 32);
  const instruction = operator === "shl" ? `${type}.shl` : `${type}.shr_${isUnsigned(element) ? "u" : "s"}`;
  if (literal !== undefined && literal >= 0 && literal < bits) {
    return fitted(emitter, element, `(${instruction} ${x} ${y})`);
  }
  const held = emitter.once(y, type);
  const inside = `(${type}.lt_u ${held.again} (${type}.const ${bits}))`;
  return fitted(emitter, element, `(select (${instruction} ${x} ${held.first}) (${type}.const 0) ${inside})`);
}

function floatBinary(emitter: Emitter, operator: BinaryOperator, element: ElementType, x: string, y: string): string {
  const type = wasmType(element);
  switch (operator) {
    case "add":
    case "sub":
    case "mul":
    case "div":
      return fitted(emitter, element, `(${type}.${operator} ${x} ${y})`);
    case "min":
    case "max":
      return `(${type}.${operator} ${x} ${y})`;
    case "rem":
    case "mod":
    case "pow":
      return fitted(emitter, element, emitter.call(`${operator}_${type}`, x, y));
    default:
      throw new InvariantError(`${operator} does not apply to ${element}`);
  }
}

function compareText(operator: string, element: ElementType, x: string, y: string): string {
  const type = wasmType(element);
  const ordered = operator !== "eq" && operator !== "ne";
  const sign = isFloat(element) || !ordered ? "" : isUnsigned(element) ? "_u" : "_s";
  return `(${type}.${operator}${sign} ${x} ${y})`;
}

/** The element's range as text, for a clamp before truncation. */
const narrowRange: { readonly [E in ElementType]?: readonly [number, number] } = {
  i8: [-128, 127],
  u8: [0, 255],
  i16: [-32768, 32767],
  u16: [0, 65535],
};

function castText(emitter: Emitter, to: ElementType, from: ElementType, x: string): string {
  const [source, target] = [wasmType(from), wasmType(to)];
  if (to === "bool") return `(${source}.ne ${x} ${literalText(source, 0)})`;
  if (isFloat(from)) return isFloat(to) ? floatToFloat(emitter, to, from, x) : floatToInteger(to, source, x);
  if (isFloat(to)) {
    const converted = `(${target}.convert_${source}_${isUnsigned(from) ? "u" : "s"} ${x})`;
    return to === "f32" || to === "f64" ? converted : fitted(emitter, to, converted);
  }
  if (target === "i64") return source === "i64" ? x : `(i64.extend_i32_${isUnsigned(from) ? "u" : "s"} ${x})`;
  const low = source === "i64" ? `(i32.wrap_i64 ${x})` : x;
  return holdsAll(to, from) ? low : fitted(emitter, to, low);
}

/** Whether every value of `from` is one of `to`, so that nothing has to be wrapped. */
function holdsAll(to: ElementType, from: ElementType): boolean {
  if (from === "bool") return true;
  const narrow = narrowBits(to);
  return narrow === undefined || (narrowBits(from) === 8 && narrow === 16 && isUnsigned(from));
}

function floatToFloat(emitter: Emitter, to: ElementType, from: ElementType, x: string): string {
  if (to === "f64") return from === "f64" ? x : `(f64.promote_f32 ${x})`;
  if (from !== "f64") return to === "f32" || to === from ? x : fitted(emitter, to, x);
  if (to === "f16") return emitter.call("f16_decode", emitter.call("f16_encode_f64", x));
  return fitted(emitter, to, `(f32.demote_f64 ${x})`);
}

function floatToInteger(to: ElementType, source: string, x: string): string {
  const range = narrowRange[to];
  const target = wasmType(to);
  if (range === undefined) return `(${target}.trunc_sat_${source}_${isUnsigned(to) ? "u" : "s"} ${x})`;
  // min and max pass NaN on, which truncates to 0.
  const raised = `(${source}.max ${x} (${source}.const ${range[0]}))`;
  return `(i32.trunc_sat_${source}_s (${source}.min ${raised} (${source}.const ${range[1]})))`;
}

/** A table lookup as a binary tree of selections: no memory of its own, and no more than log2 n comparisons deep. */
export function tableLookup(emitter: Emitter, values: readonly number[], x: string): string {
  const index = emitter.once(x, "i32");
  let first = true;
  const read = () => {
    const text = first ? index.first : index.again;
    first = false;
    return text;
  };
  const visit = (from: number, to: number): string => {
    if (to - from === 1) return literalText("f32", values[from]);
    const middle = (from + to) >> 1;
    const test = `(i32.lt_s ${read()} (i32.const ${middle}))`;
    return `(if (result f32) ${test} (then ${visit(from, middle)}) (else ${visit(middle, to)}))`;
  };
  return values.length === 1 ? literalText("f32", values[0]) : visit(0, values.length);
}
