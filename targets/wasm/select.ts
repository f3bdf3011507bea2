/** Chooses the kernel of every region: the tuned families in turn, then the loop form, which takes all. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node } from "../../compiler/ir/node.ts";
import { selectAttention } from "./attention/select.ts";
import { selectConv } from "./conv/conv.ts";
import { selectMatmul } from "./dot/matmul.ts";
import { selectGather } from "./gather/select.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";
import { type Region, regionOrigin } from "../region.ts";
import type { KernelSelector, SelectContext, WasmKernel } from "./kernel.ts";
import { selectLoops } from "./loops/select.ts";

/** Tuned families, tried in order. */
const families: readonly KernelSelector[] = [selectMatmul, selectConv, selectAttention, selectGather];

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
