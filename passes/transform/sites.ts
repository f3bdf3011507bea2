/** The regions that diagonal transforms work on, by kind, and why others are left alone. */

import { booleanOption } from "../../compiler/rewrite/options.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node } from "../../compiler/ir/node.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { Region, RegionKind } from "../../compiler/rewrite/region/region.ts";
import type { Declined } from "../../compiler/rewrite/rule.ts";
import type { WeightEditor } from "./weight_editor.ts";
import { scaleObstacle } from "./scale_region.ts";

export interface SiteKinds {
  readonly norms: boolean;
  readonly outputs: boolean;
  readonly downs: boolean;
}

/** The options by which passes name the kinds; `chosen` are the defaults. */
export function siteOptions(chosen: SiteKinds) {
  return {
    norms: booleanOption(chosen.norms, "Work behind norms (F1)"),
    outputs: booleanOption(chosen.outputs, "Work in front of attention output projections (F2)"),
    downs: booleanOption(chosen.downs, "Work in front of down projections (F3)"),
  } as const;
}

/** Regions of the wanted kinds that may be scaled, in the graph's order. */
export function scalingSites(
  graph: Graph,
  editor: WeightEditor,
  rule: string,
  wanted: SiteKinds,
  selects: (node: Node) => boolean,
): { readonly sites: readonly Region[]; readonly declined: readonly Declined[] } {
  const kinds: Partial<Record<RegionKind | "residual", boolean>> = {
    norm: wanted.norms,
    valueOutput: wanted.outputs,
    upDown: wanted.downs,
  };
  const found = findRegions(graph);
  const declined: Declined[] = found.declined.filter(({ kind }) => kinds[kind] === true)
    .map(({ name, reason }) => ({ rule, node: name, reason }));
  const sites: Region[] = [];
  for (const region of found.regions) {
    if (kinds[region.kind] !== true || !region.sources.every(({ node }) => selects(node))) continue;
    const obstacle = scaleObstacle(editor, region);
    if (obstacle === undefined) sites.push(region);
    else declined.push({ rule, node: region.name, reason: obstacle });
  }
  return { sites, declined };
}
