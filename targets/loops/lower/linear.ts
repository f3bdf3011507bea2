/** Matmul and convolutions as loops around one entry's sum. */

import { outerScheme } from "../../../compiler/numeric/scheme.ts";
import type { ChannelLayout, OpAttributes, WindowAttributes } from "../../../compiler/ir/node.ts";
import { isStatic } from "../../../compiler/ir/extent.ts";
import type { Lowering } from "../context.ts";
import { addIndex, divIndex, extentIndex, maxIndex, minIndex, mulIndex, subIndex } from "../index.ts";
import { loadPart, loadReal, type Operand } from "../operand.ts";
import type { Index, Scalar } from "../program.ts";
import { accumulatorOf, add, binaryOf, castTo, compareOf, i32, literalOf, mul, scalarOfIndex } from "../scalar.ts";
import { axisRange, forIndices } from "../space.ts";
import { type DepthPoint, type Entry, lowerEntry, resultAlgebra, storeResultSteps } from "./contraction.ts";

export function lowerMatmul(
  lowering: Lowering,
  { transposeB, hasBias, result }: OpAttributes["matmul"],
): readonly string[] {
  const { b: build } = lowering;
  const [a, b] = [lowering.input(0, "a"), lowering.input(1, "b")];
  const shape = lowering.resultShape();
  const rank = shape.length;
  const depth = extentIndex(a.shape[a.shape.length - 1]);
  const steps = matmulSteps(a, b, transposeB);
  storeResultSteps(lowering, result, hasBias);
  forIndices(build, shape, "independent", (indices) => {
    const batch = (operand: Operand): Index[] =>
      axisRange(0, operand.shape.length - 2).map((axis) =>
        operand.shape[axis] === 1 ? 0 : indices[axis - operand.shape.length + rank]
      );
    const [row, column] = [indices[rank - 2], indices[rank - 1]];
    const [batchA, batchB] = [batch(a), batch(b)];
    const pointAt = (k: Index): DepthPoint => ({
      a: [...batchA, row, k],
      b: transposeB ? [...batchB, column, k] : [...batchB, k, column],
    });
    lowerEntry(lowering, {
      a,
      b,
      indices,
      channel: column,
      depth: a.bounds[a.bounds.length - 1],
      origin: pointAt(0),
      overDepth: ({ order, range }, body) =>
        range === undefined
          ? build.for("k", depth, order, (k) => body(pointAt(k)))
          : build.forRange("k", range.from, range.to, order, (k) => body(pointAt(k))),
      steps: steps.kind === "blocks" ? { ...steps, pointAt } : steps,
      result,
      hasBias,
    });
  }, [...axisRange(0, rank - 2).map((axis) => `batch${axis}`), "m", "n"]);
  const product = `a[m, k] * b[${transposeB ? "n, k" : "k, n"}]`;
  return [`y[m, n] = sum_k ${product}${hasBias ? " + bias[n]" : ""}`, ...resultAlgebra(result)];
}

type MatmulSteps =
  | { readonly kind: "one" | "any" }
  | { readonly kind: "blocks"; readonly extent: number; readonly depth: number };

/** Extent along an axis of what shares the step that stands before a sum. */
function sumBlock({ scheme }: Operand, axis: number): number | "all" {
  return scheme === undefined ? "all" : outerScheme(scheme).block[axis] ?? "all";
}

/** How the steps of two operands change along the depth. */
function matmulSteps(a: Operand, b: Operand, transposeB: boolean): MatmulSteps {
  const depth = a.shape[a.shape.length - 1];
  const block = (operand: Operand, axis: number): number => {
    const entry = sumBlock(operand, axis);
    return entry === "all" || (isStatic(depth) && entry >= depth) ? Infinity : entry;
  };
  const left = block(a, a.shape.length - 1);
  const right = block(b, transposeB ? b.shape.length - 1 : b.shape.length - 2);
  const [small, large] = left < right ? [left, right] : [right, left];
  if (small === Infinity) return { kind: "one" };
  const nested = large === Infinity || large % small === 0;
  return nested && isStatic(depth) ? { kind: "blocks", extent: small, depth } : { kind: "any" };
}

/** Axes of a windowed operand: where the channels and the spatial axes are. */
export interface WindowAxes {
  readonly channel: number;
  readonly spatial: readonly number[];
}

export function windowAxes(layout: ChannelLayout, rank: number): WindowAxes {
  return layout === "channelsFirst"
    ? { channel: 1, spatial: axisRange(2, rank) }
    : { channel: rank - 1, spatial: axisRange(1, rank - 1) };
}

/** Positions of one window along one spatial axis that fall inside the operand: kernel entries from..to-1. */
export interface WindowRange {
  readonly from: Index;
  readonly to: Index;
  /** The operand's index at a kernel entry. */
  readonly place: (kernelIndex: Index) => Index;
}

/** Clips the window of output `o`: 0 <= o * stride - before + k * dilation < extent. */
export function windowRange(
  o: Index,
  kernel: number,
  extent: Index,
  window: { readonly stride: number; readonly dilation: number; readonly before: number },
  reach: { readonly clipsStart: boolean; readonly clipsEnd: boolean },
): WindowRange {
  const { stride, dilation, before } = window;
  const start = addIndex(mulIndex(o, stride), -before);
  const ceilDiv = (x: Index) => divIndex(addIndex(maxIndex(x, 0), dilation - 1), dilation);
  return {
    from: reach.clipsStart ? ceilDiv(mulIndex(start, -1)) : 0,
    to: reach.clipsEnd ? minIndex(ceilDiv(subIndex(extent, start)), kernel) : kernel,
    place: (index) => addIndex(start, mulIndex(index, dilation)),
  };
}

/** The clipped windows of one result position, an entry per spatial axis. */
export function windowRanges(
  lowering: Lowering,
  x: Operand,
  axes: WindowAxes,
  outputs: readonly Index[],
  kernel: readonly number[],
  attributes: WindowAttributes,
  outputExtents: readonly (number | undefined)[],
): readonly WindowRange[] {
  const { strides, dilations, pads } = attributes;
  return axes.spatial.map((axis, index) => {
    const extent = x.shape[axis];
    const window = { stride: strides[index], dilation: dilations[index], before: pads[index] };
    const count = outputExtents[index];
    const reachEnd = count === undefined || !isStatic(extent)
      ? Infinity
      : (count - 1) * window.stride - window.before + (kernel[index] - 1) * window.dilation - extent;
    const clipped = windowRange(outputs[index], kernel[index], extentIndex(extent), window, {
      clipsStart: window.before > 0,
      clipsEnd: isStatic(extent) ? reachEnd >= 0 : pads[index + axes.spatial.length] > 0,
    });
    return {
      ...clipped,
      from: lowering.b.letIndex("from", clipped.from),
      to: lowering.b.letIndex("to", clipped.to),
    };
  });
}

const kernelNames = ["ky", "kx", "kz", "kw"];

/** Nests loops over the kernel entries of clipped windows, handing the operand's spatial indices and the kernel's. */
export function forWindow(
  lowering: Lowering,
  ranges: readonly WindowRange[],
  order: "reduction" | "sequential",
  body: (places: readonly Index[], kernel: readonly Index[]) => void,
): void {
  const visit = (kernel: readonly Index[]): void => {
    const axis = kernel.length;
    if (axis === ranges.length) return body(kernel.map((index, each) => ranges[each].place(index)), kernel);
    const { from, to } = ranges[axis];
    const next = (index: Index) => visit([...kernel, index]);
    if (from === 0) lowering.b.for(kernelNames[axis] ?? `k${axis}`, to, order, next);
    else lowering.b.forRange(kernelNames[axis] ?? `k${axis}`, from, to, order, next);
  };
  visit([]);
}

const outputNames = ["oy", "ox", "oz", "ow"];

export function lowerConv(lowering: Lowering, attributes: OpAttributes["conv"]): readonly string[] {
  const { b: build } = lowering;
  const { groups, layout, hasBias, result } = attributes;
  const [x, w] = [lowering.input(0, "x"), lowering.input(1, "w")];
  const shape = lowering.resultShape();
  const axes = windowAxes(layout, shape.length);
  const perGroup = w.bounds[axes.channel];
  const outPerGroup = w.bounds[0] / groups;
  const kernel = axes.spatial.map((axis) => w.bounds[axis]);
  const steps = convSteps(x, w, axes);
  storeResultSteps(lowering, result, hasBias);
  const names = shape.map((_, axis) =>
    axis === 0 ? "n" : axis === axes.channel ? "m" : outputNames[axes.spatial.indexOf(axis)] ?? `o${axis}`
  );
  forIndices(build, shape, "independent", (indices) => {
    const channel = indices[axes.channel];
    const firstChannel = groups === 1 ? 0 : mulIndex(divIndex(channel, outPerGroup), perGroup);
    const outputs = axes.spatial.map((axis) => indices[axis]);
    const extents = axes.spatial.map((axis) => (isStatic(shape[axis]) ? shape[axis] : undefined));
    const point = (c: Index, places: readonly Index[], at: readonly Index[]): DepthPoint => ({
      a: placed(axes, indices[0], addIndex(firstChannel, c), places),
      b: placed(axes, channel, c, at),
    });
    const clipped = windowRanges(lowering, x, axes, outputs, kernel, attributes, extents);
    const whole = clipped.map((range, index) => ({ ...range, from: 0, to: kernel[index] }));
    const overDepth: Entry["overDepth"] = ({ order, whole: withPadding }, body) => {
      const loopOrder = order === "independent" ? "sequential" : order;
      const overChannels = (inner: (c: Index) => void) => build.for("c", perGroup, loopOrder, inner);
      const overWindow = (inner: (places: readonly Index[], at: readonly Index[]) => void) =>
        forWindow(lowering, withPadding ? whole : clipped, loopOrder, inner);
      const visit = (c: Index, places: readonly Index[], at: readonly Index[]) =>
        body({ ...point(c, places, at), inside: withPadding ? insideOf(x, axes, places) : undefined });
      if (layout === "channelsFirst" || order === "sequential") {
        overChannels((c) => overWindow((places, at) => visit(c, places, at)));
      } else overWindow((places, at) => overChannels((c) => visit(c, places, at)));
    };
    const zeros = axes.spatial.map((): Index => 0);
    lowerEntry(lowering, {
      a: x,
      b: w,
      indices,
      channel,
      depth: kernel.reduce((product, extent) => product * extent, perGroup),
      origin: point(0, zeros, zeros),
      overDepth,
      steps,
      result,
      hasBias,
    });
  }, names);
  return [
    `y[n, m, o] = sum_{c, k} x[n, c, o * stride - pad + k * dilation] * w[m, c, k]${hasBias ? " + bias[m]" : ""}`,
    `strides ${attributes.strides}, dilations ${attributes.dilations}, pads ${attributes.pads}, groups ${groups}`,
    ...resultAlgebra(result),
  ];
}

/** Indices of an operand from its batch (or output channel), channel and spatial ones. */
function placed(axes: WindowAxes, first: Index, channel: Index, spatial: readonly Index[]): readonly Index[] {
  return axes.channel === 1 ? [first, channel, ...spatial] : [first, ...spatial, channel];
}

function insideOf(x: Operand, axes: WindowAxes, places: readonly Index[]): Scalar {
  const tests = axes.spatial.flatMap((axis, index) => {
    const place = scalarOfIndex(places[index]);
    return [compareOf("ge", place, i32(0)), compareOf("lt", place, scalarOfIndex(extentIndex(x.shape[axis])))];
  });
  return tests.reduce((all, test) => binaryOf("and", all, test));
}

/** Steps are constant along the depth where only the batch axis of x and the output channels of w have their own. */
function convSteps(x: Operand, w: Operand, axes: WindowAxes): { readonly kind: "one" | "any" } {
  const isShared = (operand: Operand): boolean =>
    [axes.channel, ...axes.spatial].every((axis) => {
      const block = sumBlock(operand, axis);
      return block === "all" || block >= operand.bounds[axis];
    });
  return { kind: isShared(x) && isShared(w) ? "one" : "any" };
}

/**
 * Gathers instead of scattering: output o takes kernel entry k from input i = (o + before - k * dilation) / stride where
 * that is whole and inside.
 */
export function lowerConvTranspose(lowering: Lowering, attributes: OpAttributes["convTranspose"]): readonly string[] {
  const { b: build } = lowering;
  const { strides, dilations, pads, groups } = attributes;
  const [x, w] = [lowering.input(0, "x"), lowering.input(1, "w")];
  const bias = lowering.optional(2, "bias");
  const shape = lowering.resultShape();
  const axes = windowAxes("channelsFirst", shape.length);
  const outPerGroup = w.bounds[1];
  const inPerGroup = w.bounds[0] / groups;
  const element = accumulatorOf(x.element);
  const names = shape.map((_, axis) => (axis === 0 ? "n" : axis === 1 ? "m" : outputNames[axis - 2] ?? `o${axis}`));
  forIndices(build, shape, "independent", (indices) => {
    const sum = build.let("sum", literalOf(element, 0));
    const channel = indices[1];
    const group = groups === 1 ? 0 : divIndex(channel, outPerGroup);
    const within = groups === 1 ? channel : subIndex(channel, mulIndex(group, outPerGroup));
    const visit = (kernel: readonly Index[], places: readonly Index[]): void => {
      const axis = kernel.length;
      if (axis === axes.spatial.length) {
        build.for("c", inPerGroup, "reduction", (c) => {
          const input = addIndex(mulIndex(group, inPerGroup), c);
          const left = castTo(element, loadReal(build, x, [indices[0], input, ...places]));
          const right = castTo(element, loadReal(build, w, [input, within, ...kernel]));
          build.assign(sum, add(sum, mul(left, right)));
        });
        return;
      }
      build.for(kernelNames[axis] ?? `k${axis}`, w.bounds[axis + 2], "sequential", (k) => {
        const shifted = build.letIndex(
          "shifted",
          subIndex(addIndex(indices[axis + 2], pads[axis]), mulIndex(k, dilations[axis])),
        );
        const stride = strides[axis];
        const extent = extentIndex(x.shape[axis + 2]);
        const isWhole = stride === 1
          ? undefined
          : compareOf("eq", binaryOf("rem", scalarOfIndex(shifted), i32(stride)), i32(0));
        const tests = [
          compareOf("ge", scalarOfIndex(shifted), i32(0)),
          compareOf("lt", scalarOfIndex(shifted), scalarOfIndex(mulIndex(extent, stride))),
          ...(isWhole === undefined ? [] : [isWhole]),
        ];
        build.if(
          tests.reduce((all, test) => binaryOf("and", all, test)),
          () => visit([...kernel, k], [...places, build.letIndex("place", divIndex(shifted, stride))]),
        );
      });
    };
    visit([], []);
    lowering.store(
      indices,
      bias === undefined ? sum : add(sum, castTo(element, loadPart(build, bias, "data", channel))),
    );
  }, names);
  return ["y[n, m, o] = sum_{c, k} x[n, c, (o + pad - k * dilation) / stride] * w[c, m, k], where that is whole"];
}
