import { fail } from "../../compiler/diagnostics.ts";
import { integerOption } from "../../compiler/rewrite/options.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import type { Declined } from "../../compiler/rewrite/rule.ts";
import { spread } from "../calibrate/calibrate.ts";
import { channelReach } from "./channel_reach.ts";
import { shiftObstacle, shiftRegion } from "./shift_region.ts";
import { scalingSites } from "./sites.ts";
import { WeightEditor } from "./weight_editor.ts";

/**
 * Centres every channel behind a norm, so that codes without a zero point cover its range (OutlierTune, arXiv 2406.18832).
 *
 *   d_j = (max_t y_tj + min_t y_tj) / 2,   y ↦ y - d,   c ↦ c + W·d in every reader
 *
 * Exact over the reals; each reader needs its correction, which `shiftRegion` gives.
 */
export const shift = definePass({
  name: "shift",
  summary: "Centre the channels behind norms; readers take the shift in their biases (OutlierTune)",
  from: "float",
  to: "float",
  exactness: "reassociates",
  needs: ["calibration"],
  options: {
    samples: integerOption({ min: 1, max: 4096 }, 128, "Calibration samples whose ranges are measured"),
    sink: integerOption({ min: 0, max: 64 }, 0, "First positions of each sample that ranges leave out"),
  },
  run: async (graph, scope) => {
    const { calibration, options } = scope;
    if (calibration === undefined) return fail("Q0309", `"shift" needs calibration samples`);
    const editor = new WeightEditor(graph);
    const norms = { norms: true, outputs: false, downs: false };
    const { sites, declined } = scalingSites(graph, editor, "shift", norms, scope.selects);
    const refused: Declined[] = [...declined];
    const reach = await channelReach(
      graph,
      sites,
      spread(calibration, options.samples),
      options.sink,
      scope.onProgress,
    );
    let shifted = 0;
    for (const site of sites) {
      const [{ node }] = site.sources;
      const seen = reach.get(site);
      const obstacle = shiftObstacle(graph, site);
      if (obstacle !== undefined) refused.push({ rule: "shift", node: site.name, reason: obstacle });
      else if (node.op === "norm" && seen !== undefined) {
        shiftRegion(editor, site, node, seen.low.map((low, channel) => (low + seen.high[channel]) / 2));
        shifted++;
      }
    }
    return { graph: editor.finish(), applied: [], declined: refused, metrics: { shifted } };
  },
});
