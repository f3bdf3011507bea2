/** Lowers regions to loop programs: a table total over the ops. */

import { InvariantError } from "../../compiler/diagnostics.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node, OpAttributes, OpName } from "../../compiler/ir/node.ts";
import type { Region } from "../region.ts";
import { type Lower, Lowering } from "./context.ts";
import { lowerAttention, lowerRope } from "./lower/attention.ts";
import { lowerMap } from "./lower/elementwise.ts";
import {
  lowerGather,
  lowerGatherElements,
  lowerGatherNd,
  lowerResample,
  lowerScatterElements,
  lowerScatterNd,
} from "./lower/indexing.ts";
import { lowerConv, lowerConvTranspose, lowerMatmul } from "./lower/linear.ts";
import { lowerConcat, lowerExpand, lowerPad, lowerReshape, lowerSlice, lowerTranspose } from "./lower/movement.ts";
import { lowerPool, lowerPoolIndices } from "./lower/pool.ts";
import { lowerDequantize, lowerFromCodes, lowerQuantize, lowerToCodes, lowerToSteps } from "./lower/quantize.ts";
import { lowerRecurrent } from "./lower/recurrent.ts";
import { lowerArgReduce, lowerCumulative, lowerNorm, lowerReduce, lowerSoftmax } from "./lower/reduction.ts";
import { lowerAppend, lowerReadState, lowerWriteState } from "./lower/state.ts";
import { lowerTopK } from "./lower/topk.ts";
import { lowerTransform } from "./lower/transform.ts";
import type { LoopProgram } from "./program.ts";

const table: { readonly [Op in OpName]: Lower<Op> } = {
  constant: () => {
    throw new InvariantError("Constants are placed in memory; no kernel computes them");
  },
  map: lowerMap,
  matmul: lowerMatmul,
  conv: lowerConv,
  convTranspose: lowerConvTranspose,
  pool: lowerPool,
  poolIndices: lowerPoolIndices,
  reduce: lowerReduce,
  argReduce: lowerArgReduce,
  softmax: lowerSoftmax,
  norm: lowerNorm,
  gather: lowerGather,
  gatherElements: lowerGatherElements,
  gatherNd: lowerGatherNd,
  scatterElements: lowerScatterElements,
  scatterNd: lowerScatterNd,
  reshape: lowerReshape,
  transpose: lowerTranspose,
  expand: lowerExpand,
  slice: lowerSlice,
  pad: lowerPad,
  concat: lowerConcat,
  resample: lowerResample,
  cumulative: lowerCumulative,
  transform: lowerTransform,
  topK: lowerTopK,
  rope: lowerRope,
  attention: lowerAttention,
  recurrent: lowerRecurrent,
  append: lowerAppend,
  readState: lowerReadState,
  writeState: lowerWriteState,
  quantize: lowerQuantize,
  dequantize: lowerDequantize,
  fromCodes: lowerFromCodes,
  toCodes: lowerToCodes,
  toSteps: lowerToSteps,
};

/** The loop form of a region. Total over the ops, but for `constant`, which no kernel computes. */
export function lowerRegion(region: Region, graph: Graph): LoopProgram {
  const lowering = new Lowering(region, graph);
  const algebra = lowerNode(region.main, lowering);
  return lowering.finish(algebra);
}

function lowerNode(node: Node, lowering: Lowering): readonly string[] {
  // A node's attributes are those of its op, which is also the table's key; TypeScript cannot pair the two.
  const lower = table[node.op] as Lower<OpName>;
  return lower(lowering, node.attributes as OpAttributes[OpName]);
}
