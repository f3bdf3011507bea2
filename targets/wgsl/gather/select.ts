/**
 * Rows of a quantized table, decoded from the layout that products read: a table that is the head's matrix as well lies in
 * weights.bin once.
 */

import { isStatic } from "../../../compiler/ir/extent.ts";
import { Lowering } from "../../loops/context.ts";
import { addIndex, divIndex, extentIndex, mulIndex } from "../../loops/index.ts";
import { bufferOf } from "../../loops/operand.ts";
import type { Index } from "../../loops/program.ts";
import { constantNode } from "../../plan/constants.ts";
import { accessors } from "../accessors.ts";
import { constantRight } from "../dot/matmul.ts";
import type { KernelSelector } from "../kernel.ts";
import { bufferOperand } from "../loops/print.ts";
import { indexText } from "../loops/scalar.ts";

const invocations = 64;

export const selectGather: KernelSelector = (region, { graph }) => {
  const node = region.main;
  if (node.op !== "gather") return { declined: "not a gather" };
  if (node.attributes.axis !== 0) return { declined: "not rows" };
  const table = constantNode(graph, node.inputs[0]);
  if (table === undefined) return { declined: "the table is no constant" };
  const { hash } = table.attributes;
  const tensor = graph.constants.get(hash);
  if (tensor.kind !== "quantized" || tensor.shape.length !== 2) return { declined: "no quantized matrix" };
  const right = constantRight(node.inputs[0], hash, true, tensor, { decoded: true, sums: false });
  if ("declined" in right) return right;
  if (right.offsets) return { declined: "offsets, which round on their own" };
  const lowering = new Lowering(region, graph);
  const [indices, y] = [lowering.input(1, "indices"), lowering.result()];
  if (indices.element !== "i32" && indices.element !== "i64") return { declined: "indices are no integers" };
  if (y.element !== "f32" || y.scheme !== undefined) return { declined: "rows are not f32" };
  // Symbolic extents behind others leave gaps.
  if (!indices.shape.every((extent, axis) => isStatic(extent) || indices.bounds.slice(0, axis).every(isOne))) {
    return { declined: "indices that do not lie dense" };
  }
  const [rows, depth] = tensor.shape;
  if (rows === 0 || depth === 0) return { declined: "no entries" };
  const reads = bufferOf(lowering.b, indices, "data", "read");
  const writes = bufferOf(lowering.b, y, "data", "write");
  const { buffers } = lowering.finish([]);
  const count = indices.shape.reduce<Index>((product, extent) => mulIndex(product, extentIndex(extent)), 1);
  const units = mulIndex(count, right.units);
  const index = indices.element === "i64" ? `bitcast<i32>(load_${reads}(row).x)` : `load_${reads}(row)`;
  const entry = (at: number) => `store_${writes}(at${at === 0 ? "" : ` + ${at}`}, entries[${at}]);`;
  return {
    id: `gather.rows(of=${rows},depth=${depth},${right.name})`,
    algebra: ["y[r, k] = (code[index[r], k] - zero) * step; negative indices count from the end"],
    dispatches: [{
      operands: [...buffers.map(bufferOperand), { kind: "weights", name: "weights", weights: right.weights }],
      variants: [{
        needs: [],
        workgroups: [divIndex(addIndex(units, invocations - 1), invocations)],
        code: (frame) =>
          [
            `const invocations = ${invocations};`,
            `const table_rows = ${rows};`,
            `const depth = ${depth};`,
            `const units = ${right.units}; // of four entries of the depth`,
            `const block_units = ${right.blockUnits}; // that share a step`,
            "",
            ...buffers.flatMap((buffer) =>
              accessors(buffer, frame.memoryOf(buffer.name), new Set([reads]), new Set([writes]))
            ),
            ...right.functions(frame.memoryOf("weights")),
            "@compute @workgroup_size(invocations)",
            `fn ${frame.entry}(`,
            "  @builtin(workgroup_id) group: vec3<u32>,",
            "  @builtin(num_workgroups) groups: vec3<u32>,",
            "  @builtin(local_invocation_index) local: u32,",
            ") {",
            "  let id = i32(group.y * groups.x + group.x) * invocations + i32(local);",
            `  if (id >= ${indexText(units)}) { return; }`,
            "  let row = id / units;",
            "  let unit = id % units;",
            `  let index = ${index};`,
            "  let entry_row = clamp(select(index, index + table_rows, index < 0), 0, table_rows - 1);",
            ...right.begin("entry_row", "unit / block_units").map((line) => `  ${line}`),
            `  let entries = ${right.unit("entry_row", "unit")};`,
            "  let at = row * depth + 4 * unit;",
            `  ${entry(0)}`,
            ...[1, 2, 3].map((each) =>
              depth % 4 === 0 ? `  ${entry(each)}` : `  if (4 * unit + ${each} < depth) { ${entry(each)} }`
            ),
            "}",
          ].join("\n"),
      }],
    }],
  };
};

function isOne(extent: number): boolean {
  return extent === 1;
}
