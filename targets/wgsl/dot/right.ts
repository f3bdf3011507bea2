/**
 * The constant side of a contraction: its entries in rows of the depth, column after column, four to a unit, with their
 * steps behind them.
 */

import type { ValueName } from "../../../compiler/ir/node.ts";
import type { PlainTensor, QuantizedTensor, Tensor } from "../../../compiler/ir/tensor.ts";
import { formatBits, intRange } from "../../../compiler/numeric/number_format.ts";
import type { PackedWeights } from "../../plan/packed_weights.ts";

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
}

/** How kernels read the right side. `codes`: four signed bytes a unit; `float`: four f32. */
export interface RightForm {
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
  /** Functions that read the packed words. `memory` holds them from word `call.weights` on. */
  readonly functions: (memory: string) => string[];
  /** Statements before the units of a block: what its entries share. */
  readonly begin: (column: string, block: string) => string[];
  /** The unit, after `begin`. */
  readonly unit: (column: string, unit: string) => string;
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
    functions: (memory) => [
      "// Four entries of a column.",
      "fn right(column: i32, unit: i32) -> vec4<f32> {",
      "  let at = call.weights + 4u * u32(column * units + unit);",
      `  return bitcast<vec4<f32>>(vec4<u32>(${[0, 1, 2, 3].map((index) => `${memory}[at + ${index}u]`).join(", ")}));`,
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
  if (scheme.outer !== undefined) return { declined: "two-level steps" };
  const { columns, units, block } = matrix;
  const blocks = Math.ceil(4 * units / block);
  if (blocks > 1 && block % 4 !== 0) return { declined: "blocks that are no whole units" };
  const nibble = formatBits(scheme.format) <= 4;
  const { min } = intRange(scheme.format);
  const shift = nibble ? min : scheme.format.signed || formatBits(scheme.format) < 8 ? 0 : unsignedByteShift;
  const parts: Parts = { matrix, tensor, shift, blocks };
  const zeros = zerosOf(parts);
  const constantZero = zeros.every((zero) => zero === zeros[0]) ? zeros[0] ?? 0 : undefined;
  const half = scheme.step === "f16";
  const rowWords = nibble ? Math.ceil(units / 2) : units;
  const stepWords = (count: number) => half ? Math.ceil(count / 2) : count;
  const grid = columns * blocks;
  const starts = { steps: columns * rowWords, zeros: 0, offsets: 0, sums: 0 };
  starts.zeros = starts.steps + stepWords(grid);
  starts.offsets = starts.zeros + (constantZero === undefined ? Math.ceil(grid / 4) : 0);
  starts.sums = starts.offsets + (scheme.offset ? stepWords(grid) : 0);
  const pack = () => {
    const sections = new Sections();
    sections.add(nibble ? packNibbles(parts) : packBytes(parts));
    sections.add(packReals(parts, tensor.steps.data, half));
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
    ...(sums ? ["sums"] : []),
  ].join(",");
  const text: TextParts = {
    nibble,
    decoded,
    half,
    rowWords,
    starts,
    blocks,
    constantZero,
    offsets: scheme.offset === true,
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
    functions: (memory) => codesFunctions(text, memory, sums),
    begin: (column, of) => beginLines(text, column, of),
    unit: (column, unit) => unitText(text, column, unit),
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

function packReals(
  { matrix, blocks }: Parts,
  data: Float32Array,
  half: boolean,
): Uint32Array<ArrayBuffer> {
  const { columns, stepIndex } = matrix;
  const values = new Float32Array(columns * blocks);
  for (let column = 0; column < columns; column++) {
    for (let block = 0; block < blocks; block++) values[column * blocks + block] = data[stepIndex(block, column)];
  }
  if (!half) return new Uint32Array(values.buffer);
  const halves = new Float16Array(2 * Math.ceil(values.length / 2));
  halves.set(values);
  return new Uint32Array(halves.buffer);
}

function packZeros(zeros: Int32Array): Uint32Array<ArrayBuffer> {
  const bytes = new Int8Array(4 * Math.ceil(zeros.length / 4));
  bytes.set(zeros);
  return new Uint32Array(bytes.buffer);
}

function packSums(parts: Parts, zeros: Int32Array): Uint32Array<ArrayBuffer> {
  const { matrix, blocks } = parts;
  const { columns, units, block } = matrix;
  const sums = new Int32Array(columns * blocks);
  for (let column = 0; column < columns; column++) {
    for (let k = 0; k < 4 * units; k++) {
      const code = codeAt(parts, k, column);
      const at = column * blocks + Math.floor(k / block);
      if (code !== undefined) sums[at] += code - zeros[at];
    }
  }
  return new Uint32Array(sums.buffer);
}

interface TextParts {
  readonly nibble: boolean;
  readonly decoded: boolean;
  readonly half: boolean;
  readonly rowWords: number;
  readonly starts: { readonly steps: number; readonly zeros: number; readonly offsets: number; readonly sums: number };
  readonly blocks: number;
  readonly constantZero: number | undefined;
  readonly offsets: boolean;
}

function codesFunctions(text: TextParts, memory: string, sums: boolean): string[] {
  const { nibble, decoded, half, rowWords, starts, blocks, constantZero, offsets } = text;
  const word = (index: string) => `${memory}[call.weights + u32(${index})]`;
  const at = (start: number, index = `column * ${blocks} + block`) => `${start} + ${index}`;
  const real = (name: string, start: number) => [
    `fn right_${name}(column: i32, block: i32) -> f32 {`,
    ...(half
      ? [
        `  let at = column * ${blocks} + block;`,
        `  return f16_decode(extractBits(${word(at(start, "at / 2"))}, 16u * u32(at & 1), 16u));`,
      ]
      : [`  return bitcast<f32>(${word(at(start))});`]),
    "}",
    "",
  ];
  const unit = nibble
    ? `(${word(`column * ${rowWords} + unit / 2`)} >> (4u * u32(unit & 1))) & 0x0f0f0f0fu`
    : word(`column * ${rowWords} + unit`);
  return [
    ...(decoded
      ? [
        "// Four entries of a column: (code - zero) * step.",
        `fn right(column: i32, unit: i32, zero: f32, step: f32${offsets ? ", offset: f32" : ""}) -> vec4<f32> {`,
        `  let codes = vec4<u32>(${unit});`,
        "  let bytes = bitcast<vec4<i32>>(codes << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);",
        `  return (vec4<f32>(bytes) - zero) * step${offsets ? " + offset" : ""};`,
        "}",
      ]
      : nibble
      ? [
        "// Four entries of a column as signed bytes, code - zero: the top bits keep bytes from borrowing.",
        "fn right(column: i32, unit: i32, zero: u32) -> u32 {",
        `  let codes = ${unit};`,
        "  return ((codes | 0x80808080u) - zero * 0x01010101u) ^ 0x80808080u;",
        "}",
      ]
      : [
        "// Four codes of a column.",
        "fn right(column: i32, unit: i32) -> u32 {",
        `  return ${unit};`,
        "}",
      ]),
    "",
    ...real("step", starts.steps),
    ...(constantZero === undefined
      ? [
        "fn right_zero(column: i32, block: i32) -> i32 {",
        `  let at = column * ${blocks} + block;`,
        `  return extractBits(bitcast<i32>(${word(at(starts.zeros, "at / 4"))}), 8u * u32(at & 3), 8u);`,
        "}",
        "",
      ]
      : ["fn right_zero(column: i32, block: i32) -> i32 {", `  return ${constantZero};`, "}", ""]),
    ...(offsets ? real("offset", starts.offsets) : []),
    ...(sums
      ? [
        "// Sum of code - zero over a block.",
        "fn right_sum(column: i32, block: i32) -> i32 {",
        `  return bitcast<i32>(${word(at(starts.sums))});`,
        "}",
        "",
      ]
      : []),
  ];
}

function beginLines({ decoded, nibble, constantZero, offsets }: TextParts, column: string, block: string): string[] {
  const zero = constantZero === undefined ? `right_zero(${column}, ${block})` : String(constantZero);
  if (decoded) {
    return [
      `let zero = f32(${zero});`,
      `let step = right_step(${column}, ${block});`,
      ...(offsets ? [`let offset = right_offset(${column}, ${block});`] : []),
    ];
  }
  return nibble ? [`let zero = u32(${zero});`] : [];
}

function unitText({ decoded, nibble, offsets }: TextParts, column: string, unit: string): string {
  if (decoded) return `right(${column}, ${unit}, zero, step${offsets ? ", offset" : ""})`;
  return nibble ? `right(${column}, ${unit}, zero)` : `right(${column}, ${unit})`;
}
