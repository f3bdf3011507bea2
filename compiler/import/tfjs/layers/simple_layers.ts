/** Activations, merges, and layers that move entries. */

import { fail } from "../../../diagnostics.ts";
import { compare, type Expression, input, literal, select } from "../../../ir/expression.ts";
import { type Extent, isStatic, multiplyExtents } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import { add, div, max, min, mul } from "../../onnx/ops/expressions.ts";
import { reshaped, transposed } from "../kernels.ts";
import {
  activated,
  type LayerContext,
  type LayerImporter,
  type LayerImporterTable,
  only,
  perAxis,
  plainWeight,
  unsupported,
  withActivation,
} from "./layer_context.ts";

function importFlatten(context: LayerContext): ValueName {
  const x = only(context);
  const { shape } = context.builder.typeOf(x);
  const size = product(context, shape.slice(1));
  return reshaped(context.builder, x, [shape[0], size]);
}

function product(context: LayerContext, extents: readonly Extent[]): Extent {
  return extents.reduce<Extent>(
    (size, extent) => multiplyExtents(size, extent) ?? unsupported(context, "merges two axes that are not fixed"),
    1,
  );
}

function importReshape(context: LayerContext): ValueName {
  const x = only(context);
  const { shape } = context.builder.typeOf(x);
  const target = context.fields.numbers("target_shape");
  if (target === undefined || !target.every(Number.isSafeInteger)) {
    return unsupported(context, "target_shape is missing");
  }
  const open = target.indexOf(-1);
  if (open < 0) return reshaped(context.builder, x, [shape[0], ...target]);
  const size = product(context, shape.slice(1));
  const known = target.reduce((sum, extent, index) => (index === open ? sum : sum * extent), 1);
  if (!isStatic(size) || known === 0 || size % known !== 0) {
    return unsupported(context, `target_shape [${target}] does not fit`);
  }
  return reshaped(context.builder, x, [
    shape[0],
    ...target.map((extent, axis) => (axis === open ? size / known : extent)),
  ]);
}

function importPermute(context: LayerContext): ValueName {
  const dims = context.fields.numbers("dims") ?? unsupported(context, "dims is missing");
  return transposed(context.builder, only(context), [0, ...dims]);
}

function merge(combine: (x: Expression, y: Expression) => Expression, average = false): LayerImporter {
  return ({ builder, inputs, layer }) => {
    if (inputs.length === 0) fail("Q0464", `${layer.className} "${layer.name}" has no operands`, { node: layer.name });
    const combined = inputs.map((_, index) => input(index)).reduce<Expression>(
      (sum, operand, index) => (index === 0 ? operand : combine(sum, operand)),
      input(0),
    );
    const expression = average ? div(combined, literal(inputs.length)) : combined;
    return builder.map(expression, inputs, { name: layer.className.toLowerCase() });
  };
}

function importConcatenate(context: LayerContext): ValueName {
  const { builder, inputs, fields } = context;
  if (inputs.length === 0) return unsupported(context, "has no operands");
  const rank = builder.typeOf(inputs[0]).shape.length;
  const axis = fields.number("axis", -1);
  return builder.add("concat", inputs, { axis: axis < 0 ? axis + rank : axis });
}

/** `padding` or `cropping` as begins and ends of the spatial axes: n, [n, n], or [[begin, end], [begin, end]]. */
function borders(context: LayerContext, key: string, spatial: number): readonly (readonly [number, number])[] {
  const value = context.layer.config[key];
  context.fields.has(key);
  const list: readonly unknown[] = Array.isArray(value) ? value : new Array<unknown>(spatial).fill(value);
  const pairs: readonly unknown[] = spatial === 1 && list.length === 2 ? [list] : list;
  const isCount = (entry: unknown): entry is number => Number.isSafeInteger(entry) && Number(entry) >= 0;
  const read = pairs.map((entry): readonly [number, number] | undefined => {
    if (isCount(entry)) return [entry, entry];
    if (!Array.isArray(entry) || entry.length !== 2) return undefined;
    const [begin, end] = entry;
    return isCount(begin) && isCount(end) ? [begin, end] : undefined;
  });
  const valid = read.filter((pair) => pair !== undefined);
  if (valid.length !== spatial || read.length !== spatial) return unsupported(context, `"${key}" is not understood`);
  return valid;
}

function borderLayer(key: "padding" | "cropping", spatial: number): LayerImporter {
  return (context) => {
    const sign = key === "padding" ? 1 : -1;
    const pairs = borders(context, key, spatial);
    return context.builder.add("pad", [only(context)], {
      before: [0, ...pairs.map(([begin]) => sign * begin), 0],
      after: [0, ...pairs.map(([, end]) => sign * end), 0],
      mode: "constant",
    });
  };
}

/** ReLU with a ceiling, a slope below the threshold, and the threshold itself. */
function importReLU(context: LayerContext): ValueName {
  const { fields, builder } = context;
  const ceiling = fields.has("max_value") ? fields.number("max_value", Infinity) : Infinity;
  const slope = fields.number("negative_slope", 0);
  const threshold = fields.number("threshold", 0);
  const x = input(0);
  if (threshold !== 0) return unsupported(context, "a threshold is not supported");
  const positive = slope === 0 ? max(x, literal(0)) : leaky(x, slope);
  return builder.map(ceiling === Infinity ? positive : min(positive, literal(ceiling)), [only(context)], {
    name: "relu",
  });
}

function leaky(x: Expression, slope: number): Expression {
  return select(compare("lt", x, literal(0)), mul(x, literal(Math.fround(slope))), x);
}

function importLeakyReLU(context: LayerContext): ValueName {
  const slope = context.fields.number(context.fields.has("negative_slope") ? "negative_slope" : "alpha", 0.3);
  return context.builder.map(leaky(input(0), slope), [only(context)], { name: "leaky_relu" });
}

function importPReLU(context: LayerContext): ValueName {
  const slopes = plainWeight(context, "alpha");
  const expression = select(compare("lt", input(0), literal(0)), mul(input(0), input(1)), input(0));
  return context.builder.map(expression, [only(context), slopes], { name: "prelu" });
}

function importElu(context: LayerContext): ValueName {
  if (context.fields.number("alpha", 1) !== 1) return unsupported(context, "alpha other than 1 is not supported");
  return withActivation(context, only(context), "elu");
}

function importSoftmax(context: LayerContext): ValueName {
  const x = only(context);
  const rank = context.builder.typeOf(x).shape.length;
  const axis = context.fields.number("axis", -1);
  return context.builder.add("softmax", [x], { axis: axis < 0 ? axis + rank : axis });
}

/** Nearest neighbours by repeating every row and column. */
function importUpSampling(context: LayerContext): ValueName {
  const { builder, fields } = context;
  const x = only(context);
  const interpolation = fields.string("interpolation", "nearest");
  if (interpolation !== "nearest") return unsupported(context, `interpolation "${interpolation}" is not supported`);
  const [vertical, horizontal] = perAxis(context, "size", 2, [2, 2]);
  const [batch, height, width, channels] = builder.typeOf(x).shape;
  const split = reshaped(builder, x, [batch, height, 1, width, 1, channels]);
  const repeated = builder.add("expand", [split], { shape: [batch, height, vertical, width, horizontal, channels] });
  const grown = [multiplyExtents(height, vertical), multiplyExtents(width, horizontal)];
  return reshaped(builder, repeated, [
    batch,
    ...grown.map((extent) => extent ?? unsupported(context, "extents")),
    channels,
  ]);
}

export const simpleLayers: LayerImporterTable = {
  Activation: (context) => activated(context, only(context)),
  ActivityRegularization: only,
  Add: merge(add),
  AlphaDropout: only,
  Average: merge(add, true),
  Concatenate: importConcatenate,
  Cropping2D: borderLayer("cropping", 2),
  Dropout: only,
  ELU: importElu,
  Flatten: importFlatten,
  GaussianDropout: only,
  GaussianNoise: only,
  LeakyReLU: importLeakyReLU,
  Maximum: merge(max),
  Minimum: merge(min),
  Multiply: merge(mul),
  PReLU: importPReLU,
  Permute: importPermute,
  ReLU: importReLU,
  Reshape: importReshape,
  Softmax: importSoftmax,
  SpatialDropout1D: only,
  UpSampling2D: importUpSampling,
  ZeroPadding1D: borderLayer("padding", 1),
  ZeroPadding2D: borderLayer("padding", 2),
};
