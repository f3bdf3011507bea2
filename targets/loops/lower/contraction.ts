/** One entry of a contraction: the sum of products over the depth, and what ContractionResult makes of it. */

import type { ContractionResult } from "../../../compiler/ir/node.ts";
import { codeElement, formatBits, type NumberFormat } from "../../../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../../../compiler/numeric/scheme.ts";
import type { LoopBuilder, Variable } from "../build.ts";
import { decodeCodeScalar } from "../codes.ts";
import type { Lowering } from "../context.ts";
import { addIndex, dotIndex, indexOfScalar, minIndex, mulIndex } from "../index.ts";
import { bufferOf, loadPart, loadReal, type Operand, stepIndex } from "../operand.ts";
import type { Index, LoopOrder, Scalar } from "../program.ts";
import { accumulatorOf, add, binaryOf, castTo, compareOf, f32, literalOf, mul, scalarOfIndex, sub } from "../scalar.ts";
import { copySteps, encodeInteger, encodeQuotient, spreadIndex } from "./quantize.ts";

/** The operands' indices at one depth. */
export interface DepthPoint {
  readonly a: readonly Index[];
  readonly b: readonly Index[];
  /** False where `a` is padding; absent where it never is. */
  readonly inside?: Scalar;
}

export interface DepthLoop {
  readonly order: LoopOrder;
  /** Visit positions in the padding too. */
  readonly whole?: boolean;
  /** Part of the depth, for contractions whose depth is one axis. */
  readonly range?: { readonly from: Index; readonly to: Index };
}

/** One result entry: where it lies, and how its depth is walked. */
export interface Entry {
  readonly a: Operand;
  readonly b: Operand;
  readonly indices: readonly Index[];
  readonly channel: Index;
  /** Terms of the sum, at most. */
  readonly depth: number;
  readonly origin: DepthPoint;
  readonly overDepth: (loop: DepthLoop, body: (at: DepthPoint) => void) => void;
  /**
   * `one`: no step changes along the depth. `blocks`: the depth is one axis of `depth` entries and steps change every
   * `extent`. `any`: they may change at any place.
   */
  readonly steps:
    | { readonly kind: "one" }
    | {
      readonly kind: "blocks";
      readonly extent: number;
      readonly depth: number;
      readonly pointAt: (depth: Index) => DepthPoint;
    }
    | { readonly kind: "any" };
  readonly result: ContractionResult;
  readonly hasBias: boolean;
}

export function resultAlgebra(result: ContractionResult): string[] {
  return result.kind === "quantized"
    ? [`codes = clamp(round(f32(y) * multiplier) + zero, ${result.low}, ${result.high})`]
    : [];
}

/** Computes and stores one entry. */
export function lowerEntry(lowering: Lowering, entry: Entry): void {
  const { a, b, result } = entry;
  if (a.scheme === undefined) return storePlain(lowering, entry);
  const element = sumElement(entry);
  if (result.kind === "real") {
    const isOne = entry.steps.kind === "one" && b.scheme?.offset === undefined;
    return storeReal(
      lowering,
      entry,
      isOne ? steppedSum(lowering, entry, element) : blockSum(lowering, entry, element),
    );
  }
  finishEntry(lowering, entry, castTo("i32", exactSum(lowering, entry, element, { order: orderOf(element) })));
}

type SumElement = "i32" | "i64" | "f64";

/** What Σ (a - zeroA)(b - zeroB) is held in: i32 where no sum over the depth can leave it, f64 for formats other than int. */
function sumElement({ a, b, depth, result }: Entry): SumElement {
  if (sumsFit(a.scheme, b.scheme, depth, result)) return "i32";
  return isIntegral(a.scheme) && isIntegral(b.scheme) ? "i64" : "f64";
}

/** Whether the sums of a contraction are integers that i32 holds (sums of results other than real wrap). */
export function sumsFit(
  a: QuantScheme | undefined,
  b: QuantScheme | undefined,
  depth: number,
  result: ContractionResult,
): boolean {
  if (!isIntegral(a) || !isIntegral(b)) return false;
  return result.kind !== "real" || entryBits(a) + entryBits(b) + Math.log2(Math.max(1, depth)) <= 31;
}

function isIntegral(scheme: QuantScheme | undefined): scheme is QuantScheme {
  return scheme !== undefined && hasIntegerEntries(scheme);
}

/** An entry, of integers alone, is at most 2 to this power. */
function entryBits({ format, zeroPoint, outer }: QuantScheme): number {
  if (format.kind !== "int") return Infinity;
  return magnitudeBits(format, zeroPoint) + (outer === undefined ? 0 : innerStepBits);
}

/** Bits of integer inner steps. */
const innerStepBits = 8;

/** Whether what is multiplied is an integer: code - zero, times an inner step where steps have two levels. */
function hasIntegerEntries(scheme: QuantScheme): boolean {
  return scheme.format.kind === "int" && (scheme.outer === undefined || scheme.step === "u8");
}

/** |code - zero| is at most 2 to this power. */
function magnitudeBits(format: Extract<NumberFormat, { kind: "int" }>, zeroPoint: boolean): number {
  return format.signed && !zeroPoint ? format.bits - 1 : format.bits;
}

/** Integer sums wrap in any order; sums of other formats run in f64 in the evaluator's order. */
function orderOf(element: SumElement): LoopOrder {
  return element === "f64" ? "sequential" : "reduction";
}

function biasOf(lowering: Lowering, { hasBias, channel }: FinishedEntry): Scalar | undefined {
  return hasBias ? loadPart(lowering.b, lowering.input(2, "bias"), "data", channel) : undefined;
}

/** Σ a b of plain operands, or of a plain a and a decoded b, plus bias, rounded once. */
function storePlain(lowering: Lowering, entry: Entry): void {
  const { a, b, indices, overDepth } = entry;
  const build = lowering.b;
  const element = accumulatorOf(a.element);
  const sum = build.let("sum", literalOf(element, 0));
  overDepth({ order: "reduction" }, (at) => {
    const left = castTo(element, loadReal(build, a, at.a));
    build.assign(sum, add(sum, mul(left, castTo(element, loadReal(build, b, at.b)))));
  });
  const bias = biasOf(lowering, entry);
  lowering.store(indices, bias === undefined ? sum : add(sum, castTo(element, bias)));
}

/** Σ (a - zeroA)(b - zeroB) over a part of the depth. */
function exactSum(lowering: Lowering, { a, b, overDepth }: Entry, element: SumElement, loop: DepthLoop): Variable {
  const build = lowering.b;
  const sum = build.let("sum", literalOf(element, 0));
  overDepth(loop, (at) => {
    build.assign(sum, add(sum, mul(centred(build, a, at.a, element), centred(build, b, at.b, element))));
  });
  return sum;
}

/** value(code) - zero, times the inner step of two levels: exact in i32 for integers; otherwise rounded to f32, then widened. */
function centred(build: LoopBuilder, operand: Operand, indices: readonly Index[], element: SumElement): Scalar {
  const { scheme } = operand;
  if (scheme === undefined) return castTo(element, loadReal(build, operand, indices));
  const code = loadPart(build, operand, "codes", dotIndex(indices, operand.strides));
  const zero = scheme.zeroPoint ? loadPart(build, operand, "zeros", stepIndex(operand, indices)) : undefined;
  const step = scheme.outer ? loadPart(build, operand, "steps", stepIndex(operand, indices)) : undefined;
  if (hasIntegerEntries(scheme)) {
    const value = castTo("i32", code);
    const moved = zero === undefined ? value : sub(value, zero);
    return castTo(element, step === undefined ? moved : mul(moved, castTo("i32", step)));
  }
  const value = decodeCodeScalar(build, scheme.format, code);
  const moved = zero === undefined ? value : sub(value, castTo("f32", zero));
  return castTo(element, step === undefined ? moved : mul(moved, step));
}

/** The steps that stand before a sum: the outer ones of two levels. */
function sumSteps(operand: Operand): "steps" | "outerSteps" {
  return operand.scheme?.outer === undefined ? "steps" : "outerSteps";
}

function sumStepIndex(operand: Operand, indices: readonly Index[]): Index {
  return stepIndex(operand, indices, "outer");
}

function stepAt(lowering: Lowering, operand: Operand, indices: readonly Index[]): Scalar {
  return loadPart(lowering.b, operand, sumSteps(operand), sumStepIndex(operand, indices));
}

/** (stepA * stepB) * f32(Σ), for steps that hold along the whole depth. */
function steppedSum(lowering: Lowering, entry: Entry, element: SumElement): Scalar {
  const { a, b, origin } = entry;
  const sum = exactSum(lowering, entry, element, { order: orderOf(element) });
  const step = mul(stepAt(lowering, a, origin.a), stepAt(lowering, b, origin.b));
  // The sum over blocks starts from +0, which a single term of -0 must not outlive.
  return add(mul(step, castTo("f32", sum)), f32(0));
}

/** What a finished block adds to the total: its sum of products and, where b has offsets, its sum of a. */
interface BlockSums {
  readonly products: Variable;
  readonly lefts: Variable | undefined;
}

/** Σ_blocks (stepA * stepB) * f32(Σ), each operation in f32, blocks ascending; offsets of b add their own term. */
function blockSum(lowering: Lowering, entry: Entry, element: SumElement): Scalar {
  const build = lowering.b;
  const { a, b, steps } = entry;
  const total = build.let("total", f32(0));
  const newSums = (): BlockSums => ({
    products: build.let("products", literalOf(element, 0)),
    lefts: b.scheme?.offset ? build.let("lefts", literalOf(element, 0)) : undefined,
  });
  const gather = (sums: BlockSums, at: DepthPoint): void => {
    const left = build.let("left", centred(build, a, at.a, element));
    build.assign(sums.products, add(sums.products, mul(left, centred(build, b, at.b, element))));
    if (sums.lefts !== undefined) build.assign(sums.lefts, add(sums.lefts, left));
  };
  const finish = (sums: BlockSums, stepIndexA: Index, stepIndexB: Index): void => {
    const stepA = build.let("stepA", loadPart(build, a, sumSteps(a), stepIndexA));
    const step = mul(stepA, loadPart(build, b, sumSteps(b), stepIndexB));
    build.assign(total, add(total, mul(step, castTo("f32", sums.products))));
    if (sums.lefts === undefined) return;
    const offset = mul(stepA, loadPart(build, b, "offsets", stepIndexB));
    build.assign(total, add(total, mul(offset, castTo("f32", sums.lefts))));
  };
  if (steps.kind === "any") {
    segments(lowering, entry, newSums(), element, gather, finish);
  } else if (steps.kind === "one") {
    const sums = newSums();
    entry.overDepth({ order: orderOf(element) }, (at) => gather(sums, at));
    finish(sums, sumStepIndex(a, entry.origin.a), sumStepIndex(b, entry.origin.b));
  } else {
    const { extent, depth, pointAt } = steps;
    build.for("block", Math.ceil(depth / extent), "sequential", (block) => {
      const from = build.letIndex("from", mulIndex(block, extent));
      const end = addIndex(from, extent);
      const to = depth % extent === 0 ? end : minIndex(end, depth);
      const sums = newSums();
      entry.overDepth({ order: orderOf(element), range: { from, to } }, (at) => gather(sums, at));
      const first = pointAt(from);
      finish(sums, sumStepIndex(a, first.a), sumStepIndex(b, first.b));
    });
  }
  return total;
}

/** Walks the depth and closes a block wherever either step index changes. */
function segments(
  lowering: Lowering,
  entry: Entry,
  sums: BlockSums,
  element: SumElement,
  gather: (sums: BlockSums, at: DepthPoint) => void,
  finish: (sums: BlockSums, stepIndexA: Index, stepIndexB: Index) => void,
): void {
  const build = lowering.b;
  const { a, b, origin } = entry;
  const present = (operand: Operand, at: readonly Index[]) => scalarOfIndex(sumStepIndex(operand, at));
  const stepA = build.let("stepIndexA", present(a, origin.a));
  const stepB = build.let("stepIndexB", present(b, origin.b));
  entry.overDepth({ order: "sequential", whole: true }, (at) => {
    const nextA = build.let("nextA", present(a, at.a));
    const nextB = build.let("nextB", present(b, at.b));
    const changed = binaryOf("or", compareOf("ne", nextA, stepA), compareOf("ne", nextB, stepB));
    build.if(changed, () => {
      finish(sums, indexOfScalar(stepA), indexOfScalar(stepB));
      build.assign(sums.products, literalOf(element, 0));
      if (sums.lefts !== undefined) build.assign(sums.lefts, literalOf(element, 0));
      build.assign(stepA, nextA);
      build.assign(stepB, nextB);
    });
    if (at.inside === undefined) gather(sums, at);
    else build.if(at.inside, () => gather(sums, at));
  });
  finish(sums, indexOfScalar(stepA), indexOfScalar(stepB));
}

/** What finishing a sum depends on. */
export type FinishedEntry = Pick<Entry, "indices" | "channel" | "hasBias" | "result">;

/** Finishes a sum that was made elsewhere: f32 with all steps for a real result, else the exact i32. */
export function finishEntry(lowering: Lowering, entry: FinishedEntry, total: Scalar): void {
  const { result, indices } = entry;
  if (result.kind === "real") return storeReal(lowering, entry, total);
  const bias = biasOf(lowering, entry);
  const accumulator = bias === undefined ? total : add(total, bias);
  if (result.kind === "accumulator") lowering.store(indices, accumulator);
  else storeCodes(lowering, entry, result, accumulator);
}

/** total + bias in f32. */
function storeReal(lowering: Lowering, entry: FinishedEntry, total: Scalar): void {
  const bias = biasOf(lowering, entry);
  lowering.store(entry.indices, bias === undefined ? total : add(total, bias));
}

/** codes = clamp(round(f32(accumulator) * multiplier) + zero), and the steps and zeros of the result beside them. */
function storeCodes(
  lowering: Lowering,
  entry: FinishedEntry,
  result: Extract<ContractionResult, { kind: "quantized" }>,
  accumulator: Scalar,
): void {
  const build = lowering.b;
  const y = lowering.result();
  const first = entry.hasBias ? 3 : 2;
  const multipliers = lowering.input(first, "multiplier");
  const channel = multipliers.bounds.every((extent) => extent === 1) ? 0 : entry.channel;
  const quotient = mul(castTo("f32", accumulator), loadPart(build, multipliers, "data", channel));
  const at = stepIndex(y, entry.indices);
  const zero = result.scheme.zeroPoint
    ? loadPart(
      build,
      lowering.input(first + 2, "outZero"),
      "data",
      spreadIndex(lowering.input(first + 2, "outZero"), at),
    )
    : undefined;
  const { scheme, low, high } = result;
  const isNarrow = scheme.format.kind === "int" && formatBits(scheme.format) <= 16;
  const code = isNarrow ? encodeInteger(quotient, zero, low, high) : encodeQuotient(build, scheme, quotient, zero);
  const codes = bufferOf(build, y, "codes", "write");
  build.store(codes, dotIndex(entry.indices, y.strides), castTo(codeElement(scheme.format), code));
}

/** Copies the steps and zeros that a quantized result is given to the result's own. */
export function storeResultSteps(lowering: Lowering, result: ContractionResult, hasBias: boolean): void {
  if (result.kind !== "quantized") return;
  copySteps(lowering, lowering.input(hasBias ? 4 : 3, "outStep"), "steps");
  if (result.scheme.zeroPoint) copySteps(lowering, lowering.input(hasBias ? 5 : 4, "outZero"), "zeros");
}
