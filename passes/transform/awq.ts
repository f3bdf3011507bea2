import { fail } from "../../compiler/diagnostics.ts";
import { integerOption } from "../../compiler/rewrite/options.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { spread } from "../calibrate/calibrate.ts";
import { searchBlocks } from "./block_search.ts";
import { channelReach } from "./channel_reach.ts";
import { scaleRegion } from "./scale_region.ts";
import { scalingSites, siteOptions } from "./sites.ts";
import { roundsLater } from "./trial.ts";
import { WeightEditor } from "./weight_editor.ts";

/**
 * Activation-aware weight scaling (AWQ, Lin et al. 2023, arXiv 2306.00978): columns of the weights that loud channels
 * read get finer steps.
 *
 *   m_j = mean_t |x_tj|,   s = m^r / √(max m^r · min m^r),   x_j ↦ x_j / s_j,   W_ij ↦ s_j W_ij
 *
 * Each region takes the ratio r of 0, 1/20, ..., 19/20 under which its block, with the region's sinks rounded as the later
 * passes of the recipe round them, comes out nearest to float. Exact over the reals: only the rounding after it changes.
 */
export const awq = definePass({
  name: "awq",
  summary: "Scale weight columns by their activations' magnitude, by trial with the later quantizer (AWQ)",
  from: "float",
  to: "float",
  exactness: "reassociates",
  needs: ["calibration"],
  options: {
    ratios: integerOption({ min: 1, max: 100 }, 20, "Ratios to try, from 0 up to below 1"),
    ...siteOptions({ norms: true, outputs: true, downs: true }),
    samples: integerOption({ min: 1, max: 4096 }, 128, "Calibration samples whose magnitudes are measured"),
    trials: integerOption({ min: 1, max: 256 }, 8, "Calibration samples that trials run"),
  },
  run: async (graph, scope) => {
    const { calibration, later = [], options } = scope;
    if (calibration === undefined) return fail("Q0309", `"awq" needs calibration samples`);
    if (!roundsLater(later)) {
      return fail("Q0309", `"awq" needs a later pass that quantizes: there is nothing to try with`);
    }
    const editor = new WeightEditor(graph);
    const { sites, declined } = scalingSites(graph, editor, "awq", options, scope.selects);
    const reach = await channelReach(graph, sites, spread(calibration, options.samples), 0);
    const ratios = Array.from({ length: options.ratios }, (_, index) => index / options.ratios);
    const chosen = await searchBlocks(graph, sites, spread(calibration, options.trials), {
      candidates: (site) => ratios.map((ratio) => magnitudeFactors(reach.get(site)?.mean ?? [], ratio)),
      later,
      ...(scope.onProgress === undefined ? {} : { onProgress: scope.onProgress }),
    });
    for (const [site, factors] of chosen) scaleRegion(editor, site, factors);
    return { graph: editor.finish(), applied: [], declined, metrics: { scaled: chosen.size } };
  },
});

/** m^r with m at least 1e-4, normed so that the largest factor and the smallest are inverse to each other. */
export function magnitudeFactors(magnitudes: ArrayLike<number>, ratio: number): Float64Array {
  const powers = Float64Array.from(magnitudes, (magnitude) => Math.max(1e-4, magnitude ** ratio));
  const [largest, smallest] = [Math.max(...powers), Math.min(...powers)];
  return powers.map((power) => power / Math.sqrt(largest * smallest));
}
