/** Layers that slide windows: convolutions and pools. */

import type { ValueName } from "../../../ir/node.ts";
import { convolution, depthwise, mean, pooled, spatialAxes, type Window } from "../kernels.ts";
import {
  activated,
  type LayerContext,
  type LayerImporter,
  type LayerImporterTable,
  only,
  optionalBias,
  perAxis,
  plainWeight,
  unsupported,
} from "./layer_context.ts";

function readWindow(context: LayerContext, spatial: number, keys: { strides: string; dilations?: string }): Window {
  const format = context.fields.string("data_format", "channels_last");
  if (format !== "channels_last") return unsupported(context, `data_format "${format}" is not supported`);
  const ones = new Array<number>(spatial).fill(1);
  const padding = context.fields.string("padding", "valid");
  if (padding !== "same" && padding !== "valid") {
    return unsupported(context, `padding "${padding}" is not supported`);
  }
  return {
    strides: perAxis(context, keys.strides, spatial, ones),
    dilations: keys.dilations === undefined ? ones : perAxis(context, keys.dilations, spatial, ones),
    padding,
    layout: "channelsLast",
  };
}

function convolutionLayer(spatial: number): LayerImporter {
  return (context) => {
    const { builder, fields } = context;
    const window = readWindow(context, spatial, { strides: "strides", dilations: "dilation_rate" });
    const weights = plainWeight(context, "kernel");
    const groups = fields.int("groups", 1, 1);
    const bias = optionalBias(context);
    return activated(
      context,
      convolution(builder, only(context), weights, bias, window, groups),
    );
  };
}

function importDepthwise(context: LayerContext): ValueName {
  const window = readWindow(context, 2, { strides: "strides", dilations: "dilation_rate" });
  const weights = plainWeight(context, "depthwise_kernel");
  return activated(context, depthwise(context.builder, only(context), weights, optionalBias(context), window));
}

function importSeparable(context: LayerContext): ValueName {
  const { builder } = context;
  const window = readWindow(context, 2, { strides: "strides", dilations: "dilation_rate" });
  const each = depthwise(builder, only(context), plainWeight(context, "depthwise_kernel"), undefined, window);
  const pointwise = { ...window, strides: [1, 1], dilations: [1, 1], padding: "valid" } as const;
  const mixed = convolution(
    builder,
    each,
    plainWeight(context, "pointwise_kernel"),
    optionalBias(context),
    pointwise,
    1,
  );
  return activated(context, mixed);
}

function poolLayer(kind: "max" | "average", spatial: number): LayerImporter {
  return (context) => {
    const size = perAxis(context, "pool_size", spatial, new Array<number>(spatial).fill(2));
    const strides = context.fields.has("strides") ? perAxis(context, "strides", spatial) : size;
    const window = { ...readWindow(context, spatial, { strides: "pool_size" }), strides };
    return pooled(context.builder, only(context), kind, size, window);
  };
}

function globalPoolLayer(kind: "max" | "average"): LayerImporter {
  return (context) => {
    const { builder, fields } = context;
    const x = only(context);
    const format = fields.string("data_format", "channels_last");
    if (format !== "channels_last") return unsupported(context, `data_format "${format}" is not supported`);
    const axes = spatialAxes("channelsLast", builder.typeOf(x).shape.length);
    const keepAxes = fields.boolean("keepdims", false);
    if (kind === "average") return mean(builder, x, axes, keepAxes);
    return builder.add("reduce", [x], { kind: "max", axes, keepAxes });
  };
}

export const windowLayers: LayerImporterTable = {
  AveragePooling1D: poolLayer("average", 1),
  AveragePooling2D: poolLayer("average", 2),
  AveragePooling3D: poolLayer("average", 3),
  Conv1D: convolutionLayer(1),
  Conv2D: convolutionLayer(2),
  Conv3D: convolutionLayer(3),
  DepthwiseConv2D: importDepthwise,
  GlobalAveragePooling1D: globalPoolLayer("average"),
  GlobalAveragePooling2D: globalPoolLayer("average"),
  GlobalMaxPooling1D: globalPoolLayer("max"),
  GlobalMaxPooling2D: globalPoolLayer("max"),
  MaxPooling1D: poolLayer("max", 1),
  MaxPooling2D: poolLayer("max", 2),
  MaxPooling3D: poolLayer("max", 3),
  SeparableConv2D: importSeparable,
};
