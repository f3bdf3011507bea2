/** Selects the kernel of a conv with constant weights: tiles of a product of windows with the filters. */

import { isPlain, type Tensor } from "../../../compiler/ir/tensor.ts";
import { Lowering } from "../../loops/context.ts";
import { addIndex, extentIndex, indexValue, largestSymbols, mulIndex, variable } from "../../loops/index.ts";
import { resultAlgebra, sumsFit } from "../../loops/lower/contraction.ts";
import { windowAxes } from "../../loops/lower/linear.ts";
import type { Index } from "../../loops/program.ts";
import type { Region } from "../../region.ts";
import { constantNode } from "../../plan/constants.ts";
import { leftForm, leftKind } from "../dot/left.ts";
import { dotKernels, isUnsignedByte } from "../dot/matmul.ts";
import type { PlaceAxis } from "../dot/places.ts";
import { planFinish } from "../dot/finish.ts";
import type { Declined, DotProblem, LeftForm } from "../dot/problem.ts";
import { codesRight, floatRight, type RightForm, type RightMatrix } from "../dot/right.ts";
import type { KernelSelector, SelectContext } from "../kernel.ts";
import { channelUnits, tapCount, type WindowGeometry, windowUnit } from "./window.ts";

/** Groups of fewer filters leave most of a tile empty: one invocation an entry does better. */
const fewestFilters = 8;

export const selectConv: KernelSelector = (region, context) => {
  const problem = convProblem(region, context);
  return "declined" in problem ? problem : dotKernels(problem, context.symbols);
};

function convProblem(region: Region, { graph, symbols }: SelectContext): DotProblem | Declined {
  const node = region.main;
  if (node.op !== "conv") return { declined: "not a conv" };
  const { groups, layout, hasBias, result } = node.attributes;
  const lowering = new Lowering(region, graph);
  const [x, w] = [lowering.input(0, "x"), lowering.input(1, "w")];
  const shape = lowering.resultShape();
  const axes = windowAxes(layout, shape.length);
  const weights = constantNode(graph, node.inputs[1]);
  if (weights === undefined) return { declined: "filters are not constant" };
  const kind = leftKind(x, [axes.channel, ...axes.spatial]);
  if (typeof kind !== "string") return kind;
  const [filters, channels] = [w.bounds[0], w.bounds[axes.channel]];
  const columns = filters / groups;
  if (columns < fewestFilters) return { declined: `groups of ${columns} filters` };
  const outputs = axes.spatial.map((_, index) => ["oy", "ox", "oz"][index] ?? `o${index}`);
  const geometry: WindowGeometry = {
    axes,
    attributes: node.attributes,
    groups,
    channels,
    kernel: axes.spatial.map((axis) => w.bounds[axis]),
    batch: "n",
    outputs,
    outputExtents: axes.spatial.map((axis) => shape[axis]),
  };
  const units = tapCount(geometry) * channelUnits(geometry);
  const depth = tapCount(geometry) * channels;
  const rowAxes: PlaceAxis[] = [
    { variable: "n", extent: extentIndex(shape[0]) },
    ...axes.spatial.map((axis, index): PlaceAxis => ({ variable: outputs[index], extent: extentIndex(shape[axis]) })),
  ];
  const rows = rowAxes.reduce<Index>((product, { extent }) => mulIndex(product, extent), 1);
  const rowsBound = indexValue(rows, largestSymbols(symbols));
  if (rowsBound * columns * depth === 0) return { declined: "no entries" };
  const right = filterRight(node.inputs[1], weights.attributes.hash, graph.constants.get(weights.attributes.hash), {
    geometry,
    filters,
    decoded: kind === "float",
    sums: x.scheme?.zeroPoint === true || isUnsignedByte(x),
  });
  if ("declined" in right) return right;
  if (kind === "codes" && right.kind !== "codes") return { declined: "codes times floats" };
  if (right.offsets) return { declined: "filters with offsets" };
  if (kind === "codes" && !sumsFit(x.scheme, w.scheme, depth, result)) {
    return { declined: "sums that leave 32 bits" };
  }
  const channel = groups === 1
    ? variable("column")
    : addIndex(mulIndex(variable("outer"), columns), variable("column"));
  const spatial = outputs.map((name) => variable(name));
  const indices = axes.channel === 1 ? [variable("n"), channel, ...spatial] : [variable("n"), ...spatial, channel];
  let left: LeftForm | undefined;
  const finish = planFinish({
    region,
    graph,
    result,
    hasBias,
    total: kind === "float" || result.kind === "real" ? "f32" : "i32",
    outerAxes: [],
    rowAxes,
    indices,
    channel,
    register: (own) => {
      const operand = own.input(0, "x");
      const held = {
        operand,
        lowering: own,
        outerAxes: [],
        rowAxes,
        indices: operand.shape.map((_, axis) => axis === 0 ? variable("n") : 0),
      };
      left = leftForm(kind, held, windowUnit(geometry, held, kind));
    },
  });
  if (left === undefined) return { declined: "no left side" };
  return {
    family: "conv",
    region,
    graph,
    algebra: [
      `y[n, m, o] = sum_{c, k} x[n, c, o * stride - pad + k * dilation] * w[m, c, k]${hasBias ? " + bias[m]" : ""}`,
      ...resultAlgebra(result),
    ],
    outer: groups,
    rows,
    rowsBound,
    columns,
    depth,
    units,
    left,
    right,
    finish,
    result,
  };
}

interface FilterRequest {
  readonly geometry: WindowGeometry;
  readonly filters: number;
  readonly decoded: boolean;
  readonly sums: boolean;
}

function filterRight(value: string, hash: string, tensor: Tensor, request: FilterRequest): RightForm | Declined {
  const { geometry, filters, decoded, sums } = request;
  const { channels, axes } = geometry;
  const taps = tapCount(geometry);
  const fours = 4 * channelUnits(geometry);
  const matrix: Omit<RightMatrix, "stepIndex"> = {
    key: `${hash}/filters`,
    value,
    tensor,
    columns: filters,
    units: taps * channelUnits(geometry),
    block: taps * fours,
    at: (k, column) => {
      const [tap, channel] = [Math.floor(k / fours), k % fours];
      if (channel >= channels) return undefined;
      return column * taps * channels + (axes.channel === 1 ? channel * taps + tap : tap * channels + channel);
    },
  };
  if (isPlain(tensor, "f32")) return floatRight({ ...matrix, stepIndex: () => 0 }, tensor);
  if (tensor.kind === "plain") return { declined: `${tensor.element} filters` };
  if (tensor.outerSteps !== undefined) return { declined: "filters with two-level steps" };
  const { block } = tensor.scheme;
  const whole = tensor.shape.every((extent, axis) => {
    const size = block[axis];
    return axis === 0 || size === "all" || size >= extent;
  });
  if (!whole) return { declined: "steps of filters vary along the depth" };
  const first = block[0] === "all" ? filters : block[0];
  return codesRight({ ...matrix, stepIndex: (_, column) => Math.floor(column / first) }, tensor, { decoded, sums });
}
