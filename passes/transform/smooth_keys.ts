import { fail } from "../../compiler/diagnostics.ts";
import { integerOption, numberOption } from "../../compiler/rewrite/options.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { Declined } from "../../compiler/rewrite/rule.ts";
import { spread } from "../calibrate/calibrate.ts";
import { channelReach } from "./channel_reach.ts";
import { scaleObstacle, scaleRegion } from "./scale_region.ts";
import { WeightEditor } from "./weight_editor.ts";

/**
 * Evens out the channels of keys against queries, so that a cache of keys takes narrow codes (SmoothAttention of QServe,
 * arXiv 2405.04532).
 *
 *   s = max |K|^α over a rotated pair and over the positions,   k ↦ k / s,   q ↦ q · s
 *
 * Exact over the reals: q·k stays. Both of a pair that RoPE turns share one s, and so do all queries of a key's group;
 * dividing both q and k would change the scores.
 */
export const smoothKeys = definePass({
  name: "smooth-keys",
  summary: "Even out the channels of keys against queries (SmoothAttention)",
  from: "float",
  to: "float",
  exactness: "reassociates",
  needs: ["calibration"],
  options: {
    alpha: numberOption({ min: 0, max: 1 }, 0.5, "Share of a key channel's range that moves to the queries"),
    samples: integerOption({ min: 1, max: 4096 }, 128, "Calibration samples whose ranges are measured"),
  },
  run: async (graph, scope) => {
    const { calibration, options } = scope;
    if (calibration === undefined) return fail("Q0309", `"smooth-keys" needs calibration samples`);
    const { regions, declined } = findRegions(graph);
    const editor = new WeightEditor(graph);
    const refused: Declined[] = declined.filter(({ kind }) => kind === "queryKey")
      .map(({ name, reason }) => ({ rule: "smooth-keys", node: name, reason }));
    const sites = regions.filter((region) => {
      if (region.kind !== "queryKey" || !region.sources.every(({ node }) => scope.selects(node))) return false;
      const obstacle = scaleObstacle(editor, region);
      if (obstacle !== undefined) refused.push({ rule: "smooth-keys", node: region.name, reason: obstacle });
      return obstacle === undefined;
    });
    const reach = await channelReach(graph, sites, spread(calibration, options.samples), 0, scope.onProgress);
    for (const site of sites) {
      const largest = reach.get(site)?.largest ?? new Float64Array(site.channels).fill(1);
      scaleRegion(editor, site, largest.map((magnitude) => Math.max(1e-5, magnitude) ** options.alpha));
    }
    return { graph: editor.finish(), applied: [], declined: refused, metrics: { smoothed: sites.length } };
  },
});
