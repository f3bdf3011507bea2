/** QuantizeLinear and its kin: plain codes at the ONNX level, values of quantized type inside. */

import { type ElementType, isFloat } from "../../../numeric/element.ts";
import { intFormat, intRange, type NumberFormat, uint8 } from "../../../numeric/number_format.ts";
import { perTensor, type QuantScheme } from "../../../numeric/scheme.ts";
import { binary, cast, input, literal, unary } from "../../../ir/expression.ts";
import type { ValueName } from "../../../ir/node.ts";
import { elementKind } from "../element_kind.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { malformed, unsupported } from "./faults.ts";
import { reshaped } from "./operands.ts";
import { bundle, codesOf, formatOfCodes, type Granularity, quantizationOf, quantized } from "./quantization.ts";

/** Axis and block size as the op's version has them. */
function granularityOf(context: ImportContext): Granularity {
  const { attributes, opset, domain } = context.node;
  const axis = opset >= 13 || domain !== "" ? attributes.int("axis", 1) : 1;
  const block = opset >= 21 || domain !== "" ? attributes.int("block_size", 0) : 0;
  return block >= 0 ? { axis, block } : malformed(context, `block_size is ${block}`);
}

/** The element that an attribute names; undefined when it names none. */
function elementAttribute(context: ImportContext, name: string) {
  const code = context.node.attributes.int(name, 0);
  if (code === 0) return undefined;
  return elementKind(code) ?? unsupported(context, `${name} is ${code}`);
}

function outputFormat(context: ImportContext): NumberFormat {
  const zeroPoint = context.optional(2);
  const wanted = elementAttribute(context, "output_dtype");
  if (zeroPoint !== undefined) return formatOfCodes(context, zeroPoint);
  if (wanted === undefined) return uint8;
  return wanted.format ?? integerFormat(context, wanted.element);
}

function integerFormat(context: ImportContext, element: ElementType): NumberFormat {
  const bits = { i8: 8, u8: 8, i16: 16, u16: 16 }[String(element)];
  return bits === undefined
    ? unsupported(context, `quantizing to ${element}`)
    : intFormat(bits, element.startsWith("i"));
}

function importQuantizeLinear(context: ImportContext): readonly ValueName[] {
  const [x, scale, zeroPoint] = [context.input(0), context.input(1), context.optional(2)];
  const { attributes } = context.node;
  if (attributes.int("saturate", 1) === 0) unsupported(context, "float8 codes that do not saturate");
  const precision = elementAttribute(context, "precision")?.element;
  if (precision !== undefined && precision !== "f32") unsupported(context, `division in ${precision}`);
  const format = outputFormat(context);
  const quantization = quantizationOf(
    context,
    context.typeOf(x).shape,
    format,
    scale,
    zeroPoint,
    granularityOf(context),
  );
  return [codesOf(context, quantized(context, x, quantization), format)];
}

function importDequantizeLinear(context: ImportContext): readonly ValueName[] {
  const [codes, scale, zeroPoint] = [context.input(0), context.input(1), context.optional(2)];
  const format = formatOfCodes(context, codes);
  const { shape } = context.typeOf(codes);
  const quantization = quantizationOf(context, shape, format, scale, zeroPoint, granularityOf(context));
  const wanted = elementAttribute(context, "output_dtype")?.element ?? context.typeOf(scale).element;
  if (!isFloat(wanted)) return malformed(context, `output_dtype is ${wanted}`);
  return [context.builder.add("dequantize", [bundle(context, codes, quantization, wanted)], {})];
}

/** The scheme of DynamicQuantizeLinear. */
export function dynamicScheme(rank: number): QuantScheme {
  return { format: uint8, block: perTensor(rank), step: "f32", zeroPoint: true, range: "dynamic" };
}

/**
 * Codes and step come from one dynamic quantize; the zero point is computed again from the range, by the same formula:
 * clamp(round(0 - lo / step)) with lo = min(x, 0).
 */
function importDynamicQuantizeLinear(context: ImportContext): readonly ValueName[] {
  const { builder } = context;
  const x = context.input(0);
  const rank = context.typeOf(x).shape.length;
  const value = builder.add("quantize", [x], { scheme: dynamicScheme(rank) });
  const step = reshaped(context, builder.add("toSteps", [value], {}), []);
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  const least = builder.add("reduce", [x], { kind: "min", axes, keepAxes: false });
  const { min, max } = intRange(intFormat(8, false));
  const low = binary("min", input(0), literal(0));
  const zero = unary("round", unary("neg", binary("div", low, input(1))));
  const clamped = binary("min", binary("max", zero, literal(min)), literal(max));
  const zeroPoint = builder.map(cast("u8", clamped), [least, step], { name: "zero_point" });
  context.markZero(zeroPoint, value);
  return [codesOf(context, value, uint8), step, zeroPoint];
}

export const quantizedImporters: OpImporterTable = {
  QuantizeLinear: importQuantizeLinear,
  DequantizeLinear: importDequantizeLinear,
  DynamicQuantizeLinear: importDynamicQuantizeLinear,
  "com.microsoft:QuantizeLinear": importQuantizeLinear,
  "com.microsoft:DequantizeLinear": importDequantizeLinear,
};
