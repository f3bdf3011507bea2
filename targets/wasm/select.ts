/** Chooses the kernel of every region: the tuned families in turn, then the loop form, which takes all. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node } from "../../compiler/ir/node.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";
import { type Region, regionOrigin } from "../region.ts";
import type { KernelSelector, SelectContext, WasmKernel } from "./kernel.ts";
import { kernelFamilies } from "./kernels.ts";
import { selectLoops } from "./loops/select.ts";

/** The first tuned kernel that takes the region, or why each family of its op declined. */
export const selectTuned: KernelSelector = (region, context) => {
  const reasons: string[] = [];
  for (const { ops, select } of kernelFamilies) {
    if (!ops.includes(region.main.op)) continue;
    const kernel = select(region, context);
    if (!("declined" in kernel)) return kernel;
    reasons.push(kernel.declined);
  }
  return { declined: reasons.length === 0 ? "no tuned family" : reasons.join("; ") };
};

/** The kernel of a region: a tuned one where a family takes it, else the loop form, which takes every region. */
export function selectKernel(region: Region, context: SelectContext): WasmKernel {
  const tuned = selectTuned(region, context);
  if (!("declined" in tuned)) return tuned;
  const loops = selectLoops(region, context);
  if (!("declined" in loops)) return loops;
  throw new InvariantError(`No kernel for ${region.main.op} of ${regionOrigin(region).join(", ")}: ${loops.declined}`);
}

/** Which main nodes run an epilogue before they store. */
export function canFuseEpilogue(main: Node, graph: Graph): boolean {
  if (main.op !== "matmul" && main.op !== "conv") return false;
  const type = graph.types.get(main.outputs[0]);
  return type?.encoding.kind === "plain" && (type.element === "f32" || type.element === "i32");
}
