/** Choices of the WebGPU kernels. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node } from "../../compiler/ir/node.ts";
import type { Region } from "../region.ts";
import { tunedSelector } from "../tuned.ts";
import type { KernelSelector, SelectContext, WgslKernel } from "./kernel.ts";
import { kernelFamilies } from "./kernels.ts";
import { loopKernel } from "./loops/select.ts";
import type { KernelChoice } from "./program.ts";

/** The first tuned kernel that takes the region, or why each family of its op declined. */
export const selectTuned: KernelSelector = tunedSelector(kernelFamilies);

/** The kernel of a region: a tuned one where a family takes it, else the loop form, which takes every region. */
export function selectKernel(region: Region, context: SelectContext): WgslKernel {
  const tuned = selectTuned(region, context);
  return "declined" in tuned ? loopKernel(region, context) : tuned;
}

/** Main nodes whose kernels store every entry once, so that elementwise work can run on it first. */
export function wgslFusesEpilogue(main: Node, graph: Graph): boolean {
  if (main.op !== "matmul" && main.op !== "conv") return false;
  const type = graph.types.get(main.outputs[0]);
  return type?.encoding.kind === "plain" && (type.element === "f32" || type.element === "i32");
}

/** The kernels that artifacts are made of. */
export const wgslKernels: KernelChoice = { canFuseEpilogue: wgslFusesEpilogue, selectKernel };

/** The loop form alone. */
export const wgslLoops: KernelChoice = { canFuseEpilogue: wgslFusesEpilogue, selectKernel: loopKernel };
