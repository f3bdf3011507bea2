/** Ranges of i32 scalars that their form tells, so that narrowing needs no wrap. */

import { type ElementType, integerRange, isInteger } from "../../../compiler/numeric/element.ts";
import type { Scalar } from "../../loops/program.ts";

interface Range {
  readonly low: number;
  readonly high: number;
}

function elementRange(element: ElementType): Range | undefined {
  if (element === "bool") return { low: 0, high: 1 };
  if (!isInteger(element) || element === "i64" || element === "u64") return undefined;
  const { min, max } = integerRange(element);
  return { low: Number(min), high: Number(max) };
}

function rangeOf(scalar: Scalar): Range | undefined {
  switch (scalar.kind) {
    case "literal":
      return { low: Number(scalar.value), high: Number(scalar.value) };
    case "cast":
      return elementRange(scalar.x.element) === undefined || scalar.element !== "i32"
        ? elementRange(scalar.element)
        : rangeOf(scalar.x) ?? elementRange(scalar.x.element);
    case "binary": {
      const [x, y] = [rangeOf(scalar.x), rangeOf(scalar.y)];
      if (x === undefined || y === undefined) return elementRange(scalar.element);
      if (scalar.operator === "min") return { low: Math.min(x.low, y.low), high: Math.min(x.high, y.high) };
      if (scalar.operator === "max") return { low: Math.max(x.low, y.low), high: Math.max(x.high, y.high) };
      return elementRange(scalar.element);
    }
    default:
      return elementRange(scalar.element);
  }
}

/** Whether an integer scalar cannot leave the range of an element. */
export function fits(scalar: Scalar, element: ElementType): boolean {
  const [own, wanted] = [rangeOf(scalar), elementRange(element)];
  return own !== undefined && wanted !== undefined && own.low >= wanted.low && own.high <= wanted.high;
}

/** x of min(max(x, low), high) where low..high is exactly the range of an element of 8 or 16 bits. */
export function clampOf(scalar: Scalar, element: ElementType): Scalar | undefined {
  const wanted = elementRange(element);
  if (wanted === undefined || scalar.kind !== "binary" || scalar.operator !== "min") return undefined;
  const { x, y } = scalar;
  if (y.kind !== "literal" || Number(y.value) !== wanted.high || x.kind !== "binary" || x.operator !== "max") {
    return undefined;
  }
  return x.y.kind === "literal" && Number(x.y.value) === wanted.low ? x.x : undefined;
}
