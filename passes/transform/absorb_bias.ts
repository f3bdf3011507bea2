import { fail } from "../../compiler/diagnostics.ts";
import type { Expression } from "../../compiler/ir/expression.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { NodeOf } from "../../compiler/ir/node.ts";
import { sizeOf } from "../../compiler/ir/tensor.ts";
import { numberOption } from "../../compiler/rewrite/options.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { ChannelTensor, Region } from "../../compiler/rewrite/region/region.ts";
import type { Declined } from "../../compiler/rewrite/rule.ts";
import type { Statistics } from "../../compiler/rewrite/statistics.ts";
import { type GraphView, Rewriting } from "../../compiler/rewrite/view.ts";
import { scaleObstacle } from "./scale_region.ts";
import { WeightEditor } from "./weight_editor.ts";

/**
 * High-bias absorption (Nagel et al. 2019, arXiv 1906.04721, section 4.1.3): equalization enlarges biases with their
 * channels; the part that a channel always carries moves into the bias of the next layer.
 *
 *   r(h) = r(h - c) + c for h >= c >= 0   ⇒   b1 -= c,  limits -= c,  b2 += W2 · c,   c = max(0, mean - k · deviation)
 *
 * with mean and deviation of the channel before its ReLU, as calibrated. Lossy: where h < c the next layer sees c - max(h, 0)
 * too much, at most c (one entry in 740 of a normal at k = 3). Readers that pad are declined: their border is zero, not c.
 * Statistics of the moved values go stale: calibrate after.
 */
export const absorbBias = definePass({
  name: "absorb-bias",
  summary: "Move the part of a bias that a ReLU always passes into the next layer's bias",
  from: "float",
  to: "float",
  exactness: "lossy",
  needs: ["statistics"],
  options: {
    deviations: numberOption({ min: 0, max: 100 }, 3, "Standard deviations below its mean that a channel may fall"),
  },
  run: (graph, scope) => {
    const { statistics } = scope;
    if (statistics === undefined) return fail("Q0309", `"absorb-bias" needs a "calibrate" pass before it`);
    const editor = new WeightEditor(graph);
    const refused: Declined[] = [];
    const metrics = { layers: 0, channels: 0 };
    for (const region of findRegions(graph).regions) {
      if (region.kind !== "convConv" || !scope.selects(region.sources[0].node)) continue;
      const amounts = absorbable(graph, editor, region, statistics, scope.options.deviations);
      if ("declined" in amounts) {
        refused.push({ rule: "absorb-bias", node: region.name, reason: amounts.declined });
        continue;
      }
      const moved = amounts.amounts.filter((amount) => amount > 0).length;
      if (moved === 0) continue;
      absorb(editor, region, amounts.amounts);
      metrics.layers++;
      metrics.channels += moved;
    }
    return { graph: editor.finish(), applied: [], declined: refused, metrics };
  },
});

/** What every channel of a region can give to its readers, or why none can. */
function absorbable(
  graph: Graph,
  editor: WeightEditor,
  region: Region,
  statistics: Statistics,
  deviations: number,
): { readonly amounts: Float64Array } | { readonly declined: string } {
  const fault = scaleObstacle(editor, region) ?? shapeFault(new Rewriting(graph), region);
  if (fault !== undefined) return { declined: fault };
  const [source] = region.sources;
  const seen = statistics.values.get(source.node.outputs[0]);
  if (seen === undefined || seen.channelMean.length !== region.channels) {
    return { declined: "calibration saw none of its channels" };
  }
  const limits = region.sources.filter(isLimit).map((place) => editor.tensor(place).entries);
  const amounts = seen.channelMean.map((mean, channel) => {
    const deviation = Math.sqrt(Math.max(0, seen.channelMeanSquare[channel] - mean ** 2));
    return Math.min(Math.max(0, mean - deviations * deviation), ...limits.map((entries) => entries[channel]));
  });
  return { amounts };
}

function isLimit({ node }: ChannelTensor): boolean {
  return node.op === "map";
}

/** A region must be convolution, ReLU (perhaps with limits by channel), readers that do not pad; both ends with biases. */
function shapeFault(view: GraphView, region: Region): string | undefined {
  const { node } = region.sources[0];
  const reader = view.onlyReader(node.outputs[0]);
  if (reader?.op !== "map" || !isRelu(reader, node.outputs[0], region)) return "no ReLU alone reads it";
  if (!region.sources.some(({ operand, node: place }) => place === node && operand === 2)) return "it has no bias";
  for (const { node: sink } of region.sinks) {
    if (sink.inputs[0] !== reader.outputs[0]) return "its ReLU is not read directly";
    if (sink.op === "conv" && sink.attributes.pads.some((amount) => amount !== 0)) return "its reader pads with zeros";
    const hasBias = (sink.op === "conv" || sink.op === "matmul") && sink.attributes.hasBias;
    if (!hasBias || view.constantOf(sink.inputs[2]) === undefined) return "its reader has no constant bias";
  }
  return undefined;
}

/** max(x, 0), within limits that are sources of the region. */
function isRelu(map: NodeOf<"map">, operand: string, region: Region): boolean {
  const limits = new Set(region.sources.filter(({ node }) => node === map).map((place) => place.operand));
  let floor = false;
  const isClamped = (expression: Expression): boolean => {
    if (expression.kind === "input") return map.inputs[expression.index] === operand;
    if (expression.kind !== "binary") return false;
    const { operator, x, y } = expression;
    const sides = [[x, y], [y, x]] as const;
    if (operator === "max") {
      return sides.some(([inner, bound]) => {
        if (bound.kind !== "literal" || Number(bound.value) !== 0) return false;
        floor = true;
        return isClamped(inner);
      });
    }
    if (operator !== "min") return false;
    return sides.some(([inner, bound]) => bound.kind === "input" && limits.has(bound.index) && isClamped(inner));
  };
  return isClamped(map.attributes.expression) && floor;
}

function absorb(editor: WeightEditor, region: Region, amounts: Float64Array): void {
  const [{ node }] = region.sources;
  for (const place of region.sources) {
    if (!isLimit(place) && !(place.node === node && place.operand === 2)) continue;
    const { entries } = editor.tensor(place);
    amounts.forEach((amount, channel) => entries[channel] -= amount);
  }
  for (const sink of region.sinks) addProducts(editor, sink, amounts);
}

/** b2 += W2 · c, summed over everything but the axis of the output channels. */
function addProducts(editor: WeightEditor, sink: ChannelTensor, amounts: Float64Array): void {
  const { shape, entries } = editor.tensor(sink);
  const bias = editor.tensor({
    node: sink.node,
    operand: 2,
    value: sink.node.inputs[2],
    axis: 0,
    channels: sink.channels,
  });
  const inner = sizeOf(shape.slice(sink.axis + 1));
  const rowAxis = sink.node.op === "matmul" && !sink.node.attributes.transposeB ? 1 : 0;
  const rowInner = sizeOf(shape.slice(rowAxis + 1));
  entries.forEach((entry, index) => {
    const channel = sink.channels[Math.floor(index / inner) % shape[sink.axis]];
    bias.entries[Math.floor(index / rowInner) % shape[rowAxis]] += entry * amounts[channel];
  });
}
