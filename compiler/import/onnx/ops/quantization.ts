/** How ONNX's scales and zero points become quantized types. */

import { type ElementType, isFloat } from "../../../numeric/element.ts";
import { codeElement, formatBits, formatName, intFormat, type NumberFormat } from "../../../numeric/number_format.ts";
import { perAxis, perTensor, type QuantScheme, type StepFormat } from "../../../numeric/scheme.ts";
import { type Extent, isStatic, printExtent } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import { symbolicStepShape } from "../../../ir/type_rules.ts";
import type { ImportContext } from "../op_importer.ts";
import { stepOperands } from "../step_operands.ts";
import { malformed, unsupported } from "./faults.ts";
import { expanded, numbersOf, plainConstant, reshaped } from "./operands.ts";

/** A scheme with the operands that its ops take. */
export interface Quantization {
  readonly scheme: QuantScheme;
  /** f32, of the scheme's step shape. */
  readonly step: ValueName;
  /** i32, of the scheme's step shape; absent where all zero points are known to be 0. */
  readonly zero: ValueName | undefined;
}

/** Where steps lie: `axis` for one step per index, with `block` for blocks along it. */
export interface Granularity {
  readonly axis: number;
  /** 0: none. */
  readonly block: number;
}

const integerElements: { readonly [E in ElementType]?: NumberFormat } = {
  u8: intFormat(8, false),
  i8: intFormat(8, true),
  u16: intFormat(16, false),
  i16: intFormat(16, true),
  i32: intFormat(32, true),
};

/** The number format of a value of codes: its own, or that of its integer element. */
export function formatOfCodes(context: ImportContext, value: ValueName): NumberFormat {
  const { element } = context.typeOf(value);
  return context.formatOf(value) ?? integerElements[element] ??
    unsupported(context, `codes of ${element} are not supported`);
}

/** The quantization of a tensor of this shape by a scale and a zero point (both as ONNX has them). */
export function quantizationOf(
  context: ImportContext,
  shape: readonly Extent[],
  format: NumberFormat,
  scale: ValueName,
  zeroPoint: ValueName | undefined,
  granularity: Granularity,
): Quantization {
  const block = blockOf(context, shape, scale, granularity);
  const zero = zeroPoint === undefined || isAllZero(context, zeroPoint) ? undefined : zeroPoint;
  if (zero !== undefined && format.kind !== "int") {
    return unsupported(context, `a zero point of ${formatName(format)} that is not 0`);
  }
  const scheme: QuantScheme = {
    format,
    block,
    step: stepFormat(context, scale),
    zeroPoint: zero !== undefined,
    range: "static",
  };
  const steps = symbolicStepShape(scheme, shape);
  return {
    scheme,
    step: fitted(context, context.builder.cast(scale, "f32"), steps, "scale"),
    zero: zero === undefined ? undefined : fitted(context, context.builder.cast(zero, "i32"), steps, "zero point"),
  };
}

/** A scale or zero point in the step shape: of one entry for all, or of one for each. */
function fitted(context: ImportContext, value: ValueName, steps: readonly Extent[], what: string): ValueName {
  const { shape } = context.typeOf(value);
  const isOne = shape.every((extent) => extent === 1);
  if (isOne) return expanded(context, reshaped(context, value, steps.map(() => 1)), steps);
  const size = (extents: readonly Extent[]) => extents.every(isStatic) ? extents.reduce((a, b) => a * b, 1) : undefined;
  if (size(shape) === undefined || size(shape) !== size(steps)) {
    return malformed(
      context,
      `the ${what} has the shape [${shape.map(printExtent)}], wanted [${steps.map(printExtent)}]`,
    );
  }
  return reshaped(context, value, steps);
}

function blockOf(
  context: ImportContext,
  shape: readonly Extent[],
  scale: ValueName,
  { axis, block }: Granularity,
): readonly (number | "all")[] {
  const steps = context.typeOf(scale).shape;
  const rank = shape.length;
  if (block > 0) {
    const at = context.axis(axis, rank);
    if (steps.length !== rank) malformed(context, `blocked scales have rank ${steps.length}, the tensor has ${rank}`);
    return Array.from({ length: rank }, (_, index) => (index === at ? block : 1));
  }
  if (steps.every((extent) => extent === 1)) return perTensor(rank);
  if (steps.length === 1) return perAxis(rank, context.axis(axis, rank));
  return unsupported(context, `scales of the shape [${steps.map(printExtent)}] without block_size`);
}

function stepFormat(context: ImportContext, scale: ValueName): StepFormat {
  const { element } = context.typeOf(scale);
  if (!isFloat(element)) return malformed(context, `the scale is ${element}`);
  return element === "f16" || element === "bf16" ? element : "f32";
}

/** Whether a zero point is known to be 0 everywhere. A float code of 0 is the number 0. */
function isAllZero(context: ImportContext, value: ValueName): boolean {
  const tensor = plainConstant(context, value);
  return tensor !== undefined && numbersOf(tensor).every((entry) => entry === 0);
}

/** Codes with their quantization as one value of quantized type; what `quantize` made is found again. */
export function bundle(
  context: ImportContext,
  codes: ValueName,
  { scheme, step, zero }: Quantization,
  element: ElementType = "f32",
): ValueName {
  const { builder } = context;
  const wanted = codeElement(scheme.format);
  const made = context.producerOf(codes);
  if (made?.op === "toCodes" && isQuantizedBy(context, made.inputs[0], { scheme, step, zero }, element)) {
    return made.inputs[0];
  }
  const held = context.typeOf(codes).element;
  if (held !== wanted) return malformed(context, `codes are ${held}, ${formatName(scheme.format)} needs ${wanted}`);
  const operands = zero === undefined ? [codes, step] : [codes, step, zero];
  return builder.add("fromCodes", operands, { scheme, element });
}

/** Whether a quantized value was made with this scheme and these very operands. */
function isQuantizedBy(
  context: ImportContext,
  value: ValueName,
  { scheme, step, zero }: Quantization,
  element: ElementType,
): boolean {
  const type = context.typeOf(value);
  const source = context.producerOf(value);
  const operands = source === undefined ? undefined : stepOperands(source);
  return operands !== undefined && operands.step === step && operands.zero === zero && type.element === element &&
    type.encoding.kind === "quantized" && JSON.stringify(type.encoding.scheme) === JSON.stringify(scheme);
}

/** The codes of a quantized value, marked with their format where they have no plain element. */
export function codesOf(context: ImportContext, quantized: ValueName, format: NumberFormat): ValueName {
  return markCodes(context, context.builder.add("toCodes", [quantized], {}), format);
}

/** Marks codes that have no plain element of their own. */
export function markCodes(context: ImportContext, codes: ValueName, format: NumberFormat): ValueName {
  const isPlain = format.kind === "int" && (formatBits(format) === 8 || formatBits(format) >= 16);
  return isPlain ? codes : context.withFormat(codes, format);
}

/** Static quantization of a float value; other elements are converted first. */
export function quantized(context: ImportContext, x: ValueName, { scheme, step, zero }: Quantization): ValueName {
  const { element } = context.typeOf(x);
  const real = isFloat(element) ? x : context.builder.cast(x, "f32");
  return context.builder.add("quantize", zero === undefined ? [real, step] : [real, step, zero], { scheme });
}
