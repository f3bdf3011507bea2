import { fail } from "../../compiler/diagnostics.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { integerOption } from "../../compiler/rewrite/options.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import type { ChannelTensor, Region } from "../../compiler/rewrite/region/region.ts";
import { elementwisePeers } from "../../compiler/rewrite/region/up_down.ts";
import type { Declined } from "../../compiler/rewrite/rule.ts";
import { Rewriting } from "../../compiler/rewrite/view.ts";
import { spread } from "../calibrate/calibrate.ts";
import { channelReach } from "./channel_reach.ts";
import { scalingSites } from "./sites.ts";
import { WeightEditor } from "./weight_editor.ts";

/**
 * Orders channels by how far their activations reach, loudest first, so that columns of like magnitude share a block
 * (QServe's reorder, arXiv 2405.04532; fold F10).
 *
 *   rows of the producer ↦ P·W₁,   columns of the consumer ↦ W₂·Pᵀ
 *
 * Exact, bit for bit but for the order of sums. In front of a down projection the rows of every factor of the gated
 * product move together; the channels of a value head stay in their head, since queries choose heads. Channels behind a
 * norm would need a gather at run time, or one order for the whole residual stream: they are left alone.
 */
export const permute = definePass({
  name: "permute",
  summary: "Order the channels of projections by their activations' range, loudest first",
  from: "float",
  to: "float",
  exactness: "reassociates",
  needs: ["calibration"],
  options: { samples: integerOption({ min: 1, max: 4096 }, 32, "Calibration samples whose ranges are measured") },
  run: async (graph, scope) => {
    const { calibration, options } = scope;
    if (calibration === undefined) return fail("Q0309", `"permute" needs calibration samples`);
    const editor = new WeightEditor(graph);
    const kinds = { norms: false, outputs: true, downs: true };
    const { sites, declined } = scalingSites(graph, editor, "permute", kinds, scope.selects);
    const refused: Declined[] = [...declined];
    const reach = await channelReach(graph, sites, spread(calibration, options.samples), 0, scope.onProgress);
    let permuted = 0;
    for (const site of sites) {
      const places = placesOf(graph, site);
      const reason = "declined" in places ? places.declined : editor.obstacle(places.writers);
      if ("declined" in places || reason !== undefined) {
        refused.push({ rule: "permute", node: site.name, reason: reason ?? "" });
        continue;
      }
      const run = site.kind === "upDown" ? site.channels : site.rotationExtent;
      permuteRegion(editor, [...places.writers, ...site.sinks], loudestFirst(reach.get(site)?.largest ?? [], run));
      permuted++;
    }
    return { graph: editor.finish(), applied: [], declined: refused, metrics: { permuted } };
  },
});

/** Everything that writes the channels: the region's sources, and those of the other factors of a gated product. */
function placesOf(
  graph: Graph,
  region: Region,
): { readonly writers: readonly ChannelTensor[] } | { readonly declined: string } {
  return region.kind === "upDown" ? elementwisePeers(new Rewriting(graph), region) : { writers: region.sources };
}

/** The channel that each place takes: sorted by descending reach within runs of `run` channels; ties keep their order. */
export function loudestFirst(reach: ArrayLike<number>, run: number): Int32Array {
  const order = Int32Array.from(reach, (_, channel) => channel);
  for (let start = 0; start < order.length; start += run) {
    const part = [...order.subarray(start, start + run)].sort((a, b) => reach[b] - reach[a] || a - b);
    order.set(part, start);
  }
  return order;
}

/** Moves channel order[c] to place c in every constant. */
export function permuteRegion(editor: WeightEditor, places: readonly ChannelTensor[], order: Int32Array): void {
  for (const place of places) {
    editor.gather(place, Int32Array.from(place.channels, (channel, index) => index + order[channel] - channel));
  }
}
