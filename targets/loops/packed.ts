/**
 * Loop programs over packed constants: codes lie as bit streams of their real width, steps in their storage format, and
 * every read of them is rewritten into the bits it wants.
 */

import { type Graph, producers } from "../../compiler/ir/graph.ts";
import { type PlainTensor, type QuantizedTensor, tensorParts } from "../../compiler/ir/tensor.ts";
import { allocate, bytesOf, type ElementType, encodeBf16 } from "../../compiler/numeric/element.ts";
import { e8m0, encodeMinifloat, minifloat } from "../../compiler/numeric/minifloat.ts";
import { formatBits, intFormat, intRange } from "../../compiler/numeric/number_format.ts";
import { roundStep, type StepFormat } from "../../compiler/numeric/scheme.ts";
import { InvariantError, unreachable } from "../../compiler/diagnostics.ts";
import { packCodes, stream } from "../pack/codes.ts";
import { addIndex, divIndex, mulIndex, remIndex } from "./index.ts";
import type { Index, LoopBuffer, LoopProgram, Scalar } from "./program.ts";
import { rewriteStatements } from "./rewrite.ts";
import { binaryOf, castTo, compareOf, f32, i32, mul, reinterpretAs, scalarOfIndex, selectOf, sub } from "./scalar.ts";

/** How one part of a constant lies in memory instead of an entry an element. */
export interface PackedPart {
  /** For keys and manifests: equal names over one constant and part mean equal bytes. */
  readonly layout: string;
  readonly element: ElementType;
  readonly pack: () => Uint8Array<ArrayBuffer>;
  /** An entry, from the buffer of `element`, as the element that the program reads. */
  readonly read: (index: Index, load: (index: Index) => Scalar) => Scalar;
}

export interface PackedProgram {
  readonly program: LoopProgram;
  /** By buffer name. */
  readonly packed: ReadonlyMap<string, PackedPart & { readonly hash: string }>;
}

/** The program with the quantized constants that it reads packed, where that makes them smaller. */
export function packConstants(program: LoopProgram, graph: Graph): PackedProgram {
  const made = producers(graph);
  const packed = new Map<string, PackedPart & { readonly hash: string }>();
  const buffers = program.buffers.map((buffer): LoopBuffer => {
    const node = buffer.source.kind === "value" ? made.get(buffer.source.value) : undefined;
    if (node?.op !== "constant" || buffer.access !== "read") return buffer;
    const tensor = graph.constants.get(node.attributes.hash);
    const part = tensor.kind === "quantized" ? packedPart(tensor, buffer) : undefined;
    if (part === undefined) return buffer;
    packed.set(buffer.name, { ...part, hash: node.attributes.hash });
    return { ...buffer, element: part.element };
  });
  if (packed.size === 0) return { program, packed };
  const body = rewriteStatements(program.body, {
    scalar: (scalar) => {
      const part = scalar.kind === "load" ? packed.get(scalar.buffer) : undefined;
      if (part === undefined || scalar.kind !== "load") return scalar;
      return part.read(scalar.index, (index) => ({ ...scalar, element: part.element, index }));
    },
  });
  return { program: { ...program, buffers, body }, packed };
}

function packedPart(tensor: QuantizedTensor, { part }: LoopBuffer): PackedPart | undefined {
  const { scheme } = tensor;
  const held = tensorParts(tensor).find(({ role }) => role === part)?.tensor;
  if (held === undefined) throw new InvariantError(`A constant has no ${part}`);
  const width = formatBits(scheme.format);
  const signed = scheme.format.kind === "int" && scheme.format.signed;
  switch (part) {
    case "codes":
      return width < 8 ? streamPart(held, width, signed) : undefined;
    case "zeros":
      return width <= 8 && fits(held, width, signed) ? streamPart(held, width, signed) : undefined;
    case "steps":
    case "offsets":
      return stepPart(held, scheme.step);
    case "outerSteps":
      return stepPart(held, scheme.outer?.step ?? "f32");
    case "data":
      return undefined;
    default:
      return unreachable(part);
  }
}

function fits({ data }: PlainTensor, width: number, signed: boolean): boolean {
  const { min, max } = intRange(intFormat(width, signed));
  return Array.from(data, Number).every((value) => value >= min && value <= max);
}

/** Codes (or zero points) of `width` bits end to end. */
function streamPart({ element, data }: PlainTensor, width: number, signed: boolean): PackedPart {
  return {
    layout: `stream(${width})`,
    element: "u8",
    pack: () => packCodes(Array.from(data, Number), width, stream),
    read: (index, load) => castTo(element, streamCode(index, width, signed, load)),
  };
}

function bits(x: Scalar, mask: number): Scalar {
  return binaryOf("and", x, i32(mask));
}

/** Bits index * width .. + width of a stream of bytes, as i32. Eight codes take `width` bytes, which keeps indices small. */
function streamCode(index: Index, width: number, signed: boolean, load: (index: Index) => Scalar): Scalar {
  const byte = (at: Index): Scalar => castTo("i32", load(at));
  const raw = (): Scalar => {
    if (width === 8) return byte(index);
    if (8 % width === 0) {
      const perByte = 8 / width;
      const shift = scalarOfIndex(mulIndex(remIndex(index, perByte), width));
      return bits(binaryOf("shr", byte(divIndex(index, perByte)), shift), 2 ** width - 1);
    }
    const within = mulIndex(remIndex(index, 8), width);
    const first = addIndex(mulIndex(divIndex(index, 8), width), divIndex(within, 8));
    const word = binaryOf("or", byte(first), binaryOf("shl", byte(addIndex(first, 1)), i32(8)));
    return bits(binaryOf("shr", word, scalarOfIndex(remIndex(within, 8))), 2 ** width - 1);
  };
  if (!signed) return raw();
  const top = i32(2 ** (width - 1));
  return sub(binaryOf("xor", raw(), top), top);
}

/** Steps in their storage format, where every one of them is such a number. */
function stepPart({ data }: PlainTensor, format: StepFormat): PackedPart | undefined {
  const values = Array.from(data, Number);
  if (format === "f32" || !values.every((value) => value > 0 && roundStep(format, value) === value)) return undefined;
  const whole = (element: "u8" | "f16" | "bf16", encode: (value: number) => number, read: (raw: Scalar) => Scalar) => ({
    layout: format,
    element,
    pack: () => {
      const stored = allocate(element, values.length);
      values.forEach((value, index) => stored[index] = encode(value));
      return bytesOf(stored);
    },
    read: (index: Index, load: (index: Index) => Scalar) => read(load(index)),
  });
  const raised = (raw: Scalar, shift: number): Scalar =>
    reinterpretAs("f32", binaryOf("shl", castTo("i32", raw), i32(shift)));
  switch (format) {
    case "f16":
      return whole("f16", (value) => value, (raw) => castTo("f32", raw));
    case "bf16":
      return whole("bf16", encodeBf16, (raw) => castTo("f32", raw));
    case "u8":
      return whole("u8", (value) => value, (raw) => castTo("f32", raw));
    case "e8m0":
      // The code is the exponent field; code 0 stands for the subnormal 2^-127.
      return whole(
        "u8",
        (value) => encodeMinifloat(e8m0, value),
        (raw) => selectOf(compareOf("eq", castTo("i32", raw), i32(0)), f32(2 ** -127), raised(raw, 23)),
      );
    case "e4m3fn":
      // Exponent and mantissa moved to where f32 keeps them are the value times 2^-120, subnormals too.
      return whole(
        "u8",
        (value) => encodeMinifloat(minifloat(4, 3, "fn"), value),
        (raw) => mul(raised(raw, 20), f32(2 ** 120)),
      );
    default:
      return unreachable(format);
  }
}
