/** Selects the kernel that gathers rows of a quantized table: an embedding, often the head's weights as well. */

import { typeOf } from "../../../compiler/ir/graph.ts";
import { printExtent } from "../../../compiler/ir/extent.ts";
import { constantNode } from "../../plan/constants.ts";
import { matmulView, quantizedMatrix } from "../dot/matrix.ts";
import { rowSpace } from "../dot/rows.ts";
import { weightOnlyPanels } from "../dot/weight_only_kernel.ts";
import type { KernelOperand, KernelSelector } from "../kernel.ts";
import { printFunction } from "../text.ts";
import { gatherRowsBody } from "./gather_rows.ts";

/** Takes whole rows of a constant [rows, depth] table. Its panels are those of `x · tableᵀ`, so a tied head shares them. */
export const selectGather: KernelSelector = (region, { graph, symbols }) => {
  const node = region.main;
  if (node.op !== "gather") return { declined: "not a gather" };
  if (region.epilogue !== undefined) return { declined: "epilogue" };
  const [table, indices] = node.inputs;
  const constant = constantNode(graph, table);
  if (constant === undefined || node.attributes.axis !== 0) return { declined: "not rows of a constant" };
  const { hash } = constant.attributes;
  const tensor = graph.constants.get(hash);
  const view = matmulView(tensor.shape, true);
  if (view === undefined || tensor.shape.length !== 2) return { declined: "not a table of rows" };
  if (view.depth % 4 !== 0) return { declined: "rows that are no whole vectors" };
  const indexType = typeOf(graph, indices);
  if (indexType.element !== "i32") return { declined: "indices are not i32" };
  const rows = rowSpace(indexType.shape, view.depth, [], symbols);
  if (rows === undefined || rows.space.outer !== 1) return { declined: "indices that do not lie dense" };
  const panels = weightOnlyPanels(tensor, quantizedMatrix(tensor, view, 0, 1), `${hash}/transposed`, table);
  if ("declined" in panels) return panels;
  const { layout, zero, weights } = panels;
  const value = (name: string): KernelOperand => ({ kind: "value", value: name, part: "data" });
  const sizes = `rows=${printExtent(rows.space.rows)},of=${view.columns},depth=${view.depth}`;
  return {
    id: `gather.rows(${sizes},${weights.layout})`,
    operands: [value(indices), { kind: "weights", weights }, value(node.outputs[0])],
    calls: [],
    wat: (name) =>
      printFunction({
        name,
        header: [
          `y[r][k] = (q[k][indices[r]] - z) * step${
            layout.offsets ? " + offset" : ""
          }; negative indices count from the end`,
          `${sizes}; ${weights.layout}`,
        ],
        parameters: ["indices", "weights", "y"],
        body: gatherRowsBody({ layout, zero, count: view.columns, rows: rows.space.rows }),
      }),
  };
};
