/** Windows, Fourier transforms and mel filters: constants, and matmuls with constants. */

import type { ElementType } from "../../../numeric/element.ts";
import { isFloat } from "../../../numeric/element.ts";
import type { ValueName } from "../../../ir/node.ts";
import { elementKind } from "../element_kind.ts";
import type { ImportContext, OpImporter, OpImporterTable } from "../op_importer.ts";
import { mul } from "./expressions.ts";
import { malformed, needsConstant, unsupported } from "./faults.ts";
import { matmul } from "./linear.ts";
import {
  floatConstant,
  integerConstant,
  mapOf,
  numbersOf,
  plainConstant,
  productOf,
  reshaped,
  sliced,
  staticExtent,
  transposed,
} from "./operands.ts";

function outputElement(context: ImportContext): ElementType {
  const kind = elementKind(context.node.attributes.int("output_datatype", 1));
  if (kind === undefined || kind.format !== undefined) return unsupported(context, "output_datatype is not plain");
  return kind.element;
}

function realScalar(context: ImportContext, index: number): number {
  const tensor = plainConstant(context, context.input(index)) ??
    needsConstant(context, `input ${index} must be known at compile time`);
  return numbersOf(tensor)[0] ?? malformed(context, `input ${index} is empty`);
}

/** A constant Σ_i c_i cos(i * 2π n / N), with N - 1 for N where the window is symmetric. */
function cosineWindow(coefficients: readonly number[]): OpImporter {
  return (context) => {
    const [size] = context.integers(0);
    if (size === undefined || size < 0) return malformed(context, `size is ${size}`);
    const period = context.node.attributes.int("periodic", 1) !== 0 ? size : size - 1;
    const values = Array.from(
      { length: size },
      (_, n) => coefficients.reduce((sum, c, i) => sum + c * Math.cos((2 * Math.PI * i * n) / Math.max(1, period)), 0),
    );
    const window = floatConstant(context, "f32", [size], values);
    return [context.builder.cast(window, outputElement(context))];
  };
}

/**
 * Triangular filters between mel-spaced frequencies, [dft_length / 2 + 1, num_mel_bins], as the specification's reference
 * places them.
 */
function importMelWeightMatrix(context: ImportContext): readonly ValueName[] {
  const [bins, length, rate] = [0, 1, 2].map((index) => context.integers(index)[0]);
  const [lowest, highest] = [3, 4].map((index) => realScalar(context, index));
  const mel = (hertz: number) => 2595 * Math.log10(1 + hertz / 700);
  const step = (mel(highest) - mel(lowest)) / (bins + 2);
  const points = Array.from({ length: bins + 2 }, (_, index) => {
    const hertz = 700 * (10 ** ((index * step + mel(lowest)) / 2595) - 1);
    return Math.floor(((length + 1) * hertz) / rate);
  });
  const rows = Math.floor(length / 2) + 1;
  const filters = Array.from({ length: rows * bins }, (_, entry) => {
    const [row, bin] = [Math.floor(entry / bins), entry % bins];
    const [left, centre, right] = points.slice(bin, bin + 3);
    if (row === centre && (left === centre || centre < right)) return 1;
    if (row >= left && row <= centre && centre > left) return (row - left) / (centre - left);
    return row >= centre && row < right ? (right - row) / (right - centre) : 0;
  });
  return [context.builder.cast(floatConstant(context, "f32", [rows, bins], filters), outputElement(context))];
}

interface Transform {
  /** Entries of the signal that are read. */
  readonly read: number;
  /** The length N of the transform. */
  readonly length: number;
  /** Parts of an entry: 1 is real, 2 is complex. */
  readonly parts: number;
  readonly inverse: boolean;
  readonly oneSided: boolean;
}

/** Entries and parts of a transform's result: an inverse from one side is real, all others are complex. */
function resultOf({ length, inverse, oneSided }: Transform): { readonly extent: number; readonly parts: number } {
  if (inverse && oneSided) return { extent: length, parts: 1 };
  return { extent: oneSided ? Math.floor(length / 2) + 1 : length, parts: 2 };
}

/** The transform as a real matrix [read * parts, extent * parts of the result], scaled by 1 / N for an inverse. */
function transformMatrix(transform: Transform): number[] {
  const { read, length, parts, inverse, oneSided } = transform;
  const result = resultOf(transform);
  const scale = inverse ? 1 / length : 1;
  const rows = Array.from({ length: read * parts }, (_, row) => [Math.floor(row / parts), row % parts]);
  const columns = Array.from(
    { length: result.extent * result.parts },
    (_, column) => [Math.floor(column / result.parts), column % result.parts],
  );
  return rows.flatMap(([from, part]) => {
    // One side stands for its mirror image too, except where an entry is its own mirror.
    const mirrored = inverse && oneSided && from !== 0 && 2 * from !== length;
    const weight = mirrored ? 2 * scale : scale;
    return columns.map(([to, resultPart]) => {
      const angle = (2 * Math.PI * ((from * to) % length)) / length * (inverse ? 1 : -1);
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      // (a + bi)(cos + i sin): real a cos - b sin, imaginary a sin + b cos.
      if (resultPart === 0) return weight * (part === 0 ? cos : -sin);
      return weight * (part === 0 ? sin : cos);
    });
  });
}

/** Applies a transform along the last but one axis of [..., entries, parts]. */
function transformed(context: ImportContext, x: ValueName, transform: Transform): ValueName {
  const { shape, element } = context.typeOf(x);
  const leading = shape.slice(0, -2);
  const width = transform.read * transform.parts;
  const result = resultOf(transform);
  const columns = result.extent * result.parts;
  const matrix = floatConstant(context, element, [width, columns], transformMatrix(transform));
  const flat = reshaped(context, x, [...(leading.length === 0 ? [1] : leading), width]);
  const product = matmul(
    context,
    leading.length === 1 ? reshaped(context, flat, [1, leading[0], width]) : flat,
    matrix,
  );
  return reshaped(context, product, [...leading, result.extent, result.parts]);
}

function partsOf(context: ImportContext, x: ValueName): number {
  const { shape, element } = context.typeOf(x);
  const parts = shape[shape.length - 1];
  if (!isFloat(element)) return malformed(context, `the signal is ${element}`);
  return parts === 1 || parts === 2 ? parts : malformed(context, "the last axis must hold 1 or 2 parts");
}

/** DFT: the axis is an attribute up to opset 19 and an input from 20 on. */
function importDft(context: ImportContext): readonly ValueName[] {
  const { attributes, opset } = context.node;
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const parts = partsOf(context, x);
  const stated = opset < 20
    ? attributes.int("axis", 1)
    : context.optional(2) === undefined
    ? -2
    : context.integers(2)[0];
  const axis = context.axis(stated ?? -2, shape.length);
  if (axis === shape.length - 1) return malformed(context, "the axis is that of the parts");
  const inverse = attributes.int("inverse", 0) !== 0;
  const oneSided = attributes.int("onesided", 0) !== 0;
  const extent = staticExtent(context, shape[axis], "the axis");
  const usual = inverse && oneSided ? 2 * (extent - 1) : extent;
  const length = context.optional(1) === undefined ? usual : context.integers(1)[0] ?? usual;
  if (length < 1) return malformed(context, `dft_length is ${length}`);
  const read = Math.min(extent, inverse && oneSided ? Math.floor(length / 2) + 1 : length);
  const cut = read === extent ? x : sliced(context, x, axis, 0, read);
  const order = [...shape.keys()].filter((index) => index !== axis && index !== shape.length - 1);
  const permutation = [...order, axis, shape.length - 1];
  const y = transformed(context, transposed(context, cut, permutation), { read, length, parts, inverse, oneSided });
  return [transposed(context, y, shape.map((_, index) => permutation.indexOf(index)))];
}

/** STFT: frames of the signal, each times the window, each transformed. */
function importStft(context: ImportContext): readonly ValueName[] {
  const signal = context.input(0);
  const { shape } = context.typeOf(signal);
  if (shape.length !== 3) return malformed(context, `the signal has rank ${shape.length}, it must have 3`);
  const parts = partsOf(context, signal);
  const oneSided = context.node.attributes.int("onesided", 1) !== 0;
  const samples = staticExtent(context, shape[1], "the signal");
  const [step] = context.integers(1);
  const window = context.optional(2);
  const windowExtent = window === undefined
    ? undefined
    : staticExtent(context, productOf(context, context.typeOf(window).shape), "the window");
  const length = context.optional(3) === undefined ? windowExtent ?? samples : context.integers(3)[0];
  if (step === undefined || step < 1 || length === undefined || length < 1 || length > samples) {
    return malformed(context, `frames of ${length} every ${step} do not fit ${samples} samples`);
  }
  if (windowExtent !== undefined && windowExtent !== length) {
    return malformed(context, `the window has ${windowExtent} entries, frames have ${length}`);
  }
  const frames = Math.floor((samples - length) / step) + 1;
  const places = Array.from(
    { length: frames * length },
    (_, entry) => Math.floor(entry / length) * step + (entry % length),
  );
  const cut = context.builder.add("gather", [signal, integerConstant(context, [frames, length], places)], { axis: 1 });
  const weighted = window === undefined
    ? cut
    : mapOf(context, [cut, reshaped(context, window, [length, 1])], ([x, weight]) => mul(x, weight));
  return [transformed(context, weighted, { read: length, length, parts, inverse: false, oneSided })];
}

export const signalImporters: OpImporterTable = {
  HannWindow: cosineWindow([0.5, -0.5]),
  HammingWindow: cosineWindow([25 / 46, -21 / 46]),
  BlackmanWindow: cosineWindow([0.42, -0.5, 0.08]),
  MelWeightMatrix: importMelWeightMatrix,
  DFT: importDft,
  STFT: importStft,
};
