/** Chooses the kernel of every region: the tuned families in turn, then the loop form, which takes all. */

import { isStatic } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { Node } from "../../compiler/ir/node.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";
import { type Epilogue, type Region, regionOrigin } from "../region.ts";
import { tunedSelector } from "../tuned.ts";
import type { KernelSelector, SelectContext, WasmKernel } from "./kernel.ts";
import { kernelFamilies } from "./kernels.ts";
import { rowSpace } from "./dot/rows.ts";
import { selectLoops } from "./loops/select.ts";
import { printVector } from "./vector_expression.ts";

/** The first tuned kernel that takes the region, or why each family of its op declined. */
export const selectTuned: KernelSelector = tunedSelector(kernelFamilies);

/** The kernel of a region: a tuned one where a family takes it, else the loop form, which takes every region. */
export function selectKernel(region: Region, context: SelectContext): WasmKernel {
  const tuned = selectTuned(region, context);
  if (!("declined" in tuned)) return tuned;
  const loops = selectLoops(region, context);
  if (!("declined" in loops)) return loops;
  throw new InvariantError(`No kernel for ${region.main.op} of ${regionOrigin(region).join(", ")}: ${loops.declined}`);
}

/** Which main nodes run an epilogue before they store, and which epilogues. */
export function canFuseEpilogue(main: Node, graph: Graph, epilogue?: Epilogue): boolean {
  const { element, shape, encoding } = typeOf(graph, main.outputs[0]);
  const isRow = main.op === "norm" && main.attributes.axis === shape.length - 1 && element === "f32";
  if (main.op !== "matmul" && main.op !== "conv" && !isRow) return false;
  if (encoding.kind !== "plain" || element !== "f32" && element !== "i32") return false;
  if (epilogue === undefined) return true;
  const types = epilogue.operands.map((value) => typeOf(graph, value));
  const code = printVector(epilogue.expression, [
    { text: "", element },
    ...types.map((type) => ({ text: "", element: type.element })),
  ]);
  if (code === undefined || code.element === "bool" || types.some((type) => type.element === "bool")) return false;
  const columns = shape[shape.length - 1];
  const steps = isStatic(columns) &&
    rowSpace(shape.slice(0, -1), columns, types.map((type) => type.shape), graph.symbols) !== undefined;
  return steps || main.op === "conv" && main.attributes.layout === "channelsFirst";
}
