/** Operands of a lowering: where each value's parts lie, and how an element of it is read. */

import { extentBound, type SymbolTable } from "../../compiler/ir/extent.ts";
import type { Extent } from "../../compiler/ir/extent.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { stridesOf } from "../../compiler/ir/tensor.ts";
import { schemeOf, type TensorType } from "../../compiler/ir/types.ts";
import { elementBytes, type ElementType } from "../../compiler/numeric/element.ts";
import { codeElement } from "../../compiler/numeric/number_format.ts";
import { outerScheme, type QuantScheme, stepShape } from "../../compiler/numeric/scheme.ts";
import type { LoopBuilder } from "./build.ts";
import { decodeCodeScalar } from "./codes.ts";
import { divIndex, dotIndex } from "./index.ts";
import type { BufferPart, BufferSource, Index, Scalar } from "./program.ts";
import { add, castTo, mul, sub } from "./scalar.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";

/** A value (or state) as a lowering sees it. Buffers are registered when a part is first touched. */
export interface Operand {
  readonly role: string;
  readonly source: BufferSource;
  readonly type: TensorType;
  readonly shape: readonly Extent[];
  /** Largest extents; strides are row-major over them. */
  readonly bounds: readonly number[];
  readonly strides: readonly number[];
  readonly element: ElementType;
  readonly scheme: QuantScheme | undefined;
}

export function operandOf(source: BufferSource, type: TensorType, role: string, symbols: SymbolTable): Operand {
  const bounds = type.shape.map((extent) => extentBound(extent, symbols));
  return {
    role,
    source,
    type,
    shape: type.shape,
    bounds,
    strides: stridesOf(bounds),
    element: type.element,
    scheme: schemeOf(type),
  };
}

export function valueSource(value: ValueName): BufferSource {
  return { kind: "value", value };
}

/** Element of one part of an operand. */
export function partElement(operand: Operand, part: BufferPart): ElementType {
  if (part === "data") return operand.element;
  if (part === "steps" || part === "offsets" || part === "outerSteps") return "f32";
  if (part === "zeros") return "i32";
  if (operand.scheme === undefined) throw new InvariantError(`Operand ${operand.role} has no codes`);
  return codeElement(operand.scheme.format);
}

/** Bounds of one part of an operand. */
export function partBounds(operand: Operand, part: BufferPart): readonly number[] {
  if (part === "data" || part === "codes") return operand.bounds;
  if (operand.scheme === undefined) throw new InvariantError(`Operand ${operand.role} has no ${part}`);
  return stepShape(part === "outerSteps" ? outerScheme(operand.scheme) : operand.scheme, operand.bounds);
}

/** The parts that an operand has, in their fixed order. */
export function partsOf(operand: Operand): readonly BufferPart[] {
  const { scheme } = operand;
  if (scheme === undefined) return ["data"];
  return [
    "codes",
    "steps",
    ...(scheme.zeroPoint ? ["zeros" as const] : []),
    ...(scheme.offset ? ["offsets" as const] : []),
    ...(scheme.outer ? ["outerSteps" as const] : []),
  ];
}

const partSuffix: Readonly<Record<BufferPart, string>> = {
  data: "",
  codes: "Codes",
  steps: "Steps",
  zeros: "Zeros",
  offsets: "Offsets",
  outerSteps: "OuterSteps",
};

/** Name of the buffer of one part, registered on first use. */
export function bufferOf(b: LoopBuilder, operand: Operand, part: BufferPart, access: "read" | "write"): string {
  return b.buffer(operand.role + partSuffix[part], {
    source: operand.source,
    part,
    element: partElement(operand, part),
    extent: partBounds(operand, part).reduce((size, extent) => size * extent, 1),
    access,
  });
}

/** Bytes of one part over the bounds. */
export function partBytes(operand: Operand, part: BufferPart): number {
  return partBounds(operand, part).reduce((size, extent) => size * extent, elementBytes(partElement(operand, part)));
}

export function loadPart(b: LoopBuilder, operand: Operand, part: BufferPart, index: Index): Scalar {
  return {
    kind: "load",
    element: partElement(operand, part),
    buffer: bufferOf(b, operand, part, "read"),
    index,
  };
}

/** x[indices] of a plain operand. */
export function load(b: LoopBuilder, operand: Operand, indices: readonly Index[]): Scalar {
  return loadPart(b, operand, "data", dotIndex(indices, operand.strides));
}

/** Position of the step (and zero point) of a code; of its outer step where that is asked for. */
export function stepIndex(operand: Operand, indices: readonly Index[], level: "inner" | "outer" = "inner"): Index {
  if (operand.scheme === undefined) throw new InvariantError(`Operand ${operand.role} has no steps`);
  const scheme = level === "outer" ? outerScheme(operand.scheme) : operand.scheme;
  const strides = stridesOf(stepShape(scheme, operand.bounds));
  const blocks = indices.map((index, axis) => {
    const block = scheme.block[axis];
    return block === "all" ? 0 : divIndex(index, block);
  });
  return dotIndex(blocks, strides);
}

/** (value(code) - zero) * step, * outer step or + offset, in f32, rounded to the operand's element; plain operands as they are. */
export function loadReal(b: LoopBuilder, operand: Operand, indices: readonly Index[]): Scalar {
  if (operand.scheme === undefined) return load(b, operand, indices);
  const { scheme } = operand;
  const code = loadPart(b, operand, "codes", dotIndex(indices, operand.strides));
  const at = stepIndex(operand, indices);
  const step = loadPart(b, operand, "steps", at);
  const zero = scheme.zeroPoint ? loadPart(b, operand, "zeros", at) : undefined;
  const inner = decodeReal(b, scheme, code, step, zero);
  const real = scheme.outer
    ? mul(inner, loadPart(b, operand, "outerSteps", stepIndex(operand, indices, "outer")))
    : inner;
  return castTo(operand.element, scheme.offset ? add(real, loadPart(b, operand, "offsets", at)) : real);
}

/** (value(code) - zero) * step in f32. Integer codes subtract in i32, which is exact. */
export function decodeReal(
  b: LoopBuilder,
  scheme: QuantScheme,
  code: Scalar,
  step: Scalar,
  zero: Scalar | undefined,
): Scalar {
  if (scheme.format.kind === "int") {
    const wide = castTo("i32", code);
    return mul(castTo("f32", zero === undefined ? wide : sub(wide, zero)), step);
  }
  const value = decodeCodeScalar(b, scheme.format, code);
  return mul(zero === undefined ? value : sub(value, castTo("f32", zero)), step);
}

/** Strides of an operand per axis of a shape of `rank` axes that it broadcasts to; 0 along broadcast axes. */
export function broadcastStrides(operand: Operand, rank: number): number[] {
  return Array.from({ length: rank }, (_, axis) => {
    const own = axis - rank + operand.shape.length;
    return own < 0 || operand.shape[own] === 1 ? 0 : operand.strides[own];
  });
}
