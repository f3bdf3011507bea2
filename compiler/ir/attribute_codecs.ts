/** How every attribute of every op is written, read and checked. */

import { type ElementType, isElementType } from "../numeric/element.ts";
import { parseScheme, printScheme, type QuantScheme } from "../numeric/scheme.ts";
import { InvariantError } from "../diagnostics.ts";
import type { Expression } from "./expression.ts";
import { parseExpression, printExpression } from "./expression_text.ts";
import { type Extent, isStatic, parseExtent, printExtent } from "./extent.ts";
import type { ContractionResult, OpAttributes, OpName } from "./node.ts";
import { printNumber, type TextCursor } from "./text_cursor.ts";

/** Text form of one attribute. `check` says what is wrong with a value, if anything. */
export interface Codec<T> {
  readonly print: (value: T) => string;
  readonly parse: (cursor: TextCursor) => T;
  readonly check: (value: T) => string | undefined;
  /** The value that is left out of the text. */
  readonly fallback?: { readonly value: T; readonly matches: (value: T) => boolean };
}

function fine(): undefined {
  return undefined;
}

const integer: Codec<number> = {
  print: String,
  parse: (cursor) => cursor.integer("an integer"),
  check: (value) => (Number.isSafeInteger(value) ? undefined : `${value} is not an integer`),
};

function atLeast(least: number): Codec<number> {
  return {
    ...integer,
    check: (value) => (Number.isSafeInteger(value) && value >= least ? undefined : `${value} is not ${least} or more`),
  };
}

const natural = atLeast(0);
const positive = atLeast(1);

const real: Codec<number> = {
  print: printNumber,
  parse: (cursor) => cursor.number("a number"),
  check: (value) => (typeof value === "number" && !Number.isNaN(value) ? undefined : `${value} is not a number`),
};

/** Printed as its name alone when true, left out when false. */
const flag: Codec<boolean> = {
  print: String,
  parse: (cursor) => {
    const start = cursor.skipSpace();
    const word = cursor.word("true or false");
    return word === "true" || word === "false"
      ? word === "true"
      : cursor.fault(`"${word}" is not true or false`, start);
  },
  check: (value) => (typeof value === "boolean" ? undefined : `${value} is not true or false`),
  fallback: { value: false, matches: (value) => !value },
};

function listOf<T>(item: Codec<T>): Codec<readonly T[]> {
  return {
    print: (values) => `[${values.map(item.print).join(",")}]`,
    parse: (cursor) => cursor.list("[", "]", () => item.parse(cursor)),
    check: (values) =>
      Array.isArray(values) ? values.map(item.check).find((reason) => reason !== undefined) : "it is not a list",
  };
}

const integers = listOf(integer);
const naturals = listOf(natural);
const positives = listOf(positive);

const extent: Codec<Extent> = {
  print: printExtent,
  parse: (cursor) => {
    const match = cursor.take(/[\w*+-]+/y);
    const value = match === null ? undefined : parseExtent(match[0]);
    return value ?? cursor.fault("expected an extent");
  },
  check: (
    value,
  ) => (isStatic(value) ? natural.check(value) : positive.check(value.factor) ?? integer.check(value.offset)),
};

const extents = listOf(extent);

const text: Codec<string> = {
  print: (value) => JSON.stringify(value),
  parse: (cursor) => cursor.quoted("a string"),
  check: (value) => (typeof value === "string" ? undefined : `${value} is not a string`),
};

function oneOf<const Name extends string>(...names: readonly Name[]): Codec<Name> {
  return {
    print: (value) => value,
    parse: (cursor) => {
      const start = cursor.skipSpace();
      const word = cursor.word(`one of ${names.join(", ")}`);
      return names.find((name) => name === word) ?? cursor.fault(`"${word}" is not one of ${names.join(", ")}`, start);
    },
    check: (value) => (names.includes(value) ? undefined : `"${value}" is not one of ${names.join(", ")}`),
  };
}

const element: Codec<ElementType> = {
  print: (value) => value,
  parse: (cursor) => {
    const start = cursor.skipSpace();
    const word = cursor.word("an element");
    return isElementType(word) ? word : cursor.fault(`"${word}" is not an element`, start);
  },
  check: (value) => (isElementType(value) ? undefined : `"${value}" is not an element`),
};

const scheme: Codec<QuantScheme> = {
  print: printScheme,
  parse: (cursor) => {
    const start = cursor.skipSpace();
    const match = cursor.take(/q<[^<>\n]*>/y);
    const value = match === null ? undefined : parseScheme(match[0]);
    return value ?? cursor.fault("expected a scheme such as q<int8, block[*], f32>", start);
  },
  check: (value) => (parseScheme(printScheme(value)) === undefined ? "it is not a scheme" : undefined),
};

const expression: Codec<Expression> = {
  print: printExpression,
  parse: (cursor) => parseExpression(cursor),
  check: fine,
};

const result: Codec<ContractionResult> = {
  print: (value) =>
    value.kind === "quantized"
      ? `quantized(${printScheme(value.scheme)}, ${printNumber(value.low)}, ${printNumber(value.high)})`
      : value.kind,
  parse: (cursor) => {
    const kind = oneOf("real", "accumulator", "quantized").parse(cursor);
    if (kind !== "quantized") return { kind };
    cursor.expect("(");
    const form = scheme.parse(cursor);
    cursor.expect(",");
    const low = cursor.number("the lowest code");
    cursor.expect(",");
    const high = cursor.number("the highest code");
    cursor.expect(")");
    return { kind, scheme: form, low, high };
  },
  check: (value) =>
    value.kind === "quantized" && !(value.low <= value.high) ? `codes ${value.low}..${value.high} are none` : undefined,
  fallback: { value: { kind: "real" }, matches: (value) => value.kind === "real" },
};

const layout = oneOf("channelsFirst", "channelsLast");
const window = { strides: positives, dilations: positives, pads: naturals };
const pool = { ...window, layout, kernel: positives, outputExtents: naturals };
const scatterReduction = oneOf("none", "add", "mul", "max", "min");
const activation = oneOf("sigmoid", "tanh", "relu", "hardsigmoid", "softsign", "softplus", "affine", "elu");

type AttributeCodecs<Op extends OpName> = { readonly [Key in keyof OpAttributes[Op]]: Codec<OpAttributes[Op][Key]> };

export const attributeCodecs: { readonly [Op in OpName]: AttributeCodecs<Op> } = {
  constant: { hash: text },
  map: { expression },
  matmul: { transposeB: flag, hasBias: flag, result },
  conv: { ...window, layout, groups: positive, hasBias: flag, result },
  // A transposed convolution may crop with negative pads.
  convTranspose: { ...window, pads: integers, outputPadding: naturals, groups: positive },
  pool: { kind: oneOf("max", "average", "lp"), ...pool, countPadding: flag, norm: real },
  poolIndices: { ...pool, columnMajor: flag },
  reduce: { kind: oneOf("sum", "prod", "max", "min"), axes: naturals, keepAxes: flag },
  argReduce: { kind: oneOf("max", "min"), axis: natural, keepAxes: flag, last: flag },
  softmax: { axis: natural },
  norm: { kind: oneOf("layer", "rms"), axis: natural, epsilon: real },
  rope: { extent: natural, interleaved: flag, fromPast: flag },
  attention: { scale: real, causal: flag, softcap: real, window: natural },
  append: { state: text, axis: natural },
  readState: { state: text },
  writeState: { state: text },
  gather: { axis: natural },
  gatherElements: { axis: natural },
  gatherNd: { batchAxes: natural },
  scatterElements: { axis: natural, reduction: scatterReduction },
  scatterNd: { reduction: scatterReduction },
  reshape: { shape: extents },
  transpose: { permutation: naturals },
  expand: { shape: extents },
  slice: { starts: integers, steps: integers, extents },
  pad: { before: integers, after: integers, mode: oneOf("constant", "reflect", "edge", "wrap") },
  concat: { axis: natural },
  resample: { axis: natural },
  cumulative: { kind: oneOf("sum", "prod"), axis: natural, exclusive: flag, reverse: flag },
  transform: { doublings: natural, stride: natural },
  topK: { axis: natural, count: natural, largest: flag },
  recurrent: {
    cell: oneOf("lstm", "gru", "rnn"),
    direction: oneOf("forward", "reverse", "bidirectional"),
    activations: listOf(activation),
    clip: real,
    linearBeforeReset: flag,
    coupledGates: flag,
  },
  quantize: { scheme },
  dequantize: {},
  fromCodes: { scheme, element },
  toCodes: {},
  toSteps: {},
};

export function isOpName(name: string): name is OpName {
  return Object.hasOwn(attributeCodecs, name);
}

function codecOf<Op extends OpName, Key extends keyof OpAttributes[Op]>(
  op: Op,
  key: Key,
): Codec<OpAttributes[Op][Key]> {
  const codecs: AttributeCodecs<Op> = attributeCodecs[op];
  return codecs[key];
}

function keysOf<Op extends OpName>(op: Op): readonly (keyof OpAttributes[Op] & string)[] {
  // The table has exactly the attributes' keys, by its type.
  return Object.keys(attributeCodecs[op]) as (keyof OpAttributes[Op] & string)[];
}

/** `{axis=1, keepAxes}`; "" when there is nothing to say. */
export function printAttributes<Op extends OpName>(op: Op, attributes: OpAttributes[Op]): string {
  const parts = keysOf(op).flatMap((key) => {
    const codec = codecOf(op, key);
    const value = attributes[key];
    if (codec.fallback?.matches(value)) return [];
    return [value === true ? key : `${key}=${codec.print(value)}`];
  });
  return parts.length === 0 ? "" : `{${parts.join(", ")}}`;
}

/** Reads `{...}` (or nothing) as the attributes of an op. Throws ParseFault. */
export function parseAttributes<Op extends OpName>(op: Op, cursor: TextCursor): OpAttributes[Op] {
  const values: Partial<OpAttributes[Op]> = {};
  const keys = keysOf(op);
  const start = cursor.skipSpace();
  if (cursor.sees("{")) cursor.list("{", "}", () => parseEntry(op, keys, values, cursor));
  for (const key of keys) {
    if (Object.hasOwn(values, key)) continue;
    const { fallback } = codecOf(op, key);
    if (fallback === undefined) cursor.fault(`${op} needs the attribute "${key}"`, start);
    values[key] = fallback.value;
  }
  // Every key of the op's attributes has a value by now.
  return values as OpAttributes[Op];
}

function parseEntry<Op extends OpName>(
  op: Op,
  keys: readonly (keyof OpAttributes[Op] & string)[],
  values: Partial<OpAttributes[Op]>,
  cursor: TextCursor,
): void {
  const start = cursor.skipSpace();
  const word = cursor.word("an attribute");
  const key = keys.find((candidate) => candidate === word);
  if (key === undefined) {
    const known = keys.length === 0 ? "none" : keys.join(", ");
    return cursor.fault(`${op} has no attribute "${word}"; it has ${known}`, start);
  }
  if (Object.hasOwn(values, key)) cursor.fault(`attribute "${word}" is given twice`, start);
  const codec = codecOf(op, key);
  if (cursor.accept("=")) {
    values[key] = codec.parse(cursor);
  } else {
    if (codec.fallback?.value !== false) cursor.fault(`attribute "${word}" needs a value`, start);
    // Only a flag's codec has the fallback false, and its attribute is boolean.
    values[key] = true as OpAttributes[Op][typeof key];
  }
}

/** What is wrong with each attribute of a node, by name. */
export function attributeFaults<Op extends OpName>(op: Op, attributes: OpAttributes[Op]): readonly string[] {
  if (!isOpName(op)) throw new InvariantError(`Unknown op ${String(op)}`);
  return keysOf(op).flatMap((key) => {
    const value = attributes[key];
    if (value === undefined) return [`attribute "${key}" is absent`];
    const reason = codecOf(op, key).check(value);
    return reason === undefined ? [] : [`attribute "${key}": ${reason}`];
  });
}
