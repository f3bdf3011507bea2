/** The map op: an expression over broadcast operands, a run of entries at a time. */

import { allocate, decodeBf16, encodeBf16, type TypedArray } from "../../numeric/element.ts";
import type { OpAttributes } from "../node.ts";
import { type PlainTensor, plainTensor, sizeOf, type Tensor } from "../tensor.ts";
import { plainInput } from "./environment.ts";
import { type Cell, expressionProgram, runLength } from "./expression_program.ts";
import type { Register } from "./number_operators.ts";
import { numberData, readNumbers, type WideArray, wideData } from "./numbers.ts";
import { broadcastAll, broadcastStrides, collapseAxes } from "./strided.ts";

export function evaluateMap(inputs: readonly Tensor[], { expression }: OpAttributes["map"]): readonly Tensor[] {
  const operands = inputs.map((_, index) => plainInput(inputs, index));
  const shape = broadcastAll(operands.map((operand) => operand.shape));
  const program = expressionProgram(expression, operands.map((operand) => operand.element));
  const size = sizeOf(shape);
  const loaders = operands.flatMap((operand, index) => {
    const cell = program.inputs[index];
    return cell === undefined || size === 0 ? [] : [makeLoader(operand, shape, cell)];
  });
  const { result } = program;
  const data = allocate(result.element, size);
  const store = makeStore(data, result);
  for (let start = 0; start < size; start += runLength) {
    const count = Math.min(runLength, size - start);
    for (const load of loaders) load(start, count);
    program.run(count);
    store(start, count);
  }
  return [plainTensor(result.element, shape, data)];
}

type Transfer = (start: number, count: number) => void;

function makeStore(data: TypedArray, cell: Cell): Transfer {
  if (cell.kind === "wide") {
    const to = wideData(data);
    return (start, count) => to.set(cell.values.subarray(0, count), start);
  }
  const to = numberData(data);
  const { values } = cell;
  if (cell.element === "bf16") {
    return (start, count) => {
      for (let index = 0; index < count; index++) to[start + index] = encodeBf16(values[index]);
    };
  }
  return (start, count) => to.set(count === runLength ? values : values.subarray(0, count), start);
}

function makeLoader(operand: PlainTensor, shape: readonly number[], cell: Cell): Transfer {
  const size = sizeOf(operand.shape);
  if (size === sizeOf(shape)) return contiguousLoader(operand, cell);
  const { extents, strides: [strides] } = collapseAxes(shape, [broadcastStrides(operand.shape, shape)]);
  const walk = new BroadcastWalk(extents, strides);
  if (cell.kind === "wide") {
    const from = wideData(operand.data);
    return (start, count) => loadWide(cell.values, from, walk, start, count);
  }
  const from = readNumbers(operand);
  if (size === 1) {
    cell.values.fill(from[0]);
    return () => {};
  }
  return (start, count) => loadNumbers(cell.values, from, walk, start, count);
}

function contiguousLoader(operand: PlainTensor, cell: Cell): Transfer {
  if (cell.kind === "wide") {
    const from = wideData(operand.data);
    return (start, count) => cell.values.set(from.subarray(start, start + count));
  }
  const from = numberData(operand.data);
  const { values } = cell;
  if (operand.element === "bf16") {
    return (start, count) => {
      for (let index = 0; index < count; index++) values[index] = decodeBf16(from[start + index]);
    };
  }
  return (start, count) => values.set(from.subarray(start, start + count));
}

/** Turns a flat index of the broadcast shape into runs of the operand: (offset, stride, length). */
class BroadcastWalk {
  readonly #position: number[];
  readonly innerExtent: number;
  readonly innerStride: number;

  constructor(readonly extents: readonly number[], readonly strides: readonly number[]) {
    this.#position = new Array<number>(extents.length).fill(0);
    this.innerExtent = extents[extents.length - 1] ?? 1;
    this.innerStride = strides[strides.length - 1] ?? 0;
  }

  /** Goes to a flat index; returns the offset of its row in the operand. The place in the row is `index % innerExtent`. */
  seek(index: number): number {
    let rest = Math.floor(index / this.innerExtent);
    let offset = 0;
    for (let axis = this.extents.length - 2; axis >= 0; axis--) {
      this.#position[axis] = rest % this.extents[axis];
      offset += this.#position[axis] * this.strides[axis];
      rest = Math.floor(rest / this.extents[axis]);
    }
    return offset;
  }

  /** Goes to the next row; takes and returns the offset. */
  next(offset: number): number {
    let moved = offset;
    for (let axis = this.extents.length - 2; axis >= 0; axis--) {
      moved += this.strides[axis];
      if (++this.#position[axis] < this.extents[axis]) return moved;
      this.#position[axis] = 0;
      moved -= this.strides[axis] * this.extents[axis];
    }
    return moved;
  }
}

function loadNumbers(out: Register, from: Register, walk: BroadcastWalk, start: number, count: number): void {
  let row = walk.seek(start);
  let column = start % walk.innerExtent;
  for (let done = 0; done < count;) {
    const run = Math.min(walk.innerExtent - column, count - done);
    if (walk.innerStride === 0) out.fill(from[row], done, done + run);
    else for (let index = 0; index < run; index++) out[done + index] = from[row + (column + index) * walk.innerStride];
    done += run;
    column = 0;
    row = walk.next(row);
  }
}

function loadWide(out: WideArray, from: WideArray, walk: BroadcastWalk, start: number, count: number): void {
  let row = walk.seek(start);
  let column = start % walk.innerExtent;
  for (let done = 0; done < count;) {
    const run = Math.min(walk.innerExtent - column, count - done);
    for (let index = 0; index < run; index++) out[done + index] = from[row + (column + index) * walk.innerStride];
    done += run;
    column = 0;
    row = walk.next(row);
  }
}
