/** RotaryEmbedding: rotations of pairs of entries by angles that depend on the position. */

import { equalExtents, type Extent, isStatic } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import { plainTensor, sizeOf, type Tensor } from "../../../ir/tensor.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { add, mul, sub } from "./expressions.ts";
import { malformed } from "./faults.ts";
import { floatMap, plainConstant, reshaped, sliced, staticExtent, transposed } from "./operands.ts";

/** The operands in the layout [B, T, H, D], with tables [B or 1, T, R/2] per position. */
interface Rotation {
  readonly x: ValueName;
  readonly cos: ValueName;
  readonly sin: ValueName;
  /** R, the entries of D that are rotated. */
  readonly extent: number;
  readonly interleaved: boolean;
}

function importRotaryEmbedding(context: ImportContext): readonly ValueName[] {
  const [cos, sin] = [context.input(1), context.input(2)].map((table) => positioned(context, table));
  return [rotaryEmbedding(context, cos, sin, context.node.attributes.int("num_heads", 0))];
}

/** The first input, [B, T, H * D] or [B, H, T, D], rotated by tables [B or 1, T, R/2] of its positions. */
export function rotaryEmbedding(context: ImportContext, cos: ValueName, sin: ValueName, heads: number): ValueName {
  const { attributes } = context.node;
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  if (shape.length !== 3 && shape.length !== 4) return malformed(context, `input has rank ${shape.length}`);
  const rows = shape.length === 4 ? transposed(context, x, [0, 2, 1, 3]) : splitHeads(context, x, heads);
  const width = staticExtent(context, context.typeOf(rows).shape[3], "the head");
  const stated = attributes.int("rotary_embedding_dim", 0);
  const extent = stated === 0 ? width : stated;
  if (extent > width || extent % 2 !== 0) return malformed(context, `cannot rotate ${extent} of ${width} entries`);
  const interleaved = attributes.int("interleaved", 0) !== 0;
  const rotated = rotate(context, { x: rows, cos, sin, extent, interleaved });
  return shape.length === 4 ? transposed(context, rotated, [0, 2, 1, 3]) : reshaped(context, rotated, shape);
}

/** [B, T, H * D] as [B, T, H, D]. */
export function splitHeads(context: ImportContext, x: ValueName, heads: number): ValueName {
  const [batch, time, width] = context.typeOf(x).shape;
  const entries = staticExtent(context, width, "the hidden axis");
  if (heads < 1 || entries % heads !== 0) {
    return malformed(context, `${entries} entries do not split into ${heads} heads`);
  }
  return reshaped(context, x, [batch, time, heads, entries / heads]);
}

/** The table's rows of every position, [B or 1, T, R/2]; one row of batch when all sequences have equal positions. */
function positioned(context: ImportContext, table: ValueName): ValueName {
  const positions = context.optional(3);
  if (positions === undefined) return table;
  const shared = sharedPositions(plainConstant(context, positions));
  const rows = shared === undefined ? positions : context.builder.constant(shared);
  return context.builder.add("gather", [table, rows], { axis: 0 });
}

/** Constant positions [B, T] as [1, T] when all rows are equal. */
function sharedPositions(tensor: Tensor | undefined): Tensor | undefined {
  if (tensor?.kind !== "plain" || tensor.element !== "i64" || tensor.shape.length !== 2) return undefined;
  const [, time] = tensor.shape;
  const entries = Array.from<number | bigint, number>(tensor.data, Number);
  if (sizeOf(tensor.shape) === 0 || entries.some((entry, index) => entry !== entries[index % time])) return undefined;
  return plainTensor("i64", [1, time], BigInt64Array.from(entries.slice(0, time), BigInt));
}

/** The rope op when the positions are those of all sequences; maps over halves otherwise. */
export function rotate(context: ImportContext, rotation: Rotation): ValueName {
  const { x, cos, sin, extent, interleaved } = rotation;
  const { shape } = context.typeOf(x);
  const table = context.typeOf(cos).shape;
  if (!equalExtents(table[1], shape[1])) return malformed(context, "the tables and the input differ in length");
  if (table[0] === 1 && isStatic(table[1])) {
    const [c, s] = [cos, sin].map((value) => reshaped(context, value, table.slice(1)));
    return context.builder.add("rope", [x, c, s], { extent, interleaved, fromPast: false });
  }
  const angles: Extent[] = [table[0], table[1], 1, extent / 2];
  const [c, s] = [cos, sin].map((value) => reshaped(context, value, angles));
  const width = staticExtent(context, shape[3], "the head");
  const whole = extent === width ? x : sliced(context, x, 3, 0, extent);
  const [first, second] = interleaved ? interleavedHalves(context, whole) : [
    sliced(context, whole, 3, 0, extent / 2),
    sliced(context, whole, 3, extent / 2, extent / 2),
  ];
  const left = floatMap(context, [first, second, c, s], ([a, b, u, v]) => sub(mul(a, u), mul(b, v)));
  const right = floatMap(context, [first, second, c, s], ([a, b, u, v]) => add(mul(b, u), mul(a, v)));
  const rotated = interleaved
    ? interleave(context, left, right)
    : context.builder.add("concat", [left, right], { axis: 3 });
  if (extent === width) return rotated;
  return context.builder.add("concat", [rotated, sliced(context, x, 3, extent, width - extent)], { axis: 3 });
}

/** The entries at even and at odd places of the last axis. */
function interleavedHalves(context: ImportContext, x: ValueName): readonly [ValueName, ValueName] {
  const { shape } = context.typeOf(x);
  const extent = staticExtent(context, shape[3], "the head");
  const at = (start: number) =>
    context.builder.add("slice", [x], {
      starts: [0, 0, 0, start],
      steps: [1, 1, 1, 2],
      extents: [...shape.slice(0, 3), extent / 2],
    });
  return [at(0), at(1)];
}

function interleave(context: ImportContext, even: ValueName, odd: ValueName): ValueName {
  const { shape } = context.typeOf(even);
  const half = staticExtent(context, shape[3], "the head");
  const columns = [even, odd].map((value) => reshaped(context, value, [...shape, 1]));
  const pairs = context.builder.add("concat", columns, { axis: 4 });
  return reshaped(context, pairs, [...shape.slice(0, 3), 2 * half]);
}

export const rotaryImporters: OpImporterTable = { RotaryEmbedding: importRotaryEmbedding };
