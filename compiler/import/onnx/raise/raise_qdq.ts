/** Raises what ONNX spells as decode, compute, encode to ops on quantized values. */

import type { Graph } from "../../../ir/graph.ts";
import type { NodeEvaluator } from "../folding_builder.ts";
import { withoutDeadNodes } from "../dead_nodes.ts";
import { raiseContraction } from "./contraction.ts";
import { foldSmallDecodings, raiseGather, raiseGatheredCodes } from "./decoded_constant.ts";
import { raiseDynamicProduct } from "./dynamic_product.ts";
import { rebuild } from "./rebuilding.ts";
import { raiseMoves, raiseRequantize } from "./requantize.ts";

/** The rules in the order in which they are tried on each node. */
const rules = [raiseGather, raiseGatheredCodes, raiseContraction, raiseMoves, raiseRequantize, raiseDynamicProduct];

/** A graph without quantized values is returned as it is. */
export function raiseQdq(graph: Graph, evaluate: NodeEvaluator): Graph {
  if (graph.level === "float") return graph;
  const raised = withoutDeadNodes(rebuild(graph, rules, evaluate));
  return withoutDeadNodes(rebuild(raised, [foldSmallDecodings], evaluate));
}
