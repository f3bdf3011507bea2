/** Constants in literal form: `f32[2,2] [1,2,3,4]`, `splat(v)`, `iota`, `random(seed)`, and the parts of quantized ones. */

import { allocate, decodeBf16, type ElementType, encodeBf16, integerRange, isFloat } from "../numeric/element.ts";
import { codeElement, formatBits, type NumberFormat } from "../numeric/number_format.ts";
import { outerScheme, type QuantScheme, roundStep, type StepFormat, stepShape } from "../numeric/scheme.ts";
import { type PlainTensor, plainTensor, type QuantizedTensor, sizeOf, type Tensor, tensorParts } from "./tensor.ts";
import { isStatic } from "./extent.ts";
import type { TensorType } from "./types.ts";
import { printNumber, type TextCursor } from "./text_cursor.ts";

/** Literals of more entries are refused: a text is no place for them, and a lying shape must not exhaust memory. */
const greatestSize = 1 << 26;

/** What stands behind the type. */
export function printLiteral(tensor: Tensor): string {
  if (tensor.kind === "plain") return printEntries(tensor);
  const parts = tensorParts(tensor).map(({ role, tensor: part }) => `${role}=${printEntries(part)}`);
  return `{${parts.join(", ")}}`;
}

function printEntries(tensor: PlainTensor): string {
  const entries = Array.from(tensor.data, (entry: number | bigint) => printEntry(tensor.element, entry));
  const [first] = entries;
  return entries.length > 1 && entries.every((entry) => entry === first) ? `splat(${first})` : `[${entries.join(",")}]`;
}

function printEntry(element: ElementType, entry: number | bigint): string {
  if (typeof entry === "bigint") return String(entry);
  switch (element) {
    case "bf16":
      return shortest(decodeBf16(entry), (value) => decodeBf16(encodeBf16(value)), 5);
    case "f16":
      return shortest(entry, Math.f16round, 6);
    case "f32":
      return shortest(entry, Math.fround, 9);
    default:
      return printNumber(entry);
  }
}

/** The fewest digits that round back to the value. */
function shortest(value: number, round: (value: number) => number, most: number): string {
  for (let digits = 1; digits < most; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Object.is(round(short), value)) return printNumber(short);
  }
  return printNumber(value);
}

/** Reads the literal of a constant of this type. Throws ParseFault. */
export function parseLiteral(cursor: TextCursor, type: TensorType): Tensor {
  const shape = type.shape.map((extent) =>
    isStatic(extent) ? extent : cursor.fault("a constant's shape must be static")
  );
  if (shape.reduce((size, extent) => size * extent, 1) > greatestSize) {
    cursor.fault(`a literal of shape [${shape}] has more than ${greatestSize} entries`);
  }
  switch (type.encoding.kind) {
    case "plain":
      return parseEntries(cursor, type.element, shape);
    case "quantized":
      return parseQuantized(cursor, type.encoding.scheme, type.element, shape);
    case "packed":
      return cursor.fault("packed constants have no literal form");
  }
}

function parseQuantized(
  cursor: TextCursor,
  scheme: QuantScheme,
  element: ElementType,
  shape: readonly number[],
): Tensor {
  const steps = stepShape(scheme, shape);
  const seed = parseSeed(cursor);
  if (seed !== undefined) return randomQuantized(scheme, element, shape, seed);
  const roles = [
    "codes",
    "steps",
    ...(scheme.zeroPoint ? ["zeros"] : []),
    ...(scheme.offset ? ["offsets"] : []),
    ...(scheme.outer ? ["outerSteps"] : []),
  ];
  const start = cursor.skipSpace();
  let codes: PlainTensor | undefined;
  const parts: { -readonly [Part in "steps" | "zeros" | "offsets" | "outerSteps"]?: QuantizedTensor[Part] } = {};
  cursor.list("{", "}", () => {
    const at = cursor.skipSpace();
    const role = cursor.word(`one of ${roles.join(", ")}`);
    if (!roles.includes(role)) cursor.fault(`this tensor has no part "${role}"; it has ${roles.join(", ")}`, at);
    cursor.expect("=");
    if (role === "codes") codes = parseEntries(cursor, codeElement(scheme.format), shape);
    else if (role === "zeros") parts.zeros = parseEntries(cursor, "i32", steps);
    else if (role === "steps") parts.steps = parseEntries(cursor, "f32", steps);
    else if (role === "outerSteps") {
      parts.outerSteps = parseEntries(cursor, "f32", stepShape(outerScheme(scheme), shape));
    } else parts.offsets = parseEntries(cursor, "f32", steps);
  });
  if (codes === undefined || parts.steps === undefined) return cursor.fault("codes or steps are absent", start);
  if (scheme.zeroPoint && parts.zeros === undefined) cursor.fault("zeros are absent", start);
  if (scheme.offset && parts.offsets === undefined) cursor.fault("offsets are absent", start);
  if (scheme.outer && parts.outerSteps === undefined) cursor.fault("outerSteps are absent", start);
  return { kind: "quantized", scheme, element, shape, codes, ...parts, steps: parts.steps };
}

function parseSeed(cursor: TextCursor): number | undefined {
  if (!cursor.acceptWord("random")) return undefined;
  const [seed] = cursor.list("(", ")", () => cursor.integer("a seed"));
  return seed ?? cursor.fault("random needs a seed");
}

function parseEntries<E extends ElementType>(
  cursor: TextCursor,
  element: E,
  shape: readonly number[],
): PlainTensor<E> {
  const data = allocate(element, sizeOf(shape));
  const set = writer(cursor, element, data);
  if (cursor.acceptWord("splat")) {
    const [value] = cursor.list("(", ")", () => readEntry(cursor, data));
    if (value === undefined) cursor.fault("splat needs a value");
    for (let index = 0; index < data.length; index++) set(index, value);
  } else if (cursor.acceptWord("iota")) {
    for (let index = 0; index < data.length; index++) set(index, index);
  } else if (cursor.sees("random")) {
    const next = randomStream(parseSeed(cursor) ?? 0);
    for (let index = 0; index < data.length; index++) set(index, randomEntry(element, next));
  } else {
    let index = 0;
    const start = cursor.skipSpace();
    cursor.list("[", "]", () => {
      const value = readEntry(cursor, data);
      if (index < data.length) set(index, value);
      index++;
    });
    if (index !== data.length) cursor.fault(`the shape [${shape}] has ${data.length} entries, got ${index}`, start);
  }
  return plainTensor(element, shape, data);
}

function readEntry(cursor: TextCursor, data: PlainTensor["data"]): number | bigint {
  const isWide = data instanceof BigInt64Array || data instanceof BigUint64Array;
  return isWide ? cursor.bigint("an integer") : cursor.number("a number");
}

/** Stores entries by index; an integer that its element cannot hold is a fault. */
function writer(
  cursor: TextCursor,
  element: ElementType,
  data: PlainTensor["data"],
): (index: number, value: number | bigint) => void {
  if (isFloat(element)) {
    const encode = element === "bf16" ? encodeBf16 : (value: number) => value;
    return (index, value) => data[index] = encode(Number(value));
  }
  const { min, max } = integerRange(element);
  return (index, value) => {
    if (typeof value === "number" && !Number.isInteger(value)) cursor.fault(`${value} is not an integer`);
    const whole = BigInt(value);
    if (whole < min || whole > max) cursor.fault(`${whole} does not fit ${element}`);
    data[index] = data instanceof BigInt64Array || data instanceof BigUint64Array ? whole : Number(whole);
  };
}

/** Uniform numbers in [0, 1) by mulberry32 (Ettinger 2017): one stream per seed, the same on every machine. */
export function randomStream(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 4294967296;
  };
}

/** Floats lie in [-1, 1), integers in -128..127 or 0..255, cut to their element's range. */
function randomEntry(element: ElementType, next: () => number): number {
  if (isFloat(element)) return 2 * next() - 1;
  if (element === "bool") return Math.floor(2 * next());
  return Math.floor(256 * next()) - (integerRange(element).min < 0n ? 128 : 0);
}

/** Every code of the format is equally likely; steps lie in [1/64, 1/32) or 1..16, zeros are codes, offsets lie in [-1, 1). */
function randomQuantized(
  scheme: QuantScheme,
  element: ElementType,
  shape: readonly number[],
  seed: number,
): Tensor {
  const next = randomStream(seed);
  const steps = stepShape(scheme, shape);
  const codes = allocate(codeElement(scheme.format), sizeOf(shape));
  for (let index = 0; index < codes.length; index++) codes[index] = randomCode(scheme.format, next);
  const fill = <E extends "f32" | "i32">(of: E, value: () => number, grid = steps): PlainTensor<E> => {
    const data = allocate(of, sizeOf(grid));
    for (let index = 0; index < data.length; index++) data[index] = value();
    return plainTensor(of, grid, data);
  };
  const step = (format: StepFormat) => () =>
    format === "u8" ? 1 + Math.floor(16 * next()) : roundStep(format, (1 + next()) / 64);
  return {
    kind: "quantized",
    scheme,
    element,
    shape,
    codes: plainTensor(codeElement(scheme.format), shape, codes),
    steps: fill("f32", step(scheme.step)),
    ...(scheme.zeroPoint ? { zeros: fill("i32", () => randomCode(scheme.format, next)) } : {}),
    ...(scheme.offset ? { offsets: fill("f32", () => roundStep(scheme.step, 2 * next() - 1)) } : {}),
    ...(scheme.outer
      ? { outerSteps: fill("f32", step(scheme.outer.step), stepShape(outerScheme(scheme), shape)) }
      : {}),
  };
}

function randomCode(format: NumberFormat, next: () => number): number {
  const count = format.kind === "codebook" ? format.values.length : 2 ** formatBits(format);
  const low = format.kind === "int" && format.signed ? -count / 2 : 0;
  return low + Math.floor(count * next());
}
