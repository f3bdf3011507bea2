/** Types of values: shape, element, and how the elements are held. */

import { type ElementType, isElementType } from "../numeric/element.ts";
import { parseScheme, printScheme, type QuantScheme } from "../numeric/scheme.ts";
import { equalShapes, type Extent, parseExtent, printExtent } from "./extent.ts";

/** Storage order of packed codes. A layout says nothing about what the codes mean. */
export interface PackLayout {
  /** Name of the layout in the packer's table, e.g. `rows`, `panel`. */
  readonly name: string;
  /** Every number the layout depends on, by name. */
  readonly parameters: Readonly<Record<string, number>>;
}

/**
 * `plain`: elements as they are. `quantized`: a bundle of codes, steps and (if the scheme says so) zero points, one
 * logical tensor. `packed`: the same bundle with its codes in a target's storage order.
 */
export type Encoding =
  | { readonly kind: "plain" }
  | { readonly kind: "quantized"; readonly scheme: QuantScheme }
  | { readonly kind: "packed"; readonly scheme: QuantScheme; readonly layout: PackLayout };

/** `element` of a quantized tensor is the real type that it stands for (`f32` unless the source model says otherwise). */
export interface TensorType {
  readonly element: ElementType;
  readonly shape: readonly Extent[];
  readonly encoding: Encoding;
}

export const plain: Encoding = { kind: "plain" };

export function tensorType(element: ElementType, shape: readonly Extent[], encoding: Encoding = plain): TensorType {
  return { element, shape, encoding };
}

export function quantizedType(
  scheme: QuantScheme,
  shape: readonly Extent[],
  element: ElementType = "f32",
): TensorType {
  return { element, shape, encoding: { kind: "quantized", scheme } };
}

/** The scheme of a quantized or packed type. */
export function schemeOf(type: TensorType): QuantScheme | undefined {
  return type.encoding.kind === "plain" ? undefined : type.encoding.scheme;
}

export function equalTypes(a: TensorType, b: TensorType): boolean {
  return a.element === b.element && equalShapes(a.shape, b.shape) &&
    JSON.stringify(a.encoding) === JSON.stringify(b.encoding);
}

/** `f32[1,seq,64]`, `q<int4, block[1,32], f16>[32,64]`. */
export function printType(type: TensorType): string {
  const shape = `[${type.shape.map(printExtent).join(",")}]`;
  switch (type.encoding.kind) {
    case "plain":
      return `${type.element}${shape}`;
    case "quantized":
      return `${quantizedPrefix(type.encoding.scheme, type.element)}${shape}`;
    case "packed": {
      const { name, parameters } = type.encoding.layout;
      const list = Object.entries(parameters).map(([key, value]) => `${key}=${value}`).join(",");
      return `${quantizedPrefix(type.encoding.scheme, type.element)}@${name}(${list})${shape}`;
    }
  }
}

function quantizedPrefix(scheme: QuantScheme, element: ElementType): string {
  return element === "f32" ? printScheme(scheme) : `${element}:${printScheme(scheme)}`;
}

/** The inverse of `printType`; undefined when the text is not a type. */
export function parseType(text: string): TensorType | undefined {
  const match = /^(?:(?:(\w+):)?(q<[^<>]*>)(?:@([\w-]+)\(([^()]*)\))?|(\w+))\[([^\[\]]*)\]$/.exec(text.trim());
  if (match === null) return undefined;
  const [, real = "f32", schemeText, layoutName, parameterText = "", plainElement, shapeText] = match;
  const element = plainElement ?? real;
  const shape = shapeText.trim() === "" ? [] : shapeText.split(",").map(parseExtent);
  const known = shape.filter((extent) => extent !== undefined);
  if (!isElementType(element) || known.length !== shape.length) return undefined;
  if (schemeText === undefined) return tensorType(element, known);
  const scheme = parseScheme(schemeText);
  if (scheme === undefined) return undefined;
  if (layoutName === undefined) return quantizedType(scheme, known, element);
  const parameters = parseParameters(parameterText);
  return parameters && tensorType(element, known, { kind: "packed", scheme, layout: { name: layoutName, parameters } });
}

function parseParameters(text: string): Record<string, number> | undefined {
  const entries = text.split(",").filter((entry) => entry.trim() !== "").map((entry) => entry.split("="));
  if (entries.some((entry) => entry.length !== 2 || !/^-?\d+(\.\d+)?$/.test(entry[1].trim()))) return undefined;
  return Object.fromEntries(entries.map(([key, value]) => [key.trim(), Number(value)]));
}
