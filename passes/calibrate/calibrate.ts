import { isStatic, shapeBound } from "../../compiler/ir/extent.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { readers, typeOf } from "../../compiler/ir/graph.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { isPlain, sizeOf } from "../../compiler/ir/tensor.ts";
import { FloatReference } from "../../compiler/reference/tfjs.ts";
import { type CalibrationData, definePass } from "../../compiler/rewrite/pass.ts";
import { integerOption } from "../../compiler/rewrite/options.ts";
import type { Statistics } from "../../compiler/rewrite/statistics.ts";
import { positionAxis, positionsOf, withoutFirst } from "../sink/positions.ts";
import { peakLiveBytes } from "./live_bytes.ts";
import { ValueCollector } from "./collect.ts";

/** The reference's memory is 32-bit; values stand twice in it while an op runs. */
const togetherBytes = 2 ** 29;

/** Runs the float model over the calibration samples and keeps what every value was seen to hold. */
export const calibrate = definePass({
  name: "calibrate",
  summary: "Measure the range of every value over the calibration samples",
  from: "any",
  to: "any",
  exactness: "exact",
  needs: ["calibration"],
  options: {
    samples: integerOption({ min: 1, max: 100000 }, 512, "Samples to run, taken evenly from the set"),
    together: integerOption(
      { min: 1, max: 4096 },
      64,
      "Most samples of these that later passes run side by side; fewer where their values would pass 512 MiB",
    ),
    sink: integerOption({ min: 0, max: 64 }, 0, "First positions of each sample that ranges leave out"),
  },
  run: async (graph, scope) => {
    const samples = spread(scope.calibration ?? [], scope.options.samples);
    const room = Math.max(1, Math.floor(togetherBytes / Math.max(1, peakLiveBytes(graph))));
    const together = spread(samples, Math.min(scope.options.together, room));
    const statistics = await collectStatistics(graph, samples, together, {
      sink: scope.options.sink,
      ...(scope.onProgress === undefined ? {} : { onProgress: scope.onProgress }),
    });
    return {
      graph,
      applied: [],
      declined: [],
      metrics: { samples: statistics.samples, together: together.length, values: statistics.values.size },
      statistics,
    };
  },
});

/** At most `count` samples, evenly spread over the set, in its order. */
export function spread(samples: CalibrationData, count: number): CalibrationData {
  if (samples.length <= count) return samples;
  return Array.from({ length: count }, (_, index) => samples[Math.floor(index * samples.length / count)]);
}

/** Statistics of every f32 value that some node reads, and of what a contraction gives as output of the graph. */
export async function collectStatistics(
  graph: Graph,
  samples: CalibrationData,
  together: CalibrationData,
  { sink = 0, onProgress }: { readonly sink?: number; readonly onProgress?: (fraction: number) => void } = {},
): Promise<Statistics> {
  const positions = sink > 0 ? positionsOf(graph) : undefined;
  const beside = new Set(together);
  const axes = channelAxes(graph);
  const collectors = new Map<ValueName, ValueCollector>();
  const reference = await FloatReference.create(graph);
  try {
    samples.forEach((sample, index) => {
      reference.run(sample, {
        observe: (value, read) => {
          const axis = axes.get(value);
          if (axis === undefined) return;
          const seen = read();
          if (!isPlain(seen, "f32")) return;
          const along = positions && positionAxis(typeOf(graph, value).shape, positions);
          const tensor = along === undefined ? seen : withoutFirst(seen, along, sink);
          collectorOf(collectors, value, axis, tensor.shape[axis] ?? 1).add(
            tensor.data,
            tensor.shape,
            beside.has(sample),
          );
        },
      });
      onProgress?.((index + 1) / samples.length);
    });
  } finally {
    reference.dispose();
  }
  return {
    samples: samples.length,
    together,
    values: new Map([...collectors].map(([value, collector]) => [value, collector.finish()])),
  };
}

function collectorOf(
  collectors: Map<ValueName, ValueCollector>,
  value: ValueName,
  axis: number,
  channels: number,
): ValueCollector {
  const known = collectors.get(value);
  if (known !== undefined) return known;
  const made = new ValueCollector(axis, channels);
  collectors.set(value, made);
  return made;
}

/** The channel axis of every f32 value that a node reads and no constant is: 1 beside channels-first convolutions, else the last. */
function channelAxes(graph: Graph): ReadonlyMap<ValueName, number> {
  const axes = new Map<ValueName, number>();
  const reading = readers(graph);
  const add = (value: ValueName, producer?: Node) => {
    const type = typeOf(graph, value);
    const list = reading.get(value) ?? [];
    if (type.element !== "f32" || type.encoding.kind !== "plain") return;
    if (list.length === 0 && !isModestContraction(producer, graph)) return;
    const isFirst = [...list, ...(producer === undefined ? [] : [producer])].some(isChannelsFirst);
    const rank = type.shape.length;
    const axis = isFirst && rank > 1 ? 1 : Math.max(0, rank - 1);
    if (rank === 0 || isStatic(type.shape[axis])) axes.set(value, axis);
  };
  for (const { value } of graph.inputs) add(value);
  for (const node of graph.nodes) {
    if (node.op === "constant") continue;
    for (const output of node.outputs) add(output, node);
  }
  return axes;
}

/** Logits over a vocabulary, for every token of a window, would cost more to look at than all else. */
const largestOutput = 2 ** 22;

/** A contraction whose result, though no node reads it, later passes may correct. */
function isModestContraction(node: Node | undefined, graph: Graph): boolean {
  if (node?.op !== "conv" && node?.op !== "matmul") return false;
  return sizeOf(shapeBound(typeOf(graph, node.outputs[0]).shape, graph.symbols)) <= largestOutput;
}

function isChannelsFirst(node: Node): boolean {
  return (node.op === "conv" || node.op === "pool") && node.attributes.layout === "channelsFirst" ||
    node.op === "convTranspose";
}
