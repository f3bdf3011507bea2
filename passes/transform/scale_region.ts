/**
 * The one engine behind every diagonal transform (SmoothQuant, AWQ, QSM, equalization, q/k smoothing):
 *
 *   sources /= s,  sinks *= s   over a region's channels
 *
 * Exact over the reals because every sink is linear in the channels. s must be finite and not zero, positive where the
 * region says so: a zero would erase a channel, and past an activation a negative factor flips its branch.
 */

import { InvariantError } from "../../compiler/diagnostics.ts";
import type { Region } from "../../compiler/rewrite/region/region.ts";
import type { WeightEditor } from "./weight_editor.ts";

/** Why a region's constants cannot be edited; undefined when they can. */
export function scaleObstacle(editor: WeightEditor, region: Region): string | undefined {
  return editor.obstacle([...region.sources, ...region.sinks]);
}

/** Divides the region's channels by `factors` (one per channel) in the editor's working copies. */
export function scaleRegion(editor: WeightEditor, region: Region, factors: Float64Array): void {
  if (factors.length !== region.channels) {
    throw new InvariantError(`${region.name} has ${region.channels} channels, got ${factors.length} factors`);
  }
  if (factors.some((factor) => !Number.isFinite(factor) || factor === 0 || (region.positiveOnly && factor < 0))) {
    throw new InvariantError(`${region.name} got a factor that is zero, not finite or of the wrong sign`);
  }
  const inverse = factors.map((factor) => 1 / factor);
  for (const source of region.sources) editor.scale(source, inverse);
  for (const sink of region.sinks) editor.scale(sink, factors);
}
