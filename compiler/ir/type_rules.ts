/** The type rule of every op: types of the inputs and attributes in, types of the outputs (or the fault) out. */

import { type ElementType, isFloat } from "../numeric/element.ts";
import { codeElement } from "../numeric/number_format.ts";
import { type QuantScheme, schemeFault } from "../numeric/scheme.ts";
import { expressionElement } from "./expression.ts";
import {
  addExtents,
  equalExtents,
  equalShapes,
  type Extent,
  isStatic,
  multiplyExtents,
  printExtent,
  shapeSize,
  symbolic,
} from "./extent.ts";
import type { State } from "./graph.ts";
import type { ContractionResult, OpAttributes, OpName, WindowAttributes } from "./node.ts";
import type { Tensor } from "./tensor.ts";
import { typeOfTensor } from "./tensor.ts";
import { printType, quantizedType, schemeOf, type TensorType, tensorType } from "./types.ts";

/** What a type rule may look up beside its operands. */
export interface TypeContext {
  readonly constant: (hash: string) => Tensor | undefined;
  readonly state: (name: string) => State | undefined;
}

/** An ill-typed node: what is, and what is wanted. Builders throw it; importers turn it into a diagnostic. */
export class TypeFault extends Error {
  constructor(message: string) {
    super(message);
    this.name = "TypeFault";
  }
}

export type TypeRule<Op extends OpName> = (
  inputs: readonly TensorType[],
  attributes: OpAttributes[Op],
  context: TypeContext,
) => readonly TensorType[];

function fault(message: string): never {
  throw new TypeFault(message);
}

function arity(inputs: readonly TensorType[], least: number, most = least): void {
  if (inputs.length < least || inputs.length > most) {
    const wanted = least === most ? String(least) : most === Infinity ? `${least} or more` : `${least} to ${most}`;
    fault(`takes ${wanted} operands, got ${inputs.length}`);
  }
}

function plainOperand(type: TensorType, what: string): void {
  if (type.encoding.kind !== "plain") fault(`${what} must be plain, got ${printType(type)}`);
}

function floatOperand(type: TensorType, what: string): void {
  plainOperand(type, what);
  if (!isFloat(type.element)) fault(`${what} must be float, got ${printType(type)}`);
}

function axisOf(type: TensorType, axis: number): void {
  if (!Number.isInteger(axis) || axis < 0 || axis >= type.shape.length) {
    fault(`axis ${axis} is outside ${printType(type)}`);
  }
}

function staticExtent(extent: Extent, what: string): number {
  return isStatic(extent) ? extent : fault(`${what} must be static, got ${printExtent(extent)}`);
}

/** The shape that two shapes broadcast to. */
export function broadcastShapes(a: readonly Extent[], b: readonly Extent[]): Extent[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, index) => {
    const x = a[index - rank + a.length] ?? 1;
    const y = b[index - rank + b.length] ?? 1;
    if (x === 1) return y;
    if (y === 1 || equalExtents(x, y)) return x;
    return fault(`shapes [${a.map(printExtent)}] and [${b.map(printExtent)}] do not broadcast`);
  });
}

/** Extent of a window op along one spatial axis, floor mode. */
export function windowExtent(
  extent: Extent,
  kernel: number,
  stride: number,
  dilation: number,
  before: number,
  after: number,
): Extent {
  const reach = dilation * (kernel - 1) + 1;
  if (isStatic(extent)) {
    const room = extent + before + after - reach;
    if (room < 0) fault(`window of ${reach} does not fit in ${extent} with padding ${before}+${after}`);
    return Math.floor(room / stride) + 1;
  }
  if (stride !== 1) return fault(`strided windows over the symbolic extent ${printExtent(extent)} are not supported`);
  return addExtents(extent, before + after - reach + 1) ?? fault("symbolic window extent is not affine");
}

function spatialAxes(layout: "channelsFirst" | "channelsLast", rank: number): number[] {
  return Array.from({ length: rank - 2 }, (_, index) => index + (layout === "channelsFirst" ? 2 : 1));
}

function contraction(
  a: TensorType,
  b: TensorType,
  rest: readonly TensorType[],
  shape: readonly Extent[],
  channels: Extent,
  hasBias: boolean,
  result: ContractionResult,
): TensorType[] {
  const aQuantized = a.encoding.kind !== "plain";
  const bQuantized = b.encoding.kind !== "plain";
  const extras = [...rest];
  const bias = hasBias ? extras.shift() ?? fault("has no bias operand") : undefined;
  if (bias !== undefined) {
    plainOperand(bias, "bias");
    if (!equalShapes(bias.shape, [channels])) fault(`bias is ${printType(bias)}, wants [${printExtent(channels)}]`);
    const wanted = result.kind === "real" ? (aQuantized || bQuantized ? "f32" : a.element) : "i32";
    if (bias.element !== wanted) fault(`bias is ${bias.element}, wants ${wanted}`);
  }
  const [left, right] = [schemeOf(a), schemeOf(b)];
  if (left?.offset) fault(`left operand has offsets: ${printType(a)}`);
  if (left?.outer) fault(`left operand has outer steps: ${printType(a)}`);
  if (right?.offset && result.kind !== "real") fault(`a right operand with offsets allows a real result only`);
  if (right?.outer && result.kind !== "real") fault(`a right operand with outer steps allows a real result only`);
  switch (result.kind) {
    case "real": {
      if (extras.length > 0) fault(`has ${extras.length} operands too many`);
      if (aQuantized && !bQuantized) fault(`left operand is quantized, the right one is not`);
      if (bQuantized && !aQuantized && a.element !== "f32") {
        fault(`a quantized right operand wants an f32 left one, got ${a.element}`);
      }
      if (!aQuantized && !bQuantized && a.element !== b.element) fault(`operands are ${a.element} and ${b.element}`);
      return [tensorType(aQuantized || bQuantized ? "f32" : a.element, shape)];
    }
    case "accumulator":
      if (extras.length > 0) fault(`has ${extras.length} operands too many`);
      if (!aQuantized || !bQuantized) fault("accumulators need two quantized operands");
      return [tensorType("i32", shape)];
    case "quantized": {
      if (!aQuantized || !bQuantized) fault("a quantized result needs two quantized operands");
      const wanted = result.scheme.zeroPoint ? 3 : 2;
      if (extras.length !== wanted) {
        fault(`wants multiplier, step${result.scheme.zeroPoint ? " and zero" : ""} operands, got ${extras.length}`);
      }
      return [quantizedType(result.scheme, shape)];
    }
  }
}

/** A window takes one step for all its positions: steps of the input may vary along batch and channels only. */
function sharedSteps(x: TensorType, axis: number): void {
  if (x.encoding.kind === "plain") return;
  const block = x.encoding.scheme.block[axis];
  const extent = x.shape[axis];
  if (block === "all" || (isStatic(extent) && block >= extent)) return;
  fault(`steps of ${printType(x)} vary along the spatial axis ${axis}`);
}

function checkStep(type: TensorType, what: string): void {
  if (type.element !== "f32") fault(`${what} must be f32, got ${printType(type)}`);
}

/** Checks that a scheme suits the rank of the type that it is applied to. */
function checkScheme(scheme: QuantScheme, rank: number): void {
  const reason = schemeFault(scheme, rank);
  if (reason !== undefined) fault(reason);
}

/** A mask is bool or float and broadcasts to [B, H, T, S]. */
function attentionMask(mask: TensorType, scores: readonly Extent[]): void {
  plainOperand(mask, "mask");
  if (mask.element !== "bool" && !isFloat(mask.element)) fault(`mask is ${printType(mask)}, wants bool or float`);
  if (mask.shape.length > 4 || !equalShapes(broadcastShapes(mask.shape, scores), scores)) {
    fault(`mask ${printType(mask)} does not broadcast to [${scores.map(printExtent)}]`);
  }
}

function dropAxes(shape: readonly Extent[], axes: readonly number[], keep: boolean): Extent[] {
  return keep
    ? shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent))
    : shape.filter((_, axis) => !axes.includes(axis));
}

function sameAsInput(inputs: readonly TensorType[]): readonly TensorType[] {
  return [inputs[0]];
}

function indexOperand(type: TensorType): void {
  plainOperand(type, "indices");
  if (type.element !== "i64" && type.element !== "i32") fault(`indices must be i32 or i64, got ${type.element}`);
}

/** Updates have the element of what they update. */
function sameElement(x: TensorType, updates: TensorType): void {
  if (x.element !== updates.element) fault(`updates are ${updates.element}, the operand is ${x.element}`);
}

/** The lists of a windowed op have one entry per spatial axis, pads two. */
function windowLists(
  rank: number,
  lists: {
    readonly strides: readonly number[];
    readonly dilations: readonly number[];
    readonly pads: readonly number[];
    readonly kernel?: readonly number[];
    readonly outputPadding?: readonly number[];
    readonly outputExtents?: readonly number[];
  },
): void {
  const { strides, dilations, pads, kernel, outputPadding, outputExtents } = lists;
  if (rank < 1) fault("needs at least one spatial axis");
  if (pads.length !== 2 * rank) fault(`has ${pads.length} pads for ${rank} spatial axes`);
  for (const [name, list] of Object.entries({ strides, dilations, kernel, outputPadding, outputExtents })) {
    if (list !== undefined && list.length !== rank) fault(`has ${list.length} ${name} for ${rank} spatial axes`);
  }
}

/** The output shape when an explicit list of extents replaces the spatial ones. */
function pooledShape(
  x: TensorType,
  attributes: WindowAttributes & Pick<OpAttributes["pool"], "outputExtents">,
): Extent[] {
  const axes = spatialAxes(attributes.layout, x.shape.length);
  windowLists(axes.length, attributes);
  return x.shape.map((extent, axis) => axes.includes(axis) ? attributes.outputExtents[axes.indexOf(axis)] : extent);
}

export const typeRules: { readonly [Op in OpName]: TypeRule<Op> } = {
  constant: (inputs, { hash }, context) => {
    arity(inputs, 0);
    const tensor = context.constant(hash) ?? fault(`constant #${hash} is not in the store`);
    return [typeOfTensor(tensor)];
  },

  map: (inputs, { expression }) => {
    inputs.forEach((type, index) => plainOperand(type, `operand ${index}`));
    const result = expressionElement(expression, inputs.map((type) => type.element));
    if (!result.ok) return fault(result.reason);
    const shape = inputs.reduce<Extent[]>((sum, type) => broadcastShapes(sum, type.shape), []);
    return [tensorType(result.element, shape)];
  },

  matmul: (inputs, { transposeB, hasBias, result }) => {
    arity(inputs, 2, 6);
    const [a, b, ...rest] = inputs;
    if (a.shape.length < 2 || b.shape.length < 2) fault(`operands must have rank 2 or more`);
    const inner = a.shape[a.shape.length - 1];
    const [rows, columns] = b.shape.slice(-2);
    if (!equalExtents(inner, transposeB ? columns : rows)) {
      fault(`inner extents differ: ${printType(a)} and ${printType(b)}${transposeB ? " transposed" : ""}`);
    }
    const outer = transposeB ? rows : columns;
    const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
    return contraction(a, b, rest, [...batch, a.shape[a.shape.length - 2], outer], outer, hasBias, result);
  },

  conv: (inputs, attributes) => {
    arity(inputs, 2, 6);
    const [x, w, ...rest] = inputs;
    const { layout, groups, strides, dilations, pads } = attributes;
    if (x.shape.length < 3 || x.shape.length !== w.shape.length) {
      fault(`input ${printType(x)} and weights ${printType(w)} must have equal rank of 3 or more`);
    }
    const axes = spatialAxes(layout, x.shape.length);
    const channelAxis = layout === "channelsFirst" ? 1 : x.shape.length - 1;
    const inChannels = staticExtent(x.shape[channelAxis], "channel extent");
    const perGroup = staticExtent(w.shape[channelAxis], "weight channel extent");
    const outChannels = staticExtent(w.shape[0], "output channel extent");
    if (perGroup * groups !== inChannels) {
      fault(`group count is ${groups}, weights have ${perGroup} channels per group, input channels are ${inChannels}`);
    }
    if (outChannels % groups !== 0) fault(`${outChannels} output channels do not divide into ${groups} groups`);
    windowLists(axes.length, attributes);
    const shape = x.shape.map((extent, axis) => {
      if (axis === 0) return extent;
      if (axis === channelAxis) return outChannels;
      const index = axes.indexOf(axis);
      const kernel = staticExtent(w.shape[axis], "kernel extent");
      return windowExtent(extent, kernel, strides[index], dilations[index], pads[index], pads[index + axes.length]);
    });
    if (attributes.result.kind === "real") axes.forEach((axis) => sharedSteps(x, axis));
    return contraction(x, w, rest, shape, outChannels, attributes.hasBias, attributes.result);
  },

  convTranspose: (inputs, { strides, dilations, pads, outputPadding, groups }) => {
    arity(inputs, 2, 3);
    const [x, w] = inputs;
    inputs.forEach((type) => floatOperand(type, "operand"));
    if (x.shape.length < 3 || x.shape.length !== w.shape.length) {
      fault("input and weights must have equal rank of 3 or more");
    }
    windowLists(x.shape.length - 2, { strides, dilations, pads, outputPadding });
    if (!equalExtents(x.shape[1], w.shape[0])) {
      fault(`input channels ${printExtent(x.shape[1])} meet weights ${printType(w)}`);
    }
    const spatial = x.shape.slice(2).map((extent, index) => {
      const grown = multiplyExtents(addExtents(extent, -1) ?? fault("extent is not affine"), strides[index]);
      const reach = dilations[index] * (staticExtent(w.shape[index + 2], "kernel extent") - 1) + 1;
      const more = reach + outputPadding[index] - pads[index] - pads[index + strides.length];
      return (grown === undefined ? undefined : addExtents(grown, more)) ?? fault("extent is not affine");
    });
    return [tensorType(x.element, [x.shape[0], staticExtent(w.shape[1], "weight channels") * groups, ...spatial])];
  },

  pool: (inputs, attributes) => {
    arity(inputs, 1);
    if (attributes.kind === "max") plainOperand(inputs[0], "operand");
    else floatOperand(inputs[0], "operand");
    return [tensorType(inputs[0].element, pooledShape(inputs[0], attributes))];
  },

  poolIndices: (inputs, attributes) => {
    arity(inputs, 1);
    plainOperand(inputs[0], "operand");
    return [tensorType("i64", pooledShape(inputs[0], attributes))];
  },

  reduce: (inputs, { axes, keepAxes }) => {
    arity(inputs, 1);
    plainOperand(inputs[0], "operand");
    axes.forEach((axis) => axisOf(inputs[0], axis));
    return [tensorType(inputs[0].element, dropAxes(inputs[0].shape, axes, keepAxes))];
  },

  argReduce: (inputs, { axis, keepAxes }) => {
    arity(inputs, 1);
    plainOperand(inputs[0], "operand");
    axisOf(inputs[0], axis);
    return [tensorType("i64", dropAxes(inputs[0].shape, [axis], keepAxes))];
  },

  softmax: (inputs, { axis }) => {
    arity(inputs, 1);
    floatOperand(inputs[0], "operand");
    axisOf(inputs[0], axis);
    return sameAsInput(inputs);
  },

  norm: (inputs, { axis }) => {
    arity(inputs, 1, 3);
    inputs.forEach((type) => floatOperand(type, "operand"));
    axisOf(inputs[0], axis);
    for (const type of inputs.slice(1)) {
      if (!equalShapes(broadcastShapes(inputs[0].shape, type.shape), inputs[0].shape)) {
        fault("gain or bias does not broadcast");
      }
    }
    return sameAsInput(inputs);
  },

  rope: (inputs, { extent }) => {
    arity(inputs, 3);
    inputs.forEach((type) => floatOperand(type, "operand"));
    const [x, cos] = inputs;
    if (x.shape.length !== 4 || cos.shape.length !== 2) fault("wants x[B,T,H,D] and tables [P,R/2]");
    if (cos.shape[1] !== extent / 2) fault(`tables have ${printExtent(cos.shape[1])} columns, wants ${extent / 2}`);
    const [rows, length] = [cos.shape[0], x.shape[1]];
    if (isStatic(rows) && isStatic(length) && rows < length) fault(`tables have ${rows} rows for ${length} positions`);
    return sameAsInput(inputs);
  },

  attention: (inputs) => {
    arity(inputs, 3, 4);
    const [q, k, v] = inputs;
    if (q.shape.length !== 4 || k.shape.length !== 4 || v.shape.length !== 4) fault("wants q, k, v of rank 4");
    const heads = staticExtent(q.shape[2], "head count");
    const groups = staticExtent(k.shape[2], "key head count");
    if (heads % groups !== 0) fault(`${heads} heads are not a multiple of ${groups} key heads`);
    if (!equalExtents(q.shape[3], k.shape[3])) fault("query and key head extents differ");
    if (!equalExtents(k.shape[1], v.shape[1])) fault("keys and values differ in length");
    floatOperand(q, "query");
    for (const type of [k, v]) {
      if (type.element !== q.element) fault(`query is ${printType(q)}, keys and values are ${printType(type)}`);
    }
    if (inputs.length > 3) attentionMask(inputs[3], [q.shape[0], q.shape[2], q.shape[1], k.shape[1]]);
    return [tensorType(q.element, [q.shape[0], q.shape[1], q.shape[2], v.shape[3]])];
  },

  append: (inputs, { state, axis }, context) => {
    arity(inputs, 1);
    axisOf(inputs[0], axis);
    const held = context.state(state) ?? fault(`state "${state}" is not declared`);
    if (held.axis !== axis) fault(`state "${state}" grows along axis ${held.axis}, not ${axis}`);
    const line = (type: TensorType) => printType({ ...type, shape: dropAxes(type.shape, [axis], true) });
    if (line(held.type) !== line(inputs[0])) fault(`state is ${printType(held.type)}, got ${printType(inputs[0])}`);
    const shape = inputs[0].shape.map((extent, index) => (index === axis ? symbolic("total") : extent));
    return [{ ...inputs[0], shape }];
  },

  readState: (inputs, { state }, context) => {
    arity(inputs, 0);
    return [(context.state(state) ?? fault(`state "${state}" is not declared`)).type];
  },

  writeState: (inputs, { state }, context) => {
    arity(inputs, 1);
    const held = context.state(state) ?? fault(`state "${state}" is not declared`);
    if (printType(held.type) !== printType(inputs[0])) {
      fault(`state is ${printType(held.type)}, got ${printType(inputs[0])}`);
    }
    return sameAsInput(inputs);
  },

  gather: (inputs, { axis }) => {
    arity(inputs, 2);
    const [x, indices] = inputs;
    indexOperand(indices);
    axisOf(x, axis);
    const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];
    // A quantized table (an embedding) is decoded as it is gathered.
    return [tensorType(x.element, shape)];
  },

  gatherElements: (inputs, { axis }) => {
    arity(inputs, 2);
    plainOperand(inputs[0], "operand");
    indexOperand(inputs[1]);
    axisOf(inputs[0], axis);
    return [tensorType(inputs[0].element, inputs[1].shape)];
  },

  gatherNd: (inputs, { batchAxes }) => {
    arity(inputs, 2);
    const [x, indices] = inputs;
    plainOperand(x, "operand");
    indexOperand(indices);
    const depth = staticExtent(indices.shape[indices.shape.length - 1] ?? 1, "index depth");
    if (batchAxes + depth > x.shape.length) fault(`index depth ${depth} exceeds ${printType(x)}`);
    return [tensorType(x.element, [...indices.shape.slice(0, -1), ...x.shape.slice(batchAxes + depth)])];
  },

  scatterElements: (inputs, { axis }) => {
    arity(inputs, 3);
    inputs.forEach((type, index) => plainOperand(type, `operand ${index}`));
    indexOperand(inputs[1]);
    axisOf(inputs[0], axis);
    if (!equalShapes(inputs[1].shape, inputs[2].shape)) fault("indices and updates differ in shape");
    sameElement(inputs[0], inputs[2]);
    return sameAsInput(inputs);
  },

  scatterNd: (inputs) => {
    arity(inputs, 3);
    inputs.forEach((type, index) => plainOperand(type, `operand ${index}`));
    indexOperand(inputs[1]);
    sameElement(inputs[0], inputs[2]);
    return sameAsInput(inputs);
  },

  reshape: (inputs, { shape }) => {
    arity(inputs, 1);
    plainOperand(inputs[0], "operand");
    const before = shapeSize(inputs[0].shape);
    const after = shapeSize(shape);
    if (before !== undefined && after !== undefined && !equalExtents(before, after)) {
      fault(`cannot reshape ${printType(inputs[0])} to [${shape.map(printExtent)}]`);
    }
    return [tensorType(inputs[0].element, shape)];
  },

  transpose: (inputs, { permutation }) => {
    arity(inputs, 1);
    plainOperand(inputs[0], "operand");
    const sorted = [...permutation].sort((a, b) => a - b);
    if (sorted.length !== inputs[0].shape.length || sorted.some((axis, index) => axis !== index)) {
      fault(`[${permutation}] is not a permutation of the axes of ${printType(inputs[0])}`);
    }
    return [tensorType(inputs[0].element, permutation.map((axis) => inputs[0].shape[axis]))];
  },

  expand: (inputs, { shape }) => {
    arity(inputs, 1);
    plainOperand(inputs[0], "operand");
    if (!equalShapes(broadcastShapes(inputs[0].shape, shape), shape)) {
      fault(`${printType(inputs[0])} does not expand to [${shape.map(printExtent)}]`);
    }
    return [tensorType(inputs[0].element, shape)];
  },

  slice: (inputs, { starts, steps, extents }) => {
    arity(inputs, 1);
    const [x] = inputs;
    plainOperand(x, "operand");
    if (starts.length !== x.shape.length || steps.length !== x.shape.length || extents.length !== x.shape.length) {
      fault(`starts, steps and extents must have ${x.shape.length} entries`);
    }
    extents.forEach((extent, axis) => {
      const whole = x.shape[axis];
      if (!isStatic(extent) || !isStatic(whole) || extent === 0) return;
      const last = starts[axis] + (extent - 1) * steps[axis];
      if (starts[axis] < 0 || starts[axis] >= whole || last < 0 || last >= whole) {
        fault(`slice ${starts[axis]}+${extent}*${steps[axis]} leaves axis ${axis} of ${printType(x)}`);
      }
    });
    return [tensorType(x.element, extents)];
  },

  pad: (inputs, { before, after }) => {
    arity(inputs, 1, 2);
    inputs.forEach((type) => plainOperand(type, "operand"));
    const [x] = inputs;
    if (before.length !== x.shape.length || after.length !== x.shape.length) {
      fault(`pads must have ${x.shape.length} entries`);
    }
    const shape = x.shape.map((extent, axis) =>
      addExtents(extent, before[axis] + after[axis]) ?? fault("extent is not affine")
    );
    if (shape.some((extent) => isStatic(extent) && extent < 0)) {
      fault(`pads crop more than there is of ${printType(x)}`);
    }
    return [tensorType(x.element, shape)];
  },

  concat: (inputs, { axis }) => {
    arity(inputs, 1, Infinity);
    const [first, ...rest] = inputs;
    inputs.forEach((type) => plainOperand(type, "operand"));
    axisOf(first, axis);
    const along = rest.reduce((sum, type) => {
      if (type.element !== first.element) fault(`operands are ${first.element} and ${type.element}`);
      if (!equalShapes(dropAxes(type.shape, [axis], true), dropAxes(first.shape, [axis], true))) {
        fault(`${printType(type)} does not line up with ${printType(first)} along axis ${axis}`);
      }
      return addExtents(sum, type.shape[axis]) ?? fault("concatenated extent is not affine in one symbol");
    }, first.shape[axis]);
    return [tensorType(first.element, first.shape.map((extent, index) => (index === axis ? along : extent)))];
  },

  resample: (inputs, { axis }) => {
    arity(inputs, 3);
    const [x, indices] = inputs;
    plainOperand(x, "operand");
    axisOf(x, axis);
    return [tensorType(x.element, x.shape.map((extent, index) => (index === axis ? indices.shape[0] : extent)))];
  },

  cumulative: (inputs, { axis }) => {
    arity(inputs, 1);
    plainOperand(inputs[0], "operand");
    axisOf(inputs[0], axis);
    return sameAsInput(inputs);
  },

  transform: (inputs, { doublings, stride }) => {
    arity(inputs, 2);
    inputs.forEach((type) => floatOperand(type, "operand"));
    const [x, core] = inputs;
    if (core.shape.length !== 2 || !equalExtents(core.shape[0], core.shape[1])) fault(`core is ${printType(core)}`);
    if (core.element !== x.element) fault(`operands are ${x.element} and ${core.element}`);
    if (stride < 1) fault(`stride is ${stride}`);
    const run = staticExtent(core.shape[0], "core extent") * 2 ** doublings * stride;
    const last = staticExtent(x.shape[x.shape.length - 1] ?? 1, "last extent");
    if (last % run !== 0) fault(`runs of ${run} do not divide the last axis of ${printType(x)}`);
    return sameAsInput(inputs);
  },

  topK: (inputs, { axis, count }) => {
    arity(inputs, 1);
    plainOperand(inputs[0], "operand");
    axisOf(inputs[0], axis);
    const extent = inputs[0].shape[axis];
    if (isStatic(extent) && count > extent) fault(`wants the top ${count} of ${extent}`);
    const shape = inputs[0].shape.map((old, index) => (index === axis ? count : old));
    return [tensorType(inputs[0].element, shape), tensorType("i64", shape)];
  },

  recurrent: (inputs, { cell, direction }) => {
    arity(inputs, 5, 7);
    inputs.forEach((type) => floatOperand(type, "operand"));
    const [x, w, r] = inputs;
    const directions = direction === "bidirectional" ? 2 : 1;
    const gates = { lstm: 4, gru: 3, rnn: 1 }[cell];
    if (x.shape.length !== 3 || w.shape.length !== 3 || r.shape.length !== 3) fault("wants x, w and r of rank 3");
    const hidden = staticExtent(r.shape[2], "hidden extent");
    if (w.shape[0] !== directions || w.shape[1] !== gates * hidden) fault(`weights are ${printType(w)}`);
    const last = tensorType(x.element, [directions, x.shape[1], hidden]);
    const all = tensorType(x.element, [x.shape[0], directions, x.shape[1], hidden]);
    return cell === "lstm" ? [all, last, last] : [all, last];
  },

  quantize: (inputs, { scheme }) => {
    const [x, step] = inputs;
    const wanted = scheme.range === "dynamic" ? 1 : scheme.zeroPoint ? 3 : 2;
    arity(inputs, wanted);
    if (scheme.offset) fault("quantize makes no offsets");
    if (scheme.outer) fault("quantize makes no outer steps");
    floatOperand(x, "operand");
    checkScheme(scheme, x.shape.length);
    if (step !== undefined) checkStep(step, "step");
    return [quantizedType(scheme, x.shape, x.element)];
  },

  dequantize: (inputs) => {
    arity(inputs, 1);
    if (inputs[0].encoding.kind === "plain") fault(`operand is not quantized: ${printType(inputs[0])}`);
    return [tensorType(inputs[0].element, inputs[0].shape)];
  },

  fromCodes: (inputs, { scheme, element }) => {
    arity(inputs, 2 + (scheme.zeroPoint ? 1 : 0) + (scheme.offset ? 1 : 0));
    if (scheme.outer) fault("outer steps stand at constants alone");
    const [codes, step] = inputs;
    plainOperand(codes, "codes");
    checkScheme(scheme, codes.shape.length);
    checkStep(step, "step");
    const wanted: ElementType = codeElement(scheme.format);
    if (codes.element !== wanted) fault(`codes are ${codes.element}, the scheme wants ${wanted}`);
    return [quantizedType(scheme, codes.shape, element)];
  },

  toCodes: (inputs) => {
    arity(inputs, 1);
    const encoding = inputs[0].encoding;
    if (encoding.kind === "plain") return fault(`operand is not quantized: ${printType(inputs[0])}`);
    return [tensorType(codeElement(encoding.scheme.format), inputs[0].shape)];
  },

  toSteps: (inputs) => {
    arity(inputs, 1);
    const encoding = inputs[0].encoding;
    if (encoding.kind === "plain") return fault(`operand is not quantized: ${printType(inputs[0])}`);
    return [tensorType("f32", symbolicStepShape(encoding.scheme, inputs[0].shape))];
  },
};

/** `stepShape` over extents that may be symbolic (their block must be 1 or "all"). */
export function symbolicStepShape(scheme: QuantScheme, shape: readonly Extent[]): Extent[] {
  return shape.map((extent, axis) => {
    const block = scheme.block[axis];
    if (block === "all") return 1;
    if (block === 1) return extent;
    return Math.ceil(staticExtent(extent, "blocked extent") / block);
  });
}

/** Applies the type rule of any op. Throws TypeFault. */
export function outputTypes<Op extends OpName>(
  op: Op,
  inputs: readonly TensorType[],
  attributes: OpAttributes[Op],
  context: TypeContext,
): readonly TensorType[] {
  return typeRules[op](inputs, attributes, context);
}
