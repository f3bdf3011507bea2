/** Concrete tensors: what the evaluator computes with, and what constants hold. */

import { allocate, type ElementStorage, type ElementType } from "../numeric/element.ts";
import type { QuantScheme } from "../numeric/scheme.ts";
import { codeElement } from "../numeric/number_format.ts";
import { plain, type TensorType, tensorType } from "./types.ts";

/** A dense row-major tensor. `data` has exactly the product of `shape` entries. */
export interface PlainTensor<E extends ElementType = ElementType> {
  readonly kind: "plain";
  readonly element: E;
  readonly shape: readonly number[];
  readonly data: ElementStorage[E];
}

/** Codes with their steps, zero points and offsets (see QuantScheme for the meaning). Codes are unpacked, one per entry. */
export interface QuantizedTensor {
  readonly kind: "quantized";
  readonly scheme: QuantScheme;
  /** The real element that the tensor stands for. */
  readonly element: ElementType;
  readonly shape: readonly number[];
  readonly codes: PlainTensor;
  /** f32, of the scheme's step shape. */
  readonly steps: PlainTensor<"f32">;
  /** i32, of the scheme's step shape; present when the scheme has a zero point. */
  readonly zeros?: PlainTensor<"i32">;
  /** f32, of the scheme's step shape; present when the scheme has an offset. */
  readonly offsets?: PlainTensor<"f32">;
  /** f32, of the outer scheme's step shape; present when the scheme has outer steps. */
  readonly outerSteps?: PlainTensor<"f32">;
}

export type Tensor = PlainTensor | QuantizedTensor;

export function plainTensor<E extends ElementType>(
  element: E,
  shape: readonly number[],
  data: ElementStorage[E],
): PlainTensor<E> {
  return { kind: "plain", element, shape, data };
}

export function emptyTensor<E extends ElementType>(element: E, shape: readonly number[]): PlainTensor<E> {
  return plainTensor(element, shape, allocate(element, sizeOf(shape)));
}

export function scalarTensor<E extends ElementType>(element: E, data: ElementStorage[E]): PlainTensor<E> {
  return plainTensor(element, [], data);
}

export function floatTensor(shape: readonly number[], values: ArrayLike<number>): PlainTensor<"f32"> {
  return plainTensor("f32", shape, new Float32Array(values));
}

/** Number of entries of a static shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, extent) => size * extent, 1);
}

/** Row-major strides in entries. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

export function isPlain<E extends ElementType>(tensor: Tensor, element: E): tensor is PlainTensor<E> {
  return tensor.kind === "plain" && tensor.element === element;
}

/** The type of a concrete tensor. */
export function typeOfTensor(tensor: Tensor): TensorType {
  return tensor.kind === "plain"
    ? tensorType(tensor.element, tensor.shape, plain)
    : tensorType(tensor.element, tensor.shape, { kind: "quantized", scheme: tensor.scheme });
}

/** The plain element of a scheme's unpacked codes. */
export function codesElement(scheme: QuantScheme): ElementType {
  return codeElement(scheme.format);
}

export type TensorRole = "data" | "codes" | "steps" | "zeros" | "offsets" | "outerSteps";

/** The arrays behind a tensor with their roles, in a fixed order. */
export function tensorParts(
  tensor: Tensor,
): readonly { readonly role: TensorRole; readonly tensor: PlainTensor }[] {
  if (tensor.kind === "plain") return [{ role: "data", tensor }];
  const parts: { role: TensorRole; tensor: PlainTensor }[] = [
    { role: "codes", tensor: tensor.codes },
    { role: "steps", tensor: tensor.steps },
  ];
  if (tensor.zeros !== undefined) parts.push({ role: "zeros", tensor: tensor.zeros });
  if (tensor.offsets !== undefined) parts.push({ role: "offsets", tensor: tensor.offsets });
  if (tensor.outerSteps !== undefined) parts.push({ role: "outerSteps", tensor: tensor.outerSteps });
  return parts;
}
