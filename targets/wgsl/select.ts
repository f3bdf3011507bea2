/** Choices of the WebGPU kernels. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node } from "../../compiler/ir/node.ts";

/** Main nodes whose kernels store every entry once, so that elementwise work can run on it first. */
export function wgslFusesEpilogue(main: Node, graph: Graph): boolean {
  if (main.op !== "matmul" && main.op !== "conv") return false;
  const type = graph.types.get(main.outputs[0]);
  return type?.encoding.kind === "plain" && (type.element === "f32" || type.element === "i32");
}
