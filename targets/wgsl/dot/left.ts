/** The left side of a matmul: rows that lie in memory, one entry a word. */

import { type Extent, isStatic } from "../../../compiler/ir/extent.ts";
import { formatBits } from "../../../compiler/numeric/number_format.ts";
import { bufferOf, type Operand, stepIndex } from "../../loops/operand.ts";
import type { Lowering } from "../../loops/context.ts";
import { dotIndex } from "../../loops/index.ts";
import type { Index } from "../../loops/program.ts";
import { bare, indexText } from "../loops/scalar.ts";
import { placeAxes, type PlaceAxis } from "./places.ts";
import type { Declined, LeftForm } from "./problem.ts";

/** Whether kernels read a left operand as bytes, as f32, or not at all. */
export function leftKind(
  { scheme, element, shape }: Operand,
  depthAxes: readonly number[],
): LeftForm["kind"] | Declined {
  if (scheme === undefined) return element === "f32" ? "float" : { declined: `${element} rows` };
  if (scheme.format.kind !== "int" || formatBits(scheme.format) > 8) return { declined: "codes of rows are no bytes" };
  if (scheme.offset || scheme.outer !== undefined) return { declined: "rows with offsets or two-level steps" };
  const whole = (extent: Extent, block: number | "all") =>
    extent === 1 || block === "all" || isStatic(extent) && block >= extent;
  const varies = depthAxes.some((axis) => !whole(shape[axis], scheme.block[axis]));
  return varies ? { declined: "steps of rows vary along the depth" } : "codes";
}

/** Codes of unsigned bytes are shifted by this, so that they are signed. */
export function codeShift({ scheme }: Operand): number {
  return scheme?.format.kind === "int" && !scheme.format.signed && formatBits(scheme.format) === 8 ? 128 : 0;
}

export interface LeftRows {
  readonly operand: Operand;
  readonly lowering: Lowering;
  /** Axes that `outer` and `row` count through. */
  readonly outerAxes: readonly PlaceAxis[];
  readonly rowAxes: readonly PlaceAxis[];
  /** Index of the operand along each of its axes, in terms of those axes; 0 along the depth. */
  readonly indices: readonly Index[];
}

export interface UnitText {
  readonly name: string;
  /** Statements of `left(outer, row, unit)` before its four entries. */
  readonly lines: readonly string[];
  readonly entry: (index: number) => string;
}

/** Functions of a left side whose entries are read by `unit`. */
export function leftForm(kind: LeftForm["kind"], rows: LeftRows, unit: UnitText): LeftForm {
  const { operand, lowering, outerAxes, rowAxes, indices } = rows;
  const places = [...(outerAxes.length === 0 ? [] : placeAxes("outer", outerAxes)), ...placeAxes("row", rowAxes)];
  const entries = [0, 1, 2, 3].map(unit.entry);
  const shift = codeShift(operand);
  const packed = [
    ...entries.map((entry, index) => `let code${index} = u32(${bare(entry)});`),
    `return ((code0 & 255u) | ((code1 & 255u) << 8u) | ((code2 & 255u) << 16u) | (code3 << 24u))${
      shift === 0 ? "" : " ^ 0x80808080u"
    };`,
  ];
  const head = (text: string) => [...places, ...text.split("\n")].map((line) => `  ${line}`);
  const reads: string[] = [bufferOf(lowering.b, operand, kind === "codes" ? "codes" : "data", "read")];
  const functions = [
    kind === "codes" ? "// Four codes of a row, as signed bytes." : "// Four entries of a row.",
    `fn left(outer: i32, row: i32, unit: i32) -> ${kind === "codes" ? "u32" : "vec4<f32>"} {`,
    ...places.map((line) => `  ${line}`),
    ...unit.lines.map((line) => `  ${line}`),
    ...(kind === "codes" ? packed : [`return vec4<f32>(${entries.join(", ")});`]).map((line) => `  ${line}`),
    "}",
    "",
  ];
  if (kind === "float") return { kind, name: unit.name, reads, functions, zeros: false };
  const at = bare(indexText(stepIndex(operand, indices)));
  const steps = bufferOf(lowering.b, operand, "steps", "read");
  reads.push(steps);
  functions.push("fn left_step(outer: i32, row: i32) -> f32 {", ...head(`return load_${steps}(${at});`), "}", "");
  const hasZeros = operand.scheme?.zeroPoint === true;
  if (hasZeros) {
    const zeros = bufferOf(lowering.b, operand, "zeros", "read");
    reads.push(zeros);
    functions.push(
      "fn left_zero(outer: i32, row: i32) -> i32 {",
      ...head(`return load_${zeros}(${at})${shift === 0 ? "" : ` - ${shift}`};`),
      "}",
      "",
    );
  } else if (shift !== 0) functions.push("fn left_zero(outer: i32, row: i32) -> i32 {", `  return ${-shift};`, "}", "");
  const name = `${unit.name}${hasZeros ? ",zeros" : ""}${shift === 0 ? "" : ",unsigned"}`;
  return { kind, name, reads, functions, zeros: hasZeros || shift !== 0 };
}

/** Rows of a matmul: entries of a unit follow one another. */
export function rowUnit(
  buffer: string,
  rows: LeftRows,
  depth: number,
  kind: LeftForm["kind"],
): UnitText {
  const start = bare(indexText(dotIndex(rows.indices, rows.operand.strides)));
  const nothing = nothingText(rows.operand, kind);
  return {
    name: "rows",
    lines: ["let k = 4 * unit;", `let at = ${start} + k;`],
    entry: (index) => {
      if (depth % 4 === 0 || index === 0) return `load_${buffer}(at${index === 0 ? "" : ` + ${index}`})`;
      const inside = `k + ${index} < ${depth}`;
      return `select(${nothing}, load_${buffer}(at + select(0, ${index}, ${inside})), ${inside})`;
    },
  };
}

/** An entry that adds nothing to any product: a code that is 0 as a signed byte. */
export function nothingText(operand: Operand, kind: LeftForm["kind"]): string {
  return kind === "float" ? "0f" : `${codeShift(operand)}${isUnsigned(operand) ? "u" : ""}`;
}

/** Codes that are held as u32. */
export function isUnsigned({ scheme }: Operand): boolean {
  return scheme?.format.kind === "int" && !scheme.format.signed;
}
