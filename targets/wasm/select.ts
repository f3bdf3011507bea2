/** Chooses the kernel of every region: the tuned families in turn. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node } from "../../compiler/ir/node.ts";
import { selectMatmul } from "./dot/matmul.ts";
import type { KernelSelector } from "./kernel.ts";

/** Tuned families, tried in order. */
const families: readonly KernelSelector[] = [selectMatmul];

/** The first tuned kernel that takes the region, or why each declined. */
export const selectTuned: KernelSelector = (region, context) => {
  const reasons: string[] = [];
  for (const select of families) {
    const kernel = select(region, context);
    if (!("declined" in kernel)) return kernel;
    reasons.push(kernel.declined);
  }
  return { declined: reasons.join("; ") };
};

/** Which main nodes run an epilogue before they store. */
export function canFuseEpilogue(main: Node, graph: Graph): boolean {
  if (main.op !== "matmul" && main.op !== "conv") return false;
  const type = graph.types.get(main.outputs[0]);
  return type?.encoding.kind === "plain" && (type.element === "f32" || type.element === "i32");
}
