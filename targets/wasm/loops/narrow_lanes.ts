/** Sixteen lanes of bytes for minima and maxima, and lanes of raw bits for moves. */

import { elementBytes, type ElementType } from "../../../compiler/numeric/element.ts";
import type { Index, Scalar } from "../../loops/program.ts";
import { laneStride, type Meeting } from "./lanes.ts";
import { type Emitter, widthOf } from "./emitter.ts";
import { printScalar } from "./scalar.ts";
import { isUnsigned } from "./types.ts";
import { gatherLanes } from "./lane_memory.ts";
import { isVarying, type LaneContext } from "./vector_scalar.ts";
import { InvariantError } from "../../../compiler/diagnostics.ts";

function vectorLoad(emitter: Emitter, element: ElementType, buffer: string, index: Index): string {
  const { text, offset } = emitter.address(buffer, index, widthOf(element));
  return `(v128.load${offset === 0 ? "" : ` offset=${offset}`} ${text})`;
}

function vectorStore(emitter: Emitter, element: ElementType, buffer: string, index: Index, lanes: string): string {
  const { text, offset } = emitter.address(buffer, index, widthOf(element));
  return `(v128.store${offset === 0 ? "" : ` offset=${offset}`} ${text} ${lanes})`;
}

/** Sixteen lanes of an i8 or u8 scalar. */
export function byteLanes(context: LaneContext, scalar: Scalar): string {
  const { emitter } = context;
  const { element } = scalar;
  if (!isVarying(context, scalar)) return emitter.splat(scalar, "i8x16");
  switch (scalar.kind) {
    case "variable":
      return `(local.get $${context.localOf(scalar.name)})`;
    case "load":
      return vectorLoad(emitter, element, scalar.buffer, scalar.index);
    case "binary":
      if (scalar.operator === "min" || scalar.operator === "max") {
        return meetBytes(element, scalar.operator, byteLanes(context, scalar.x), byteLanes(context, scalar.y));
      }
  }
  throw new InvariantError(`A ${scalar.kind} over byte lanes`);
}

export function byteStore(context: LaneContext, buffer: string, index: Index, value: Scalar): string {
  return vectorStore(context.emitter, value.element, buffer, index, byteLanes(context, value));
}

export function meetBytes(element: ElementType, operator: Meeting, x: string, y: string): string {
  return `(i8x16.${operator}_${isUnsigned(element) ? "u" : "s"} ${x} ${y})`;
}

export function byteIdentity(variable: string): string {
  return `(i8x16.splat (local.get $${variable}))`;
}

/** A vector of neighbouring elements as they lie in memory, whatever they are. */
export function bitLanes(context: LaneContext, scalar: Scalar): string {
  const { emitter } = context;
  const { element } = scalar;
  if (!isVarying(context, scalar)) return uniformBits(emitter, scalar);
  if (scalar.kind === "variable") return `(local.get $${context.localOf(scalar.name)})`;
  if (scalar.kind !== "load") throw new InvariantError(`A ${scalar.kind} among moves`);
  const stride = laneStride(scalar.index, context.variable, context.varying);
  return stride === undefined || stride === 1
    ? vectorLoad(emitter, element, scalar.buffer, scalar.index)
    : gatherLanes(emitter, scalar.buffer, scalar.index, stride);
}

function uniformBits(emitter: Emitter, scalar: Scalar): string {
  const { element } = scalar;
  if (element === "f16" || element === "bf16") {
    return `(i16x8.splat ${emitter.call(`${element}_encode`, printScalar(emitter, scalar))})`;
  }
  if (element === "f32" || element === "f64") return emitter.splat(scalar, element === "f32" ? "f32x4" : "f64x2");
  const shapes = { 1: "i8x16", 2: "i16x8", 4: "i32x4", 8: "i64x2" } as const;
  const bytes = elementBytes(element);
  if (bytes !== 1 && bytes !== 2 && bytes !== 4 && bytes !== 8) throw new InvariantError(`${bytes} bytes in a lane`);
  return emitter.splat(scalar, shapes[bytes]);
}

export function bitStore(context: LaneContext, buffer: string, index: Index, value: Scalar): string {
  return vectorStore(context.emitter, value.element, buffer, index, bitLanes(context, value));
}
