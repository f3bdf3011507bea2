/** Finds every region of a graph once, and says why a place that looks like one is none. */

import type { Graph } from "../../ir/graph.ts";
import type { Node } from "../../ir/node.ts";
import { nodeLabel } from "../rule.ts";
import { type GraphView, Rewriting } from "../view.ts";
import { convRegion } from "./conv_conv.ts";
import { normRegion } from "./norm.ts";
import { queryKeyRegion, valueOutputRegion } from "./attention.ts";
import type { Found, Region, RegionDecline, RegionKind, Regions } from "./region.ts";
import { residualStream } from "./residual.ts";
import { upDownRegion } from "./up_down.ts";

/** The matchers by kind; each looks at one node. */
const matchers: Readonly<Record<RegionKind, (view: GraphView, node: Node) => Found>> = {
  norm: normRegion,
  valueOutput: valueOutputRegion,
  queryKey: queryKeyRegion,
  upDown: upDownRegion,
  convConv: convRegion,
};

const kinds: readonly RegionKind[] = ["norm", "valueOutput", "queryKey", "upDown", "convConv"];

export function findRegions(graph: Graph): Regions {
  const view = new Rewriting(graph);
  const regions: Region[] = [];
  const declined: RegionDecline[] = [];
  for (const node of graph.nodes) {
    for (const kind of kinds) {
      const found = matchers[kind](view, node);
      if (found === undefined) continue;
      if ("declined" in found) declined.push({ kind, name: nodeLabel(node), reason: found.declined });
      else regions.push(found);
    }
  }
  const residual = residualStream(view);
  if (residual !== undefined && "declined" in residual) {
    declined.push({ kind: "residual", name: graph.name, reason: residual.declined });
  }
  return {
    regions,
    declined,
    ...(residual === undefined || "declined" in residual ? {} : { residual }),
  };
}
