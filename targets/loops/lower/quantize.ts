/** Codes from reals and reals from codes. */

import type { OpAttributes } from "../../../compiler/ir/node.ts";
import { stridesOf } from "../../../compiler/ir/tensor.ts";
import { e8m0, minifloat } from "../../../compiler/numeric/minifloat.ts";
import { codeElement, formatBits, intRange } from "../../../compiler/numeric/number_format.ts";
import { type QuantScheme, stepDivisor, type StepFormat, stepShape } from "../../../compiler/numeric/scheme.ts";
import type { LoopBuilder } from "../build.ts";
import { decodeCodeScalar, encodeCodeScalar } from "../codes.ts";
import type { Lowering } from "../context.ts";
import { addIndex, extentIndex, minIndex, mulIndex } from "../index.ts";
import { bufferOf, decodeReal, loadPart, loadReal, type Operand, partBounds, partsOf } from "../operand.ts";
import type { BufferPart, Index, Scalar } from "../program.ts";
import {
  add,
  castTo,
  compareOf,
  div,
  f32,
  i32,
  largerOf,
  literalOf,
  max,
  min,
  selectOf,
  smallerOf,
  sub,
  unaryOf,
} from "../scalar.ts";
import { axisRange, forAxes, forIndices, joinAxes, type Position } from "../space.ts";
import { InvariantError } from "../../../compiler/diagnostics.ts";

/** Codes of at most this many bits, their zero points and their sums are exact in f32 and do not overflow i32. */
const narrowCodeBits = 16;

/**
 * clamp(round(quotient) + zero, low, high) for codes of up to 16 bits, as i32; a NaN quotient counts as 0. The quotient is
 * first held within 2^24, so that the i32 sum cannot overflow.
 */
export function encodeInteger(quotient: Scalar, zero: Scalar | undefined, low: number, high: number): Scalar {
  const rounded = unaryOf("round", quotient);
  if (zero === undefined) return min(max(castTo("i32", rounded), i32(low)), i32(high));
  const held = castTo("i32", min(max(rounded, f32(-(2 ** 24))), f32(2 ** 24)));
  return min(max(add(held, castTo("i32", zero)), i32(low)), i32(high));
}

/** The same for wider codes, in f64, which holds every sum that is not clamped. */
function encodeWide(b: LoopBuilder, quotient: Scalar, zero: Scalar | undefined, low: number, high: number): Scalar {
  const wide = b.let("quotient", castTo("f64", quotient));
  const whole = selectOf(unaryOf("isNaN", wide), literalOf("f64", 0), unaryOf("round", wide));
  const shifted = zero === undefined ? whole : add(whole, castTo("f64", zero));
  return min(max(shifted, literalOf("f64", low)), literalOf("f64", high));
}

/** The code nearest to `quotient` (x / step, f32) after the zero point is added, of the format's code element. */
export function encodeQuotient(
  b: LoopBuilder,
  scheme: QuantScheme,
  quotient: Scalar,
  zero: Scalar | undefined,
): Scalar {
  const { format } = scheme;
  const element = codeElement(format);
  if (format.kind !== "int") {
    // A zero point of 0 is added too: -0 becomes +0, whose code has no sign bit.
    const shifted = add(quotient, zero === undefined ? literalOf("f32", 0) : castTo("f32", zero));
    return castTo(element, encodeCodeScalar(b, format, shifted));
  }
  const { min: low, max: high } = intRange(format);
  return formatBits(format) <= narrowCodeBits
    ? castTo(element, encodeInteger(quotient, zero, low, high))
    : castTo(element, encodeWide(b, quotient, zero, low, high));
}

/** Whether an axis is cut into several blocks of more than one entry. */
function isCut(x: Operand, scheme: QuantScheme, axis: number): boolean {
  const block = scheme.block[axis];
  return block !== "all" && block !== 1 && block < x.bounds[axis];
}

/** Extent of the step grid along an axis; symbolic where the axis is. */
function blockCount(x: Operand, scheme: QuantScheme, axis: number): Index {
  const block = scheme.block[axis];
  if (block === "all") return 1;
  return block === 1 ? extentIndex(x.shape[axis]) : Math.ceil(x.bounds[axis] / block);
}

/** Where a block's first element lies, and its step. */
interface Block {
  readonly origin: Position;
  readonly step: Index;
  /** Index of the block along each axis. */
  readonly indices: readonly Index[];
}

/** Loops over the blocks of a scheme on x. */
function forBlocks(b: LoopBuilder, x: Operand, scheme: QuantScheme, body: (block: Block) => void): void {
  const strides = stridesOf(stepShape(scheme, x.bounds));
  const visit = (axis: number, { origin, step, indices }: Block): void => {
    if (axis === x.shape.length) return body({ origin, step, indices });
    const size = scheme.block[axis];
    b.for(`b${axis}`, blockCount(x, scheme, axis), "independent", (index) => {
      const first = size === "all" ? 0 : mulIndex(index, size);
      visit(axis + 1, {
        origin: (own) => addIndex(origin(own), mulIndex(first, own[axis])),
        step: addIndex(step, mulIndex(index, strides[axis])),
        indices: [...indices, index],
      });
    });
  };
  visit(0, { origin: () => 0, step: 0, indices: [] });
}

/** Loops over the elements of one block; the last block along an axis may be short. */
function forBlock(
  b: LoopBuilder,
  x: Operand,
  scheme: QuantScheme,
  block: Block,
  order: "independent" | "reduction",
  participants: readonly (readonly number[])[],
  body: (position: Position) => void,
): void {
  const visit = (axes: readonly number[], position: Position): void => {
    if (axes.length === 0) return body(position);
    const [axis, ...rest] = axes;
    const size = scheme.block[axis];
    if (!isCut(x, scheme, axis) || size === "all") {
      const cut = axes.findIndex((other) => isCut(x, scheme, other));
      const whole = cut < 0 ? axes : axes.slice(0, cut);
      return forAxes(
        b,
        joinAxes(x.shape, whole, participants),
        order,
        (inner) => visit(axes.slice(whole.length), inner),
        position,
      );
    }
    const left = addIndex(x.bounds[axis], mulIndex(block.indices[axis], -size));
    const extent = x.bounds[axis] % size === 0 ? size : b.letIndex("extent", minIndex(left, size));
    b.for(`k${axis}`, extent, order, (index) => {
      visit(rest, (own) => addIndex(position(own), mulIndex(index, own[axis])));
    });
  };
  visit(axisRange(0, x.shape.length).filter((axis) => scheme.block[axis] !== 1), block.origin);
}

/**
 * Loops over every element with the index of its step: as few loops as there can be where no axis is cut into blocks,
 * block by block otherwise.
 */
function forElements(
  b: LoopBuilder,
  x: Operand,
  scheme: QuantScheme,
  participants: readonly (readonly number[])[],
  body: (position: Position, step: Index) => void,
): void {
  const axes = axisRange(0, x.shape.length);
  if (axes.some((axis) => isCut(x, scheme, axis))) {
    forBlocks(b, x, scheme, (block) => {
      forBlock(b, x, scheme, block, "independent", participants, (position) => body(position, block.step));
    });
    return;
  }
  const grid = stridesOf(stepShape(scheme, x.bounds));
  const steps = axes.map((axis) => (scheme.block[axis] === 1 ? grid[axis] : 0));
  forAxes(b, joinAxes(x.shape, axes, [...participants, steps]), "independent", (position) => {
    body(position, position(steps));
  });
}

export function lowerQuantize(lowering: Lowering, { scheme }: OpAttributes["quantize"]): readonly string[] {
  const { b } = lowering;
  const x = lowering.input(0, "x");
  const y = lowering.result();
  const codes = bufferOf(b, y, "codes", "write");
  const encode = (position: Position, step: Scalar, zero: Scalar | undefined) => {
    const quotient = div(castTo("f32", loadPart(b, x, "data", position(x.strides))), step);
    b.store(codes, position(x.strides), encodeQuotient(b, scheme, quotient, zero));
  };
  if (scheme.range === "static") {
    const step = lowering.input(1, "step");
    const zero = scheme.zeroPoint ? lowering.input(2, "zero") : undefined;
    copySteps(lowering, step, "steps");
    if (zero !== undefined) copySteps(lowering, zero, "zeros");
    forElements(b, x, scheme, [x.strides], (position, at) => {
      encode(
        position,
        loadPart(b, step, "data", spreadIndex(step, at)),
        zero === undefined ? undefined : loadPart(b, zero, "data", spreadIndex(zero, at)),
      );
    });
    return [`codes[i] = clamp(round(x[i] / step)${zero === undefined ? "" : " + zero"})`];
  }
  const steps = bufferOf(b, y, "steps", "write");
  forBlocks(b, x, scheme, (block) => {
    const { step, zero } = dynamicStep(b, x, scheme, block);
    b.store(steps, block.step, step);
    if (zero !== undefined) b.store(bufferOf(b, y, "zeros", "write"), block.step, zero);
    forBlock(b, x, scheme, block, "independent", [x.strides], (position) => encode(position, step, zero));
  });
  return scheme.zeroPoint && scheme.format.kind === "int"
    ? [
      "step = (max(x, 0) - min(x, 0)) / (qmax - qmin), zero = round(qmin - min(x, 0) / step)",
      "codes = clamp(round(x / step) + zero)",
    ]
    : [`step = max|x| / ${stepDivisor(scheme.format, scheme.step)}`, "codes = clamp(round(x / step))"];
}

/** Step and zero point of one block from its extremes, in f32; NaN entries are passed over. */
function dynamicStep(
  b: LoopBuilder,
  x: Operand,
  scheme: QuantScheme,
  block: Block,
): { readonly step: Scalar; readonly zero: Scalar | undefined } {
  const extremes = (body: (value: Scalar) => void) =>
    forBlock(b, x, scheme, block, "reduction", [x.strides], (position) => {
      body(castTo("f32", loadPart(b, x, "data", position(x.strides))));
    });
  if (!scheme.zeroPoint || scheme.format.kind !== "int") {
    const most = b.let("most", f32(0));
    extremes((value) => b.assign(most, largerOf(most, b.let("size", unaryOf("abs", value)))));
    const step = stepOrOne(b, roundedStep(b, scheme.step, div(most, f32(stepDivisor(scheme.format, scheme.step)))));
    return { step, zero: scheme.zeroPoint ? i32(0) : undefined };
  }
  const { min: low, max: high } = intRange(scheme.format);
  const least = b.let("least", f32(0));
  const most = b.let("most", f32(0));
  extremes((value) => {
    const held = b.let("value", value);
    b.assign(least, smallerOf(least, held));
    b.assign(most, largerOf(most, held));
  });
  const span = div(sub(most, least), f32(Math.fround(high - low)));
  const step = stepOrOne(b, roundedStep(b, scheme.step, span));
  const start = unaryOf("round", sub(f32(low), div(least, step)));
  const zero = b.let("zero", castTo("i32", min(max(start, f32(low)), f32(high))));
  return { step, zero };
}

/** A step that came out 0 is 1; so is NaN. */
function stepOrOne(b: LoopBuilder, step: Scalar): Scalar {
  const raw = b.let("rounded", step);
  return b.let("step", selectOf(compareOf("gt", raw, f32(0)), raw, f32(1)));
}

/** The step nearest to `step` that the storage format holds. */
function roundedStep(b: LoopBuilder, format: StepFormat, step: Scalar): Scalar {
  switch (format) {
    case "f32":
      return step;
    case "f16":
    case "bf16":
      return castTo("f32", castTo(format, step));
    case "u8":
      return min(unaryOf("round", step), f32(255));
    case "e8m0":
    case "e4m3fn": {
      const numbers = format === "e8m0" ? e8m0 : minifloat(4, 3, "fn");
      return decodeCodeScalar(b, numbers, encodeCodeScalar(b, numbers, step));
    }
  }
}

export function lowerDequantize(lowering: Lowering, _attributes: OpAttributes["dequantize"]): readonly string[] {
  const { b } = lowering;
  const q = lowering.input(0, "x");
  const { scheme } = q;
  if (scheme === undefined) throw new InvariantError("dequantize of a plain operand");
  if (scheme.outer !== undefined) {
    forIndices(b, q.shape, "independent", (indices) => lowering.store(indices, loadReal(b, q, indices)));
    return [decodeAlgebra(scheme)];
  }
  forElements(b, q, scheme, [q.strides, ...lowering.storeStrides()], (position, at) => {
    const code = loadPart(b, q, "codes", position(q.strides));
    const zero = scheme.zeroPoint ? loadPart(b, q, "zeros", at) : undefined;
    const real = decodeReal(b, scheme, code, loadPart(b, q, "steps", at), zero);
    const shifted = scheme.offset ? add(real, loadPart(b, q, "offsets", at)) : real;
    lowering.storeAt(position, castTo(q.element, shifted));
  });
  return [decodeAlgebra(scheme)];
}

function decodeAlgebra({ zeroPoint, offset, outer }: QuantScheme): string {
  return `y[i] = (value(code[i])${zeroPoint ? " - zero" : ""}) * step${
    offset ? " + offset" : outer ? " * outer step" : ""
  }`;
}

export function lowerFromCodes(lowering: Lowering, _attributes: OpAttributes["fromCodes"]): readonly string[] {
  const { b } = lowering;
  const x = lowering.input(0, "x");
  const codes = bufferOf(b, lowering.result(), "codes", "write");
  copyPlain(b, x, (index) => loadPart(b, x, "data", index), codes);
  const roles = partsOf(lowering.result()).filter((part) => part !== "codes" && part !== "data");
  roles.forEach((part, index) => {
    copySteps(lowering, lowering.input(index + 1, part), part);
  });
  return [`codes, ${roles.join(", ")} side by side`];
}

function copyPlain(b: LoopBuilder, like: Operand, read: (index: Index) => Scalar, target: string): void {
  const axes = joinAxes(like.shape, axisRange(0, like.shape.length), [like.strides]);
  forAxes(b, axes, "independent", (position) => {
    b.store(target, position(like.strides), read(position(like.strides)));
  });
}

export function lowerToCodes(lowering: Lowering, _attributes: OpAttributes["toCodes"]): readonly string[] {
  const { b } = lowering;
  const q = lowering.input(0, "x");
  const axes = joinAxes(q.shape, axisRange(0, q.shape.length), [q.strides, ...lowering.storeStrides()]);
  forAxes(b, axes, "independent", (position) => {
    lowering.storeAt(position, loadPart(b, q, "codes", position(q.strides)));
  });
  return ["y[i] = code[i]"];
}

export function lowerToSteps(lowering: Lowering, _attributes: OpAttributes["toSteps"]): readonly string[] {
  const { b } = lowering;
  const q = lowering.input(0, "x");
  const shape = lowering.resultShape();
  const strides = stridesOf(partBounds(q, "steps"));
  const axes = joinAxes(shape, axisRange(0, shape.length), [strides, ...lowering.storeStrides()]);
  forAxes(b, axes, "independent", (position) => {
    lowering.storeAt(position, loadPart(b, q, "steps", position(strides)));
  });
  return ["y[b] = step[b]"];
}

/** One value for all, or one for each. */
export function spreadIndex(operand: Operand, index: Index): Index {
  return operand.bounds.every((extent) => extent === 1) ? 0 : index;
}

/** Fills the steps, zeros or offsets of the result from a plain operand of one entry or as many. */
export function copySteps(lowering: Lowering, from: Operand, part: Exclude<BufferPart, "data" | "codes">): void {
  const { b } = lowering;
  const y = lowering.result();
  const count = partBounds(y, part).reduce((size, extent) => size * extent, 1);
  const to = bufferOf(b, y, part, "write");
  b.for("s", count, "independent", (index) => {
    b.store(to, index, loadPart(b, from, "data", spreadIndex(from, index)));
  });
}
