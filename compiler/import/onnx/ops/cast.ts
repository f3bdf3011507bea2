/** Cast and CastLike between plain elements, and from and to the codes of formats without a plain element. */

import type { ElementType } from "../../../numeric/element.ts";
import { decodeMinifloat, type MinifloatFormat } from "../../../numeric/minifloat.ts";
import { formatBits, formatName, type NumberFormat } from "../../../numeric/number_format.ts";
import { perTensor, type QuantScheme } from "../../../numeric/scheme.ts";
import { binary, cast, compare, type Expression, literal, select, unary } from "../../../ir/expression.ts";
import type { ValueName } from "../../../ir/node.ts";
import { dataTypeText, type ElementKind, elementKind } from "../element_kind.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { unsupported } from "./faults.ts";
import { floatConstant, mapOf } from "./operands.ts";

function importCast(context: ImportContext): readonly ValueName[] {
  const dataType = context.node.attributes.int("to");
  const kind = elementKind(dataType) ?? unsupported(context, `Cast to ${dataTypeText(dataType)} is not supported`);
  return [castTo(context, context.input(0), kind)];
}

function importCastLike(context: ImportContext): readonly ValueName[] {
  const like = context.input(1);
  const kind = { element: context.typeOf(like).element, format: context.formatOf(like) };
  return [castTo(context, context.input(0), kind)];
}

function castTo(context: ImportContext, x: ValueName, { element, format }: ElementKind): ValueName {
  const saturates = context.node.attributes.int("saturate", 1) !== 0;
  const roundMode = context.node.attributes.string("round_mode", "up");
  const held = context.formatOf(x);
  const value = held === undefined || held.kind === "int" ? x : decoded(context, x, held);
  if (format === undefined) return context.builder.cast(value, element);
  if (format.kind === "int") return context.withFormat(integerCodes(context, value, format, element), format);
  if (format.kind === "minifloat" && format.mantissaBits === 0 && roundMode !== "nearest") {
    return unsupported(context, `rounding "${roundMode}" to ${formatName(format)} is not supported`);
  }
  return context.withFormat(floatCodes(context, value, format, saturates), format);
}

function unitScheme(format: NumberFormat, rank: number): QuantScheme {
  return { format, block: perTensor(rank), step: "f32", zeroPoint: false, range: "static" };
}

function unitStep(context: ImportContext, rank: number): ValueName {
  return floatConstant(context, "f32", new Array<number>(rank).fill(1), [1]);
}

/** The f32 values of codes. */
function decoded(context: ImportContext, codes: ValueName, format: NumberFormat): ValueName {
  const rank = context.typeOf(codes).shape.length;
  const scheme = unitScheme(format, rank);
  const bundle = context.builder.add("fromCodes", [codes, unitStep(context, rank)], { scheme, element: "f32" });
  return context.builder.add("dequantize", [bundle], {});
}

/** The low bits of a value cut to an integer, as two's complement where the format is signed. */
function integerCodes(
  context: ImportContext,
  value: ValueName,
  format: NumberFormat & { readonly kind: "int" },
  element: ElementType,
): ValueName {
  const { bits, signed } = format;
  return mapOf(context, [value], ([x]) => {
    const whole = cast("i32", x);
    const spare = literal(32 - bits, "i32");
    const kept = signed
      ? binary("shr", binary("shl", whole, spare), spare)
      : binary("and", whole, literal(2 ** bits - 1, "i32"));
    return cast(element, kept);
  });
}

/** The nearest codes; without saturation, what rounds above the largest number becomes infinity or NaN. */
function floatCodes(context: ImportContext, value: ValueName, format: NumberFormat, saturates: boolean): ValueName {
  const real = context.builder.cast(value, "f32");
  const rank = context.typeOf(value).shape.length;
  const quantized = context.builder.add("quantize", [real, unitStep(context, rank)], {
    scheme: unitScheme(format, rank),
  });
  const codes = context.builder.add("toCodes", [quantized], {});
  if (saturates || format.kind !== "minifloat" || format.specials === "none") return codes;
  const { threshold, inclusive, code } = overflowOf(format);
  const { element } = context.typeOf(codes);
  const signBit = literal(2 ** (formatBits(format) - 1), element);
  return mapOf(context, [real, codes], ([x, near]): Expression => {
    const above = compare(inclusive ? "ge" : "gt", unary("abs", x), literal(threshold));
    const sign = format.specials === "fnuz" ? signBit : binary("and", near, signBit);
    return select(above, binary("or", sign, literal(code, element)), near);
  });
}

/** Where numbers leave a format, half a step above its largest one, and the code of what they become. */
function overflowOf(
  format: MinifloatFormat,
): { readonly threshold: number; readonly inclusive: boolean; readonly code: number } {
  const magnitudes = 2 ** (format.exponentBits + format.mantissaBits);
  const special = format.specials === "ieee"
    ? magnitudes - 2 ** format.mantissaBits
    : format.specials === "fn"
    ? magnitudes - 1
    : magnitudes;
  const [below, top] = [special - 2, special - 1].map((code) => decodeMinifloat(format, code));
  // Ties go to the even code: out of the format where the top code is odd.
  return {
    threshold: top + (top - below) / 2,
    inclusive: special % 2 === 0,
    code: format.specials === "fnuz" ? 0 : special,
  };
}

export const castImporters: OpImporterTable = {
  Cast: importCast,
  CastLike: importCastLike,
};
