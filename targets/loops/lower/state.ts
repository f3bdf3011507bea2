/** Ops on states. Where the plan lays a result over the state (or the operand) itself, only the write is left. */

import type { OpAttributes } from "../../../compiler/ir/node.ts";
import { stridesOf } from "../../../compiler/ir/tensor.ts";
import type { LoopBuilder } from "../build.ts";
import type { Lowering } from "../context.ts";
import { addIndex, mulIndex } from "../index.ts";
import { bufferOf, loadPart, type Operand, partBounds, partsOf } from "../operand.ts";
import type { BufferPart, Index } from "../program.ts";
import { axisRange, forAxes, joinAxes, type Position } from "../space.ts";
import type { Extent } from "../../../compiler/ir/extent.ts";

/** Run-time extents of a part, whose step axes follow the blocks of the scheme. */
function partShape(operand: Operand, part: BufferPart): readonly Extent[] {
  const { scheme } = operand;
  if (part === "data" || part === "codes" || scheme === undefined) return operand.shape;
  const bounds = partBounds(operand, part);
  return operand.shape.map((extent, axis) => (scheme.block[axis] === 1 ? extent : bounds[axis]));
}

/** Copies `shape` of a part from one operand to another, each moved by its own offset in entries. */
function copyPart(
  b: LoopBuilder,
  part: BufferPart,
  shape: readonly Extent[],
  from: Operand,
  to: Operand,
  offset: (strides: readonly number[]) => Index = () => 0,
): void {
  const [source, target] = [stridesOf(partBounds(from, part)), stridesOf(partBounds(to, part))];
  const buffer = bufferOf(b, to, part, "write");
  const axes = joinAxes(shape, axisRange(0, shape.length), [source, target]);
  forAxes(b, axes, "independent", (position: Position) => {
    b.store(buffer, addIndex(position(target), offset(target)), loadPart(b, from, part, position(source)));
  });
}

export function lowerAppend(lowering: Lowering, { state, axis }: OpAttributes["append"]): readonly string[] {
  const { b } = lowering;
  const x = lowering.input(0, "x");
  const held = lowering.state(state, "state");
  const past: Index = { kind: "symbol", name: "past" };
  for (const part of partsOf(x)) {
    const isWhole = x.scheme?.block[axis] === "all" && part !== "codes";
    const offset = (strides: readonly number[]) => (isWhole ? 0 : mulIndex(past, strides[axis]));
    copyPart(b, part, partShape(x, part), x, held, offset);
  }
  if (!lowering.isView) {
    const y = lowering.result();
    for (const part of partsOf(y)) copyPart(b, part, partShape(y, part), held, y);
  }
  return [`state[past + t] = x[t] along axis ${axis}${lowering.isView ? "" : ", y = state[0 .. total]"}`];
}

export function lowerReadState(lowering: Lowering, { state }: OpAttributes["readState"]): readonly string[] {
  const held = lowering.state(state, "state");
  const y = lowering.result();
  for (const part of partsOf(y)) copyPart(lowering.b, part, partShape(y, part), held, y);
  return ["y = state"];
}

export function lowerWriteState(lowering: Lowering, { state }: OpAttributes["writeState"]): readonly string[] {
  const x = lowering.input(0, "x");
  const held = lowering.state(state, "state");
  for (const part of partsOf(x)) {
    copyPart(lowering.b, part, partShape(x, part), x, held);
    if (!lowering.isView) copyPart(lowering.b, part, partShape(x, part), x, lowering.result());
  }
  return [`state = x${lowering.isView ? "" : ", y = x"}`];
}
