/** ONNX element types as Quern holds them: a plain element, or codes of a number format that has no plain element. */

import type { ElementType } from "../../numeric/element.ts";
import { e8m0, minifloat } from "../../numeric/minifloat.ts";
import { codeElement, intFormat, type NumberFormat } from "../../numeric/number_format.ts";
import { type DataTypeName, dataTypeName } from "./proto.ts";

/** `format` is set when the element holds codes (packed integers, small floats) rather than values. */
export interface ElementKind {
  readonly element: ElementType;
  readonly format?: NumberFormat;
}

const plainElements: { readonly [Name in DataTypeName]?: ElementType } = {
  float: "f32",
  uint8: "u8",
  int8: "i8",
  uint16: "u16",
  int16: "i16",
  int32: "i32",
  int64: "i64",
  bool: "bool",
  float16: "f16",
  double: "f64",
  uint32: "u32",
  uint64: "u64",
  bfloat16: "bf16",
};

const codedFormats: { readonly [Name in DataTypeName]?: NumberFormat } = {
  float8e4m3fn: minifloat(4, 3, "fn"),
  float8e4m3fnuz: minifloat(4, 3, "fnuz"),
  float8e5m2: minifloat(5, 2, "ieee"),
  float8e5m2fnuz: minifloat(5, 2, "fnuz"),
  uint4: intFormat(4, false),
  int4: intFormat(4, true),
  uint2: intFormat(2, false),
  int2: intFormat(2, true),
  float4e2m1: minifloat(2, 1, "none"),
  float8e8m0: e8m0,
};

/** The kind of a TensorProto.DataType; undefined when Quern has none (strings, complex numbers, unknown codes). */
export function elementKind(dataType: number): ElementKind | undefined {
  const name = dataTypeName(dataType);
  if (name === undefined) return undefined;
  const element = plainElements[name];
  if (element !== undefined) return { element };
  const format = codedFormats[name];
  return format === undefined ? undefined : { element: codeElement(format), format };
}

/** The name of a data type for messages. */
export function dataTypeText(dataType: number): string {
  return dataTypeName(dataType) ?? `type ${dataType}`;
}
