/** The dense arrays that stand behind a value in a target's memory. */

import { elementBytes, type ElementType } from "../../compiler/numeric/element.ts";
import { codeElement } from "../../compiler/numeric/number_format.ts";
import { type Extent, shapeBound, type SymbolTable } from "../../compiler/ir/extent.ts";
import { sizeOf, type TensorRole } from "../../compiler/ir/tensor.ts";
import { symbolicStepShape } from "../../compiler/ir/type_rules.ts";
import { outerScheme } from "../../compiler/numeric/scheme.ts";
import type { TensorType } from "../../compiler/ir/types.ts";

export interface PartType {
  readonly part: TensorRole;
  readonly element: ElementType;
  readonly shape: readonly Extent[];
}

/** The parts of a value of this type, in the order of `tensorParts`. */
export function partsOfType(type: TensorType): readonly PartType[] {
  if (type.encoding.kind === "plain") return [{ part: "data", element: type.element, shape: type.shape }];
  const { scheme } = type.encoding;
  const steps = symbolicStepShape(scheme, type.shape);
  const parts: PartType[] = [
    { part: "codes", element: codeElement(scheme.format), shape: type.shape },
    { part: "steps", element: "f32", shape: steps },
  ];
  if (scheme.zeroPoint) parts.push({ part: "zeros", element: "i32", shape: steps });
  if (scheme.offset) parts.push({ part: "offsets", element: "f32", shape: steps });
  if (scheme.outer) {
    parts.push({ part: "outerSteps", element: "f32", shape: symbolicStepShape(outerScheme(scheme), type.shape) });
  }
  return parts;
}

/** Bytes of a part, dense over the bounds of its extents. */
export function partBytes(part: PartType, symbols: SymbolTable): number {
  return sizeOf(shapeBound(part.shape, symbols)) * elementBytes(part.element);
}

/** Key of a part of a value in tables. */
export function partKey(value: string, part: TensorRole): string {
  return `${value}:${part}`;
}
