/** The last step of a contraction: bias, and what ContractionResult makes of the sum. */

import { allocate, encodeBf16 } from "../../numeric/element.ts";
import { codeElement, encodeValue } from "../../numeric/number_format.ts";
import { stepShape } from "../../numeric/scheme.ts";
import type { ContractionResult } from "../node.ts";
import { type PlainTensor, plainTensor, sizeOf, type Tensor } from "../tensor.ts";
import { clampCode } from "./codes.ts";
import { plainInput } from "./environment.ts";
import { numberData, readIntegers, readNumbers } from "./numbers.ts";
import { stepGrid } from "./step_grid.ts";

/** Takes sums as they come and holds the tensor that they make. */
export interface ResultSink {
  readonly store: (index: number, channel: number, sum: number) => void;
  readonly tensor: Tensor;
}

/** What a contraction's operands after the first two say. */
export interface ResultOperands {
  readonly result: ContractionResult;
  readonly bias?: PlainTensor;
  /** multiplier, outStep, outZero. */
  readonly rest: readonly PlainTensor[];
}

/** Splits `(a, b, bias?, multiplier?, outStep?, outZero?)`. */
export function resultOperands(inputs: readonly Tensor[], hasBias: boolean, result: ContractionResult): ResultOperands {
  const more = inputs.slice(2).map((_, index) => plainInput(inputs, index + 2));
  return hasBias ? { result, bias: more[0], rest: more.slice(1) } : { result, rest: more };
}

/** Sums of plain float operands: in doubles, plus bias, rounded once. */
export function floatSink(
  element: "f16" | "bf16" | "f32" | "f64",
  shape: readonly number[],
  bias: PlainTensor | undefined,
): ResultSink {
  const offsets = bias === undefined ? undefined : readNumbers(bias);
  const data = allocate(element, sizeOf(shape));
  const tensor = plainTensor(element, shape, data);
  if (element === "bf16") {
    return { tensor, store: (index, channel, sum) => data[index] = encodeBf16(sum + (offsets?.[channel] ?? 0)) };
  }
  if (offsets === undefined) return { tensor, store: (index, _, sum) => data[index] = sum };
  return { tensor, store: (index, channel, sum) => data[index] = sum + offsets[channel] };
}

/** Sums of quantized operands: f32 (already stepped), i32, or codes. */
export function quantizedSink(operands: ResultOperands, shape: readonly number[]): ResultSink {
  const { result, bias, rest } = operands;
  switch (result.kind) {
    case "real": {
      const data = new Float32Array(sizeOf(shape));
      const tensor = plainTensor("f32", shape, data);
      if (bias === undefined) return { tensor, store: (index, _, sum) => data[index] = sum };
      const offsets = readNumbers(bias);
      return { tensor, store: (index, channel, sum) => data[index] = Math.fround(sum) + offsets[channel] };
    }
    case "accumulator": {
      const data = new Int32Array(sizeOf(shape));
      const offsets = bias === undefined ? undefined : readNumbers(bias);
      return {
        tensor: plainTensor("i32", shape, data),
        store: (index, channel, sum) => data[index] = sum + (offsets?.[channel] ?? 0),
      };
    }
    case "quantized":
      return codesSink(result, bias, rest, shape);
  }
}

function codesSink(
  result: Extract<ContractionResult, { kind: "quantized" }>,
  bias: PlainTensor | undefined,
  rest: readonly PlainTensor[],
  shape: readonly number[],
): ResultSink {
  const { scheme, low, high } = result;
  const multipliers = readNumbers(rest[0]);
  const perChannel = multipliers.length > 1;
  const offsets = bias === undefined ? undefined : readNumbers(bias);
  const steps = stepShape(scheme, shape);
  const zeros = scheme.zeroPoint ? Int32Array.from(spread(readIntegers(rest[2]), sizeOf(steps))) : undefined;
  const grid = stepGrid(scheme, shape);
  const codes = numberData(allocate(codeElement(scheme.format), sizeOf(shape)));
  const { format } = scheme;
  const encode = format.kind === "int"
    ? (quotient: number, zero: number) => clampCode(quotient, zero, low, high)
    : (quotient: number, zero: number) => encodeValue(format, quotient + zero);
  const { columns, rowStep, columnStep } = grid;
  return {
    tensor: {
      kind: "quantized",
      scheme,
      element: "f32",
      shape,
      codes: plainTensor(codeElement(format), shape, codes),
      steps: plainTensor("f32", steps, Float32Array.from(spread(Array.from(readNumbers(rest[1])), sizeOf(steps)))),
      zeros: zeros === undefined ? undefined : plainTensor("i32", steps, zeros),
    },
    store: (index, channel, sum) => {
      const accumulator = (sum + (offsets === undefined ? 0 : offsets[channel])) | 0;
      const quotient = Math.fround(Math.fround(accumulator) * multipliers[perChannel ? channel : 0]);
      const zero = zeros === undefined ? 0 : zeros[rowStep[Math.floor(index / columns)] + columnStep[index % columns]];
      codes[index] = encode(quotient, zero);
    },
  };
}

/** One value for all, or one for each. */
function spread(values: readonly number[], count: number): number[] {
  return values.length === 1 ? new Array<number>(count).fill(values[0]) : [...values];
}
