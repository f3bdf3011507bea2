/** Recognizes the layer that makes a model's output. */

import type { Node, OpName } from "../../compiler/ir/node.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

/** Ops that an output may pass through and still be the layer's own. */
const transparent: ReadonlySet<OpName> = new Set([
  "map",
  "reshape",
  "transpose",
  "softmax",
  "slice",
  "gather",
  "dequantize",
]);

/** Whether a node's result reaches an output of the graph through elementwise nodes and views alone. */
export function isHead(node: Node, view: GraphView): boolean {
  const pending = [...node.outputs];
  const seen = new Set(pending);
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (view.isOutput(value)) return true;
    for (const reader of view.readers(value)) {
      if (!transparent.has(reader.op)) continue;
      for (const output of reader.outputs) {
        if (seen.has(output)) continue;
        seen.add(output);
        pending.push(output);
      }
    }
  }
  return false;
}
