/**
 * The constant side of a contraction: its entries in rows of the depth, column after column, four to a unit, with their
 * steps behind them.
 */

import type { ValueName } from "../../../compiler/ir/node.ts";
import type { PlainTensor, QuantizedTensor, Tensor } from "../../../compiler/ir/tensor.ts";
import { formatBits, intRange } from "../../../compiler/numeric/number_format.ts";
import { wordText } from "../storage.ts";
import type { PackedWeights } from "../../plan/packed_weights.ts";
import { codesText, type RightText, type TextParts } from "./right_text.ts";

/** Entries (k, column) of a constant, k along the padded depth. */
export interface RightMatrix {
  readonly key: string;
  readonly value: ValueName;
  readonly tensor: Tensor;
  readonly columns: number;
  /** Units of four entries of the depth. */
  readonly units: number;
  /** Position in the tensor; undefined for padding. */
  readonly at: (k: number, column: number) => number | undefined;
  /** Entries of the depth that share a step; a multiple of 4, or the whole depth. */
  readonly block: number;
  readonly stepIndex: (block: number, column: number) => number;
  /** Position of a column's outer step, for two-level steps whose outer ones hold along the whole depth. */
  readonly outerStepIndex?: (column: number) => number;
}

/** How kernels read the right side. `codes`: four signed bytes a unit; `float`: four f32. */
export interface RightForm extends RightText {
  readonly kind: "codes" | "float";
  readonly weights: PackedWeights;
  readonly name: string;
  readonly columns: number;
  readonly units: number;
  readonly blockUnits: number;
  readonly blocks: number;
  /** Whether bytes have zero points of their own, so that a sum of codes has to be mended by the sum of the left side. */
  readonly byteZeros: boolean;
  readonly offsets: boolean;
  /** Whether each block has an integer step of its own under the column's (two-level steps). */
  readonly inner: boolean;
  /**
   * A text for decoded weights on devices with f16. Its units are code - zero, which f16 holds exactly, and `begin` has
   * their `step`: it multiplies sums of products.
   */
  readonly unscaled?: RightText;
}

interface Section {
  readonly start: number;
  readonly words: Uint32Array<ArrayBuffer>;
}

class Sections {
  #end = 0;
  readonly #parts: Section[] = [];

  add(words: Uint32Array<ArrayBuffer>): number {
    const start = this.#end;
    this.#parts.push({ start, words });
    this.#end += words.length;
    return start;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const all = new Uint32Array(this.#end);
    for (const { start, words } of this.#parts) all.set(words, start);
    return new Uint8Array(all.buffer);
  }
}

const unsignedByteShift = 128;

/** f32 entries. */
export function floatRight(matrix: RightMatrix, tensor: PlainTensor<"f32">): RightForm {
  const { key, value, columns, units, at } = matrix;
  const name = `f32,depth=${4 * units},columns=${columns}`;
  const pack = () => {
    const words = new Float32Array(columns * units * 4);
    for (let column = 0; column < columns; column++) {
      for (let k = 0; k < 4 * units; k++) {
        const from = at(k, column);
        if (from !== undefined) words[column * 4 * units + k] = tensor.data[from];
      }
    }
    return new Uint8Array(words.buffer);
  };
  return {
    kind: "float",
    weights: { key: `${key}/rows(${name})`, layout: `rows(${name})`, value, pack },
    name,
    columns,
    units,
    blockUnits: units,
    blocks: 1,
    byteZeros: false,
    offsets: false,
    inner: false,
    functions: (memory) => [
      "// Four entries of a column.",
      "fn right(column: i32, unit: i32) -> vec4<f32> {",
      "  let at = call.weights + 4u * u32(column * units + unit);",
      `  return bitcast<vec4<f32>>(vec4<u32>(${
        [0, 1, 2, 3].map((index) => `${wordText(memory, `at + ${index}u`)}`).join(", ")
      }));`,
      "}",
      "",
    ],
    begin: () => [],
    unit: (column, unit) => `right(${column}, ${unit})`,
  };
}

export interface CodesRequest {
  /** Whether the left side is f32, so that codes are decoded. */
  readonly decoded: boolean;
  /** Whether the left side has zero points: then each block keeps its Σ (code - zero). */
  readonly sums: boolean;
}

/** Integer codes of up to 8 bits. */
export function codesRight(
  matrix: RightMatrix,
  tensor: QuantizedTensor,
  { decoded, sums }: CodesRequest,
): RightForm | { readonly declined: string } {
  const { scheme } = tensor;
  if (scheme.format.kind !== "int" || formatBits(scheme.format) > 8) return { declined: "codes are not integers" };
  const { outerSteps } = tensor;
  if (outerSteps !== undefined && (scheme.step !== "u8" || matrix.outerStepIndex === undefined)) {
    return { declined: "inner steps are no integers, or outer ones vary along the depth" };
  }
  const { columns, units, block } = matrix;
  const blocks = Math.ceil(4 * units / block);
  if (blocks > 1 && block % 4 !== 0) return { declined: "blocks that are no whole units" };
  const nibble = formatBits(scheme.format) <= 4;
  const { min } = intRange(scheme.format);
  const shift = nibble ? min : scheme.format.signed || formatBits(scheme.format) < 8 ? 0 : unsignedByteShift;
  const parts: Parts = { matrix, tensor, shift, blocks };
  const zeros = zerosOf(parts);
  const constantZero = zeros.every((zero) => zero === zeros[0]) ? zeros[0] ?? 0 : undefined;
  const inner = outerSteps !== undefined;
  const half = (scheme.outer?.step ?? scheme.step) === "f16";
  const rowWords = nibble ? Math.ceil(units / 2) : units;
  const stepWords = (count: number) => half ? Math.ceil(count / 2) : count;
  const grid = columns * blocks;
  const starts = { steps: columns * rowWords, inner: 0, zeros: 0, offsets: 0, sums: 0 };
  starts.inner = starts.steps + stepWords(inner ? columns : grid);
  starts.zeros = starts.inner + (inner ? Math.ceil(grid / 4) : 0);
  starts.offsets = starts.zeros + (constantZero === undefined ? Math.ceil(grid / 4) : 0);
  starts.sums = starts.offsets + (scheme.offset ? stepWords(grid) : 0);
  const pack = () => {
    const sections = new Sections();
    sections.add(nibble ? packNibbles(parts) : packBytes(parts));
    sections.add(
      outerSteps === undefined ? packReals(parts, tensor.steps.data, half) : packOuter(matrix, outerSteps.data, half),
    );
    if (inner) sections.add(packInner(parts));
    if (constantZero === undefined) sections.add(packZeros(zeros));
    if (tensor.offsets !== undefined) sections.add(packReals(parts, tensor.offsets.data, half));
    if (sums) sections.add(packSums(parts, zeros));
    return sections.bytes();
  };
  const name = [
    nibble ? "nibble" : "byte",
    `depth=${4 * units}`,
    `columns=${columns}`,
    `block=${block}`,
    `shift=${shift}`,
    half ? "f16" : "f32",
    ...(constantZero === undefined ? ["zeros"] : [`zero=${constantZero}`]),
    ...(scheme.offset ? ["offsets"] : []),
    ...(inner ? ["inner"] : []),
    ...(sums ? ["sums"] : []),
  ].join(",");
  const text: TextParts = {
    nibble,
    held: decoded ? "f32" : "bytes",
    half,
    rowWords,
    starts,
    blocks,
    constantZero,
    offsets: scheme.offset === true,
    inner,
  };
  return {
    kind: decoded ? "float" : "codes",
    weights: { key: `${matrix.key}/rows(${name})`, layout: `rows(${name})`, value: matrix.value, pack },
    name,
    columns,
    units,
    blockUnits: Math.min(units, Math.ceil(block / 4)),
    blocks,
    byteZeros: !nibble && constantZero !== 0,
    offsets: scheme.offset === true,
    inner,
    ...codesText(text, sums),
    ...(decoded && !text.offsets ? { unscaled: codesText({ ...text, held: "f16" }, sums) } : {}),
  };
}

interface Parts {
  readonly matrix: RightMatrix;
  readonly tensor: QuantizedTensor;
  readonly shift: number;
  readonly blocks: number;
}

/** Zero points less the shift, [column][block]. */
function zerosOf({ matrix, tensor, shift, blocks }: Parts): Int32Array {
  const zeros = new Int32Array(matrix.columns * blocks).fill(-shift);
  const { zeros: given } = tensor;
  if (given === undefined) return zeros;
  for (let column = 0; column < matrix.columns; column++) {
    for (let block = 0; block < blocks; block++) {
      zeros[column * blocks + block] = given.data[matrix.stepIndex(block, column)] - shift;
    }
  }
  return zeros;
}

function codeAt({ matrix, tensor, shift }: Parts, k: number, column: number): number | undefined {
  const at = matrix.at(k, column);
  return at === undefined ? undefined : Number(tensor.codes.data[at]) - shift;
}

function packBytes(parts: Parts): Uint32Array<ArrayBuffer> {
  const { columns, units } = parts.matrix;
  const bytes = new Int8Array(columns * units * 4);
  for (let column = 0; column < columns; column++) {
    for (let k = 0; k < 4 * units; k++) bytes[column * 4 * units + k] = codeAt(parts, k, column) ?? 0;
  }
  return new Uint32Array(bytes.buffer);
}

/** Entries 0..3 of eight in the low halves of a word's bytes, 4..7 in the high ones. */
function packNibbles(parts: Parts): Uint32Array<ArrayBuffer> {
  const { columns, units } = parts.matrix;
  const rowBytes = 4 * Math.ceil(units / 2);
  const bytes = new Uint8Array(columns * rowBytes);
  for (let column = 0; column < columns; column++) {
    for (let k = 0; k < 4 * units; k++) {
      const at = column * rowBytes + 4 * Math.floor(k / 8) + k % 4;
      bytes[at] |= (codeAt(parts, k, column) ?? 0) << (k % 8 < 4 ? 0 : 4);
    }
  }
  return new Uint32Array(bytes.buffer);
}

function packReals({ matrix, blocks }: Parts, data: Float32Array, half: boolean): Uint32Array<ArrayBuffer> {
  const { columns, stepIndex } = matrix;
  const values = new Float32Array(columns * blocks);
  for (let column = 0; column < columns; column++) {
    for (let block = 0; block < blocks; block++) values[column * blocks + block] = data[stepIndex(block, column)];
  }
  return realWords(values, half);
}

function packOuter(
  { columns, outerStepIndex }: RightMatrix,
  data: Float32Array,
  half: boolean,
): Uint32Array<ArrayBuffer> {
  return realWords(Float32Array.from({ length: columns }, (_, column) => data[outerStepIndex?.(column) ?? 0]), half);
}

function realWords(values: Float32Array<ArrayBuffer>, half: boolean): Uint32Array<ArrayBuffer> {
  if (!half) return new Uint32Array(values.buffer);
  const halves = new Float16Array(2 * Math.ceil(values.length / 2));
  halves.set(values);
  return new Uint32Array(halves.buffer);
}

/** Integer steps of blocks, [column][block]. */
function packInner({ matrix, tensor, blocks }: Parts): Uint32Array<ArrayBuffer> {
  const { columns, stepIndex } = matrix;
  const bytes = new Uint8Array(4 * Math.ceil(columns * blocks / 4));
  for (let column = 0; column < columns; column++) {
    for (let block = 0; block < blocks; block++) {
      bytes[column * blocks + block] = tensor.steps.data[stepIndex(block, column)];
    }
  }
  return new Uint32Array(bytes.buffer);
}

function packZeros(zeros: Int32Array): Uint32Array<ArrayBuffer> {
  const bytes = new Int8Array(4 * Math.ceil(zeros.length / 4));
  bytes.set(zeros);
  return new Uint32Array(bytes.buffer);
}

/** Σ (code - zero) of each block; of each column, times the inner steps, where steps have two levels. */
function packSums(parts: Parts, zeros: Int32Array): Uint32Array<ArrayBuffer> {
  const { matrix, tensor, blocks } = parts;
  const { columns, units, block, stepIndex } = matrix;
  const inner = tensor.outerSteps !== undefined;
  const sums = new Int32Array(inner ? columns : columns * blocks);
  for (let column = 0; column < columns; column++) {
    for (let k = 0; k < 4 * units; k++) {
      const code = codeAt(parts, k, column);
      if (code === undefined) continue;
      const of = Math.floor(k / block);
      const at = column * blocks + of;
      if (inner) sums[column] += (code - zeros[at]) * tensor.steps.data[stepIndex(of, column)];
      else sums[at] += code - zeros[at];
    }
  }
  return new Uint32Array(sums.buffer);
}
