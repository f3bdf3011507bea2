import type { Graph } from "../../compiler/ir/graph.ts";
import { fail } from "../../compiler/diagnostics.ts";
import { choiceOption, integerOption, numberOption } from "../../compiler/rewrite/options.ts";
import { type CalibrationData, definePass, type PassStep } from "../../compiler/rewrite/pass.ts";
import type { Region } from "../../compiler/rewrite/region/region.ts";
import { spread } from "../calibrate/calibrate.ts";
import { searchBlocks } from "./block_search.ts";
import { type ChannelReach, channelReach, weightReach } from "./channel_reach.ts";
import { scaleRegion } from "./scale_region.ts";
import { scalingSites, siteOptions } from "./sites.ts";
import { outputsOf, relativeError, roundedTrial, roundsLater, scratchGraph } from "./trial.ts";
import { WeightEditor } from "./weight_editor.ts";

/**
 * SmoothQuant (Xiao et al. 2022, arXiv 2211.10438): moves outliers of activations into the weights that read them.
 *
 *   s_j = max_t |x_tj|^α / max_i |W_ij|^(1-α),   x_j ↦ x_j / s_j (in the norm's gain),   W_ij ↦ s_j W_ij
 *
 * α = 0.5 splits the range evenly; larger α relieves the activations. `search` chooses α by trial with the recipe's later
 * passes: `model` one for all regions by the error of the model's outputs (SmoothQuant+, arXiv 2312.03788), `region` one
 * each by the error of the block behind it. Exact over the reals; every reader of the channels must be rescaled, which
 * regions guarantee. A channel that calibration or the weights never saw above 1e-5 counts as 1e-5.
 */
export const smooth = definePass({
  name: "smooth",
  summary: "Divide loud activation channels by what their weights can take up (SmoothQuant)",
  from: "float",
  to: "float",
  exactness: "reassociates",
  needs: ["calibration"],
  options: {
    alpha: numberOption({ min: 0, max: 1 }, 0.5, "Share of the range that moves into the weights"),
    search: choiceOption(["none", "model", "region"], "none", "Choose alpha by trial with the later passes"),
    ...siteOptions({ norms: true, outputs: false, downs: false }),
    samples: integerOption({ min: 1, max: 4096 }, 128, "Calibration samples whose ranges are measured"),
    trials: integerOption({ min: 1, max: 256 }, 8, "Calibration samples that trials of a search run"),
    sink: integerOption({ min: 0, max: 64 }, 0, "First positions of each sample that ranges leave out"),
  },
  run: async (graph, scope) => {
    const { calibration, later = [], options } = scope;
    if (calibration === undefined) return fail("Q0309", `"smooth" needs calibration samples`);
    if (options.search !== "none" && !roundsLater(later)) {
      return fail("Q0309", `"smooth" with a search needs later passes that quantize: there is nothing to try with`);
    }
    const editor = new WeightEditor(graph);
    const { sites, declined } = scalingSites(graph, editor, "smooth", options, scope.selects);
    const reach = await channelReach(graph, sites, spread(calibration, options.samples), options.sink);
    const smoothing = { graph, sites, reach, later, samples: spread(calibration, options.trials) };
    const alphas = await chooseAlphas(smoothing, options, scope.onProgress);
    applyAlphas(editor, sites, reach, alphas);
    const mean = alphas.reduce((sum, alpha) => sum + alpha, 0) / Math.max(1, alphas.length);
    return { graph: editor.finish(), applied: [], declined, metrics: { smoothed: sites.length, alpha: mean } };
  },
});

interface Smoothing {
  readonly graph: Graph;
  readonly sites: readonly Region[];
  readonly reach: ReadonlyMap<Region, ChannelReach>;
  readonly later: readonly PassStep[];
  readonly samples: CalibrationData;
}

/** 0, 0.05, ..., 1. */
const grid: readonly number[] = Array.from({ length: 21 }, (_, index) => index / 20);

const least = 1e-5;

/** s_j = x_j^α / w_j^(1-α) for reaches x and w. */
export function smoothingFactors(
  activations: ArrayLike<number>,
  weights: ArrayLike<number>,
  alpha: number,
): Float64Array {
  return Float64Array.from(activations, (reach, channel) => {
    const [x, w] = [Math.max(least, reach), Math.max(least, weights[channel])];
    return Math.max(least, x ** alpha / w ** (1 - alpha));
  });
}

/** One alpha a site. */
async function chooseAlphas(
  smoothing: Smoothing,
  { alpha, search }: { readonly alpha: number; readonly search: "none" | "model" | "region" },
  onProgress?: (fraction: number) => void,
): Promise<readonly number[]> {
  const { sites } = smoothing;
  if (search === "none" || sites.length === 0) return sites.map(() => alpha);
  if (search === "model") {
    const best = await bestAlpha(smoothing, onProgress);
    return sites.map(() => best);
  }
  const editor = new WeightEditor(smoothing.graph);
  const candidates = new Map(sites.map((site) => [site, factorsOver(editor, site, smoothing.reach)]));
  const chosen = await searchBlocks(smoothing.graph, sites, smoothing.samples, {
    candidates: (site) => candidates.get(site) ?? [],
    later: smoothing.later,
    ...(onProgress === undefined ? {} : { onProgress }),
  });
  return sites.map((site) => {
    const factors = chosen.get(site);
    return factors === undefined ? alpha : grid[candidates.get(site)?.indexOf(factors) ?? 0];
  });
}

function factorsOver(
  editor: WeightEditor,
  site: Region,
  reach: ReadonlyMap<Region, ChannelReach>,
): readonly Float64Array[] {
  const weights = weightReach(editor, site);
  const activations = reach.get(site)?.largest ?? new Float64Array(site.channels);
  return grid.map((alpha) => smoothingFactors(activations, weights, alpha));
}

/** The alpha under which the model's outputs, after the later passes, are nearest to float. */
async function bestAlpha(
  { graph, sites, reach, later, samples }: Smoothing,
  onProgress?: (fraction: number) => void,
): Promise<number> {
  const wanted = await outputsOf(graph, samples);
  let [best, leastError] = [grid[0], Infinity];
  for (const [index, alpha] of grid.entries()) {
    const editor = new WeightEditor(scratchGraph(graph));
    applyAlphas(editor, sites, reach, sites.map(() => alpha));
    const rounded = await roundedTrial(editor.finish(), later, samples);
    const error = relativeError(wanted, await outputsOf(rounded, samples));
    if (error < leastError) [best, leastError] = [alpha, error];
    onProgress?.((index + 1) / grid.length);
  }
  return best;
}

function applyAlphas(
  editor: WeightEditor,
  sites: readonly Region[],
  reach: ReadonlyMap<Region, ChannelReach>,
  alphas: readonly number[],
): void {
  sites.forEach((site, index) => {
    const seen = reach.get(site);
    if (seen === undefined) return;
    scaleRegion(editor, site, smoothingFactors(seen.largest, weightReach(editor, site), alphas[index]));
  });
}
