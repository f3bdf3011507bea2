/** How kernels read packed codes of the right side: as f32 or f16 entries, or as bytes. */

import type { Memory } from "../kernel.ts";
import { wordText } from "../storage.ts";

/** Text that reads the packed words. */
export interface RightText {
  /** Functions that read them. `memory` holds them from word `call.weights` on. */
  readonly functions: (memory: Memory) => string[];
  /** Statements before the units of a block: what its entries share. */
  readonly begin: (column: string, block: string) => string[];
  /** The unit, after `begin`. */
  readonly unit: (column: string, unit: string) => string;
}

/** What the text depends on. `starts` are the first words of the sections behind the codes. */
export interface TextParts {
  readonly nibble: boolean;
  /** Type of a unit's entries: decoded as f32, code - zero as f16, or signed bytes. */
  readonly held: "f32" | "f16" | "bytes";
  readonly half: boolean;
  readonly rowWords: number;
  readonly starts: Readonly<Record<"steps" | "inner" | "zeros" | "offsets" | "sums", number>>;
  readonly blocks: number;
  readonly constantZero: number | undefined;
  readonly offsets: boolean;
  readonly inner: boolean;
}

/** `sums`: whether the weights hold sums of codes for rows with zero points. */
export function codesText(text: TextParts, sums: boolean): RightText {
  return {
    functions: (memory) => codesFunctions(text, memory, sums),
    begin: (column, of) => beginLines(text, column, of),
    unit: (column, unit) => unitText(text, column, unit),
  };
}

function codesFunctions(text: TextParts, memory: Memory, sums: boolean): string[] {
  const { nibble, half, rowWords, starts, blocks, constantZero, offsets, inner } = text;
  const word = (index: string) => wordText(memory, `call.weights + u32(${index})`);
  const grid = `column * ${blocks} + block`;
  const at = (start: number, index = grid) => `${start} + ${index}`;
  const stepGrid = inner ? "column" : grid;
  const real = (name: string, start: number) => [
    `fn right_${name}(column: i32, block: i32) -> f32 {`,
    ...(half
      ? [
        `  let at = ${stepGrid};`,
        `  return f16_decode(extractBits(${word(at(start, "at / 2"))}, 16u * u32(at & 1), 16u));`,
      ]
      : [`  return bitcast<f32>(${word(at(start, stepGrid))});`]),
    "}",
    "",
  ];
  const unit = nibble
    ? `(${word(`column * ${rowWords} + unit / 2`)} >> (4u * u32(unit & 1))) & 0x0f0f0f0fu`
    : word(`column * ${rowWords} + unit`);
  return [
    ...readerLines(text, unit),
    "",
    ...real("step", starts.steps),
    ...(inner
      ? [
        "// The integer step of a block, under the column's own.",
        "fn right_inner(column: i32, block: i32) -> i32 {",
        `  let at = ${grid};`,
        `  return i32(extractBits(${word(at(starts.inner, "at / 4"))}, 8u * u32(at & 3), 8u));`,
        "}",
        "",
      ]
      : []),
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
        `// Sum of ${inner ? "(code - zero) * inner step over a column" : "code - zero over a block"}.`,
        "fn right_sum(column: i32, block: i32) -> i32 {",
        `  return bitcast<i32>(${word(at(starts.sums, stepGrid))});`,
        "}",
        "",
      ]
      : []),
  ];
}

/** The function `right` that makes a unit of the word `unit`. */
function readerLines({ held, nibble, offsets }: TextParts, unit: string): string[] {
  const bytes = [
    `  let codes = vec4<u32>(${unit});`,
    "  let bytes = bitcast<vec4<i32>>(codes << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);",
  ];
  if (held === "f32") {
    return [
      "// Four entries of a column: (code - zero) * step.",
      `fn right(column: i32, unit: i32, zero: f32, step: f32${offsets ? ", offset: f32" : ""}) -> vec4<f32> {`,
      ...bytes,
      `  return (vec4<f32>(bytes) - zero) * step${offsets ? " + offset" : ""};`,
      "}",
    ];
  }
  if (held === "f16") {
    return [
      "// Four entries of a column, code - zero: an integer of at most 9 bits, so f16 rounds nothing.",
      "fn right(column: i32, unit: i32, zero: f16) -> vec4<f16> {",
      ...bytes,
      "  return vec4<f16>(bytes) - zero;",
      "}",
    ];
  }
  return nibble
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
    ];
}

function beginLines(
  { held, nibble, constantZero, offsets, inner }: TextParts,
  column: string,
  block: string,
): string[] {
  const zero = constantZero === undefined ? `right_zero(${column}, ${block})` : String(constantZero);
  if (held !== "bytes") {
    return [
      `let zero = ${held}(${zero});`,
      `let step = right_step(${column}, ${block})${inner ? ` * f32(right_inner(${column}, ${block}))` : ""};`,
      ...(offsets ? [`let offset = right_offset(${column}, ${block});`] : []),
    ];
  }
  return nibble ? [`let zero = u32(${zero});`] : [];
}

function unitText({ held, nibble, offsets }: TextParts, column: string, unit: string): string {
  if (held === "f16") return `vec4<f32>(right(${column}, ${unit}, zero))`;
  if (held === "f32") return `right(${column}, ${unit}, zero, step${offsets ? ", offset" : ""})`;
  return nibble ? `right(${column}, ${unit}, zero)` : `right(${column}, ${unit})`;
}
