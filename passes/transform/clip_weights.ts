import { fail, InvariantError } from "../../compiler/diagnostics.ts";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node, NodeOf } from "../../compiler/ir/node.ts";
import { isPlain, type PlainTensor, plainTensor } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { decodeTensor } from "../../compiler/reference/held.ts";
import { integerOption } from "../../compiler/rewrite/options.ts";
import { definePass, type PassStep } from "../../compiler/rewrite/pass.ts";
import { nodeLabel } from "../../compiler/rewrite/rule.ts";
import { everyNode } from "../../compiler/rewrite/selector.ts";
import { Rewriting } from "../../compiler/rewrite/view.ts";
import { spread } from "../calibrate/calibrate.ts";
import { collectRows, type RowSample } from "../migrate/collect_rows.ts";
import { isHead } from "../quantize/head.ts";
import { WeightEditor } from "./weight_editor.ts";

/**
 * Clips weights where that brings a layer's outputs nearer to float (AWQ's clip search, arXiv 2306.00978): every row and
 * block takes the share r of its range, 1 down to 0.55, with the least error of its part of the outputs,
 *
 *   Σ_t (Σ_{j in block} x_tj (w_ij - ŵ_ij))²,   ŵ what the recipe's `quantize-weights` makes of clamp(w, ±r max|w|)
 *
 * Lossy: it is a choice of ranges, for a quantizer that then takes ranges whole (`"clip": "none"`).
 */
export const clipWeights = definePass({
  name: "clip-weights",
  summary: "Clip weights by the error of their layer's outputs under the later quantizer (AWQ)",
  from: "float",
  to: "float",
  exactness: "lossy",
  needs: ["calibration"],
  options: {
    samples: integerOption({ min: 1, max: 4096 }, 32, "Calibration samples to look at"),
    rows: integerOption({ min: 16, max: 65536 }, 512, "Rows of each activation that errors are summed over"),
  },
  run: async (graph, scope) => {
    const { calibration, later = [], options } = scope;
    const quantizer = later.find(({ pass }) => pass.name === "quantize-weights");
    if (calibration === undefined) return fail("Q0309", `"clip-weights" needs calibration samples`);
    if (quantizer === undefined) return fail("Q0309", `"clip-weights" needs a later "quantize-weights" to clip for`);
    if (quantizer.options.step === "e4m3fn") {
      return fail("Q0309", `"clip-weights" takes no steps under a scale of the whole tensor (e4m3fn)`);
    }
    const layers = layersOf(graph, quantizer, scope.selects);
    const requests = layers.map(({ node, columns }) => ({ value: node.inputs[0], columns }));
    const rows = await collectRows(graph, requests, spread(calibration, options.samples), options.rows, 0);
    const editor = new WeightEditor(graph);
    let clipped = 0;
    for (const [index, layer] of layers.entries()) {
      const seen = rows.get(layer.node.inputs[0]);
      if (seen !== undefined && seen.count > 0) clipped += await clipLayer(editor, layer, seen, quantizer);
      scope.onProgress?.((index + 1) / layers.length);
    }
    return { graph: editor.finish(), applied: [], declined: [], metrics: { layers: layers.length, clipped } };
  },
});

/** A matmul with the extents of its weights: `outputs` rows of `columns` entries that share steps in runs of `block`. */
interface Layer {
  readonly node: NodeOf<"matmul">;
  readonly outputs: number;
  readonly columns: number;
  readonly block: number;
}

function layersOf(graph: Graph, quantizer: PassStep, selects: (node: Node) => boolean): readonly Layer[] {
  const view = new Rewriting(graph);
  const { granularity, block, head } = quantizer.options;
  return graph.nodes.flatMap((node): Layer[] => {
    if (node.op !== "matmul" || !selects(node) || (head === "float" && isHead(node, view))) return [];
    const weights = view.constantOf(node.inputs[1]);
    if (weights === undefined || !isPlain(weights, "f32") || weights.shape.length !== 2) return [];
    const [outputs, columns] = node.attributes.transposeB ? weights.shape : [...weights.shape].reverse();
    return [{ node, outputs, columns, block: granularity === "block" && typeof block === "number" ? block : columns }];
  });
}

/** 1, 0.95, ..., 0.55. */
const shares: readonly number[] = Array.from({ length: 10 }, (_, index) => 1 - index / 20);

/** Clamps the layer's weights in place; the number of blocks that are clipped. */
async function clipLayer(editor: WeightEditor, layer: Layer, rows: RowSample, quantizer: PassStep): Promise<number> {
  const { node, outputs, columns, block } = layer;
  const place = { node, operand: 1, value: node.inputs[1], axis: 0, channels: new Int32Array(0) };
  const { entries } = editor.tensor(place);
  const at = (row: number, column: number) =>
    node.attributes.transposeB ? row * columns + column : column * outputs + row;
  const whole = Float32Array.from(
    { length: outputs * columns },
    (_, index) => entries[at(Math.floor(index / columns), index % columns)],
  );
  const blocks = Math.ceil(columns / block);
  const grams = Array.from({ length: blocks }, (_, index) => blockGram(rows, index * block, block));
  const best = new Float64Array(outputs * blocks).fill(Infinity);
  const chosen = new Float64Array(outputs * blocks).fill(1);
  for (const share of shares) {
    const limits = blockLimits(whole, layer, share);
    const clamped = whole.map((value, index) => clamp(value, limits[blockOf(index, layer, blocks)]));
    const rounded = await roundedBy(quantizer, nodeLabel(node), plainTensor("f32", [outputs, columns], clamped));
    for (let unit = 0; unit < best.length; unit++) {
      const error = blockError(whole, rounded, Math.floor(unit / blocks), unit % blocks, layer, grams);
      if (error < best[unit]) [best[unit], chosen[unit]] = [error, share];
    }
  }
  const limits = blockLimits(whole, layer, 1);
  for (let index = 0; index < whole.length; index++) {
    const unit = blockOf(index, layer, blocks);
    entries[at(Math.floor(index / columns), index % columns)] = clamp(whole[index], limits[unit] * chosen[unit]);
  }
  return chosen.reduce((count, share) => count + (share < 1 ? 1 : 0), 0);
}

function clamp(value: number, limit: number): number {
  return Math.min(limit, Math.max(-limit, value));
}

function blockOf(index: number, { columns, block }: Layer, blocks: number): number {
  return Math.floor(index / columns) * blocks + Math.floor((index % columns) / block);
}

function blockLimits(whole: Float32Array, layer: Layer, share: number): Float64Array {
  const blocks = Math.ceil(layer.columns / layer.block);
  const limits = new Float64Array(layer.outputs * blocks);
  whole.forEach((value, index) => {
    const unit = blockOf(index, layer, blocks);
    limits[unit] = Math.max(limits[unit], Math.abs(value));
  });
  return limits.map((limit) => limit * share);
}

/** Longest run of columns whose products are kept apart from their neighbours' no more: beyond, blocks are cut. */
const longestRun = 128;

/** Σ_t x_ti x_tj over the columns of a block, in runs of at most 128: [run][i][j]. */
function blockGram({ data, columns, count }: RowSample, start: number, block: number): readonly Float64Array[] {
  const end = Math.min(columns, start + block);
  const runs: Float64Array[] = [];
  for (let from = start; from < end; from += longestRun) {
    const width = Math.min(longestRun, end - from);
    const gram = new Float64Array(width * width);
    for (let row = 0; row < count; row++) {
      for (let i = 0; i < width; i++) {
        const x = data[row * columns + from + i];
        for (let j = 0; j < width; j++) gram[i * width + j] += x * data[row * columns + from + j];
      }
    }
    runs.push(gram);
  }
  return runs;
}

/** (w - ŵ)ᵀ G (w - ŵ) over one block of one row, runs apart. */
function blockError(
  whole: Float32Array,
  rounded: Float32Array,
  row: number,
  index: number,
  { columns, block }: Layer,
  grams: readonly (readonly Float64Array[])[],
): number {
  let sum = 0;
  grams[index].forEach((gram, run) => {
    const width = Math.sqrt(gram.length);
    const first = row * columns + index * block + run * longestRun;
    for (let i = 0; i < width; i++) {
      const left = whole[first + i] - rounded[first + i];
      let dot = 0;
      for (let j = 0; j < width; j++) dot += gram[i * width + j] * (whole[first + j] - rounded[first + j]);
      sum += left * dot;
    }
  });
  return sum;
}

/** What the quantizer makes of weights [N, K], ranges taken whole: it runs on a graph of one matmul. */
async function roundedBy(quantizer: PassStep, origin: string, weights: PlainTensor<"f32">): Promise<Float32Array> {
  const builder = new GraphBuilder("layer");
  const x = builder.input("x", tensorType("f32", [1, weights.shape[1]]));
  const attributes = { transposeB: true, hasBias: false, result: { kind: "real" } } as const;
  builder.output("y", builder.add("matmul", [x, builder.constant(weights)], attributes, { origin: [origin] }));
  const options = { ...quantizer.options, solver: "nearest", head: "quantize", clip: "none" };
  const { graph } = await quantizer.pass.run(builder.finish(), { options, selector: everyNode, seed: 0 });
  const matmul = graph.nodes.find((node) => node.op === "matmul");
  const codes = graph.nodes.find((node) => node.outputs[0] === matmul?.inputs[1]);
  const tensor = codes?.op === "constant" ? graph.constants.get(codes.attributes.hash) : undefined;
  if (tensor?.kind !== "quantized") throw new InvariantError("The quantizer leaves a matmul's weights as codes");
  return decodeTensor(tensor).data;
}
