/** Selects the kernel of products with core ⊗ Sylvester ⊗ I. */

import { isStatic, printExtent, shapeBound } from "../../../compiler/ir/extent.ts";
import { typeOf } from "../../../compiler/ir/graph.ts";
import { isPlain, sizeOf } from "../../../compiler/ir/tensor.ts";
import { constantNode } from "../../plan/constants.ts";
import { extentText, rowSpace } from "../dot/rows.ts";
import type { KernelOperand, KernelSelector, PackedWeights, WasmVariant } from "../kernel.ts";
import { advance, countedLoop, get, type Lines, load, op, printFunction, set, sum, times, whileLoop } from "../text.ts";
import { butterflies, type ButterflyPlan, hasButterflies } from "./butterflies.ts";
import { coreTile, mixBlocks, packCore } from "./core.ts";

/** Products with dense matrices over neighbours are matmuls (legalize/dense_transform.ts); they are not taken here. */
export const selectTransform: KernelSelector = (region, { graph, symbols }) => {
  const node = region.main;
  if (node.op !== "transform") return { declined: "not a transform" };
  if (region.epilogue !== undefined) return { declined: "epilogue" };
  const [x, core] = node.inputs;
  const { shape, element } = typeOf(graph, x);
  const constantCore = constantNode(graph, core);
  const matrix = constantCore === undefined ? undefined : graph.constants.get(constantCore.attributes.hash);
  if (element !== "f32" || matrix === undefined || !isPlain(matrix, "f32")) {
    return { declined: "not f32 by a constant" };
  }
  const [order] = matrix.shape;
  const { doublings, stride } = node.attributes;
  const plan: ButterflyPlan = { blocks: order, doublings, stride };
  const lanes = 2 ** doublings * stride;
  if (doublings > 0 && !hasButterflies(plan)) return { declined: "butterflies that are no whole vectors" };
  if (order === 1 && doublings === 0) return { declined: "a multiple" };
  if (order > 1 && lanes < 4) return { declined: "blocks shorter than a vector" };
  const width = shape[shape.length - 1];
  if (!isStatic(width) || sizeOf(shapeBound(shape, symbols)) === 0) return { declined: "no entries" };
  const rows = rowSpace(shape.slice(0, -1), width, [], symbols);
  if (rows === undefined) return { declined: "rows that do not lie dense" };
  const run = order * lanes;
  const weights: PackedWeights = {
    key: `${constantCore?.attributes.hash}/core`,
    layout: `core(order=${order}, panel=${coreTile})`,
    value: core,
    pack: () => packCore(matrix.data, order),
  };
  const value = (name: string): KernelOperand => ({ kind: "value", value: name, part: "data" });
  const scratch: KernelOperand[] = order > 1 && doublings > 0 ? [{ kind: "scratch", bytes: 4 * run }] : [];
  const { space } = rows;
  const sizes = `rows=${printExtent(space.rows)},outer=${space.outer},pitch=${space.rowsBound},width=${width}` +
    `,core=${order},doublings=${doublings},stride=${stride}`;
  return {
    id: `transform.f32(${sizes})`,
    operands: [value(x), { kind: "weights", weights }, value(node.outputs[0]), ...scratch],
    calls: [],
    wat: (name, variant) =>
      printFunction({
        name,
        header: [
          "y[i', j', k] = sum_i core[i, i'] sum_j (-1)^popcount(j & j') x[i, j, k]",
          `${sizes}; the core in panels of ${coreTile} columns`,
        ],
        parameters: ["x", "core", "y", ...(scratch.length > 0 ? ["scratch"] : [])],
        body: [
          ...(order === 1 ? [set("v_gain", load("v128.load32_splat", get("core")))] : []),
          ...countedLoop("outer_blocks", "outer", space.outer, [
            set("x_at", sum(get("x"), times(get("outer"), 4 * space.rowsBound * width))),
            set("y_at", sum(get("y"), times(get("outer"), 4 * space.rowsBound * width))),
            set("y_end", sum(get("y_at"), times(extentText(space.rows), 4 * width))),
            ...whileLoop("runs", op("i32.lt_u", get("y_at"), get("y_end")), [
              ...runLines(plan, lanes, variant),
              advance("x_at", 4 * run),
              advance("y_at", 4 * run),
            ]),
          ]),
        ],
      }),
  };
};

/** One run from `$x_at` to `$y_at`. */
function runLines(plan: ButterflyPlan, lanes: number, variant: WasmVariant): Lines {
  if (plan.blocks === 1) return butterflies(plan, "x_at", "y_at", "v_gain");
  if (plan.doublings === 0) return mixBlocks(plan.blocks, lanes, "x_at", variant);
  return [...butterflies(plan, "x_at", "scratch"), ...mixBlocks(plan.blocks, lanes, "scratch", variant)];
}
