/** Values that hold codes without a plain element of their own: which ops may read them, and which pass them on. */

import { DiagnosticError, errorDiagnostic } from "../../diagnostics.ts";
import { formatName } from "../../numeric/number_format.ts";
import type { ValueName } from "../../ir/node.ts";
import type { OnnxNode } from "./op_importer.ts";
import { opKey } from "./op_table.ts";
import { codedValue, type Session } from "./session.ts";

/** Ops that move entries without reading them as numbers: the outputs hold the codes of the first input. */
const movers: ReadonlySet<string> = new Set([
  "Concat",
  "Expand",
  "Flatten",
  "Gather",
  "GatherElements",
  "GatherND",
  "Identity",
  "Reshape",
  "Slice",
  "Split",
  "Squeeze",
  "Tile",
  "Transpose",
  "Unsqueeze",
]);

/** Ops that read codes by their format. */
const readers: ReadonlySet<string> = new Set([
  "BitCast",
  "Cast",
  "CastLike",
  "DequantizeLinear",
  "QuantizeLinear",
  "QLinearMatMul",
  "QLinearConv",
  "Shape",
  "Size",
  "If",
  "Loop",
  "com.microsoft:DequantizeLinear",
  "com.microsoft:QuantizeLinear",
  "com.microsoft:GatherBlockQuantized",
  "com.microsoft:MatMulNBits",
]);

/** Marks the outputs of ops that move codes; an op that would take codes for numbers is a diagnostic. */
export function moveFormats(session: Session, node: OnnxNode, outputs: readonly ValueName[]): readonly ValueName[] {
  const format = node.inputs.map((value) => (value === undefined ? undefined : session.formats.get(value)))
    .find((entry) => entry !== undefined);
  if (format === undefined) return outputs;
  const key = opKey(node.domain, node.opType);
  if (readers.has(key)) return outputs;
  if (movers.has(key)) return outputs.map((value) => codedValue(session, value, format));
  throw new DiagnosticError([
    errorDiagnostic("Q1027", `${key} of ${formatName(format)} is not supported`, { node: node.name }),
  ]);
}
