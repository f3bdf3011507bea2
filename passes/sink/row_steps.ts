/**
 * The attention sink. In many decoders the first positions of a text carry activations hundreds of times larger than all
 * others (massive activations, Sun et al. 2024, arXiv 2402.17762; the sinks of Xiao et al. 2023, arXiv 2309.17453). A
 * static step that covers them leaves no codes for the rest. So rows at the first positions take a step of their own,
 * found at run time from the row, and all other rows keep the static one:
 *
 *   step_t = max|x_t| / top   where past + t < sink,   the static step elsewhere
 *
 * Danger: the position is past + t, not t. A row of a later run that starts over at t = 0 is no sink.
 */

import { binary, compare, input, literal, select, unary } from "../../compiler/ir/expression.ts";
import type { Extent } from "../../compiler/ir/extent.ts";
import type { OpAttributes, OpName, ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import type { Positions } from "./positions.ts";

/** What makes the nodes: an inserter or a patch. */
export interface NodeMaker {
  readonly constant: (tensor: Tensor, name: string) => ValueName;
  readonly add: <Op extends OpName>(
    op: Op,
    inputs: readonly ValueName[],
    attributes: OpAttributes[Op],
    name: string,
  ) => ValueName;
}

export interface SinkOptions {
  /** Positions from the first on that take their own steps. */
  readonly sink: number;
  /** Largest code of such rows. */
  readonly top: number;
}

/** The largest code of rows at the sink: 8 bits, whatever the other rows have. */
export const sinkTop = 127;

/** A step below this stands for a row of zeros. */
const leastStep = 2 ** -100;

/**
 * One step per row as a value of `shape` with 1 along the last axis: `regular` where the position is not a sink. Positions
 * run along the last axis but one of x. With a sink of one position only the first row of a run is looked at.
 */
export function rowSteps(
  maker: NodeMaker,
  x: ValueName,
  shape: readonly Extent[],
  positions: Positions,
  regular: number,
  { sink, top }: SinkOptions,
): { readonly mask: ValueName; readonly steps: ValueName } {
  const mask = sinkMask(maker, shape, positions, sink);
  const largest = rowLargest(maker, x, shape, sink);
  const own = binary("max", binary("div", input(1), literal(top)), literal(leastStep));
  const expression = select(compare("gt", input(0), literal(0)), own, literal(Math.fround(regular)));
  return { mask, steps: maker.add("map", [mask, largest], { expression }, `${x}.row_steps`) };
}

/** max|x| of every row, or of the first row alone, which is then taken for all. */
function rowLargest(maker: NodeMaker, x: ValueName, shape: readonly Extent[], sink: number): ValueName {
  const last = shape.length - 1;
  const rows = sink > 1 ? x : maker.add("slice", [x], {
    starts: shape.map(() => 0),
    steps: shape.map(() => 1),
    extents: shape.map((extent, axis) => (axis === last - 1 ? 1 : extent)),
  }, `${x}.first_row`);
  const magnitudes = maker.add("map", [rows], { expression: unary("abs", input(0)) }, `${rows}.magnitudes`);
  return maker.add("reduce", [magnitudes], { kind: "max", axes: [last], keepAxes: true }, `${rows}.largest`);
}

/**
 * 1 at rows whose position is a sink, 0 elsewhere. Rotation by position is the op that looks up a table by past + t: the
 * vector (1, 0) turned by a table of cosines is the table's entry.
 */
function sinkMask(
  maker: NodeMaker,
  shape: readonly Extent[],
  { extent, context, fromPast }: Positions,
  sink: number,
): ValueName {
  const table = Float32Array.from({ length: context }, (_, position) => (position < sink ? 1 : 0));
  const cos = maker.constant(floatTensor([context, 1], table), "is_sink");
  const sin = maker.constant(floatTensor([context, 1], new Float32Array(context)), "no_turn");
  const unit = maker.constant(floatTensor([1, 1, 1, 2], [1, 0]), "unit");
  const rows = maker.add("expand", [unit], { shape: [1, extent, 1, 2] }, "unit_rows");
  const turned = maker.add("rope", [rows, cos, sin], { extent: 2, interleaved: false, fromPast }, "sink_rows");
  const entries = maker.add("slice", [turned], {
    starts: [0, 0, 0, 0],
    steps: [1, 1, 1, 1],
    extents: [1, extent, 1, 1],
  }, "sink_entries");
  const wanted = shape.map((_, axis) => (axis === shape.length - 2 ? extent : 1));
  return maker.add("reshape", [entries], { shape: wanted }, "sink_mask");
}
