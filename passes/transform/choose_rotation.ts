/** Which matrix a site gets: by construction, or from second moments of what flows through it. */

import { InvariantError } from "../../compiler/diagnostics.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { type Matrix, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import type { Region, ResidualStream } from "../../compiler/rewrite/region/region.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";
import { isHead } from "../quantize/head.ts";
import { balancedTransform, partialTraces, principalRotation } from "./balance.ts";
import {
  denseRotation,
  groupedRotation,
  hadamardRotation,
  kroneckerRotation,
  nearestFactors,
  type Rotation,
} from "./rotation.ts";
import type { OnlineSite } from "./rotation_sites.ts";
import { groupMoments, type MomentRequest, type Moments, weightMoments } from "./second_moments.ts";
import type { WeightEditor } from "./weight_editor.ts";

export const streamKinds = ["hadamard", "klt"] as const;
export const headKinds = ["hadamard", "klt", "balanced"] as const;
export const onlineKinds = ["hadamard", "klt", "kronecker", "dense"] as const;
export type StreamKind = (typeof streamKinds)[number];
export type HeadKind = (typeof headKinds)[number];
/** `heads` mixes whole heads, each entry with the same entry of the others. */
export type OnlineKind = (typeof onlineKinds)[number] | "heads";

/** The values that a kind of rotation wants to see. */
export type Wanted = readonly MomentRequest[];

export function streamWants(kind: StreamKind, view: GraphView, stream: ResidualStream): Wanted {
  if (kind === "hadamard") return [];
  return quantizedNorms(view, stream).map((value) => ({ value, columns: stream.channels, squaresOnly: false }));
}

export function headsWant(kind: HeadKind, { activations: [read] }: Region): Wanted {
  if (kind === "hadamard") return [];
  return [{ value: read.value, columns: read.channels.length, squaresOnly: false }];
}

export function siteWants(kind: OnlineKind | "balanced", { value, outer, inner }: OnlineSite): Wanted {
  if (kind === "hadamard" || kind === "heads") return [];
  return [{ value, columns: outer * inner, squaresOnly: kind === "balanced" }];
}

/** One orthogonal matrix for all norms: that of their summed moments, each of which has the same trace. */
export function streamRotation(
  kind: StreamKind,
  view: GraphView,
  stream: ResidualStream,
  moments: Moments,
  seed: number,
): Rotation {
  if (kind === "hadamard") return hadamardRotation(stream.channels, seed);
  const sum = zeroMatrix(stream.channels, stream.channels);
  for (const value of quantizedNorms(view, stream)) addInto(sum, momentsOf(moments, value));
  return denseRotation(principalRotation(sum));
}

/** One matrix a key-value head. */
export function headRotations(
  kind: HeadKind,
  editor: WeightEditor,
  region: Region,
  moments: Moments,
  seed: number,
): readonly Rotation[] {
  const { rotationExtent: extent, channels, activations: [read] } = region;
  const groups = channels / extent;
  if (kind === "hadamard") return Array.from({ length: groups }, () => hadamardRotation(extent, seed));
  const groupOf = (block: number) => Math.floor(read.channels[block * extent] / extent);
  const inputs = groupMoments(momentsOf(moments, read.value), extent, groups, groupOf);
  if (kind === "klt") return inputs.map((input) => denseRotation(principalRotation(input)));
  const readers = groupMoments(weightMoments(editor, region.sinks), extent, groups, groupOf);
  return inputs.map((input, group) => denseRotation(balancedTransform(input, readers[group])));
}

/** `block` is the extent of a grouped Hadamard matrix where it divides the channels, 0 for one matrix over all. */
export function onlineRotation(
  kind: OnlineKind,
  editor: WeightEditor,
  site: OnlineSite,
  moments: Moments,
  block: number,
): Rotation {
  const channels = site.outer * site.inner;
  switch (kind) {
    case "hadamard":
      return block > 0 && channels % block === 0 ? groupedRotation(channels, block) : hadamardRotation(channels, 0);
    case "heads":
      return hadamardRotation(site.outer, 0, site.inner);
    case "klt":
      return denseRotation(principalRotation(momentsOf(moments, site.value)));
    case "dense":
      return denseRotation(balancedTransform(momentsOf(moments, site.value), weightMoments(editor, site.sinks)));
    case "kronecker": {
      const outer = site.inner > 1 ? site.outer : nearestFactors(channels)[0];
      const inputs = partialTraces(momentsOf(moments, site.value), outer);
      const readers = partialTraces(weightMoments(editor, site.sinks), outer);
      return kroneckerRotation(
        balancedTransform(inputs.outer, readers.outer),
        balancedTransform(inputs.inner, readers.inner),
      );
    }
  }
}

/**
 * What a diagonal transform divides each channel by so that Σ C_jj / s² and Σ S_jj s² have the least product: the
 * diagonal of the balance, s⁴ = C_jj / S_jj. Channels without data or without readers keep the scale that they have.
 */
export function balancingFactors(editor: WeightEditor, site: OnlineSite, moments: Moments): Float64Array {
  const inputs = moments.squares.get(site.value);
  if (inputs === undefined) throw new InvariantError(`%${site.value} has not been measured`);
  const readers = diagonalOf(weightMoments(editor, site.sinks));
  return inputs.map((input, channel) => {
    const ratio = input / readers[channel];
    return ratio > 0 && Number.isFinite(ratio) ? ratio ** 0.25 : 1;
  });
}

function diagonalOf({ rows, entries }: Matrix): Float64Array {
  return Float64Array.from({ length: rows }, (_, index) => entries[index * (rows + 1)]);
}

/** Norms of the stream whose readers will hold codes: all but the one in front of the model's output. */
function quantizedNorms(view: GraphView, { norms }: ResidualStream): ValueName[] {
  return norms.map((norm) => norm.outputs[0]).filter((value) =>
    !view.readers(value).some((node) => isHead(node, view))
  );
}

function momentsOf(moments: Moments, value: ValueName): Matrix {
  const found = moments.whole.get(value);
  if (found === undefined) throw new InvariantError(`%${value} has not been measured`);
  return found;
}

function addInto(sum: Matrix, term: Matrix): void {
  for (let index = 0; index < sum.entries.length; index++) sum.entries[index] += term.entries[index];
}
