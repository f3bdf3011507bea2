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
import { groupMoments, weightMoments } from "./second_moments.ts";
import type { WeightEditor } from "./weight_editor.ts";

export const streamKinds = ["hadamard", "klt"] as const;
export const headKinds = ["hadamard", "klt", "balanced"] as const;
export const onlineKinds = ["hadamard", "klt", "kronecker", "dense"] as const;
export type StreamKind = (typeof streamKinds)[number];
export type HeadKind = (typeof headKinds)[number];
/** `heads` mixes whole heads, each entry with the same entry of the others. */
export type OnlineKind = (typeof onlineKinds)[number] | "heads";

/** E[xᵀx] by value. */
export type Moments = ReadonlyMap<ValueName, Matrix>;

/** The values that a kind of rotation wants to see, with their entries a row. */
export type Wanted = readonly (readonly [ValueName, number])[];

export function streamWants(kind: StreamKind, view: GraphView, stream: ResidualStream): Wanted {
  if (kind === "hadamard") return [];
  return quantizedNorms(view, stream).map((value) => [value, stream.channels]);
}

export function headsWant(kind: HeadKind, { activations: [read] }: Region): Wanted {
  return kind === "hadamard" ? [] : [[read.value, read.channels.length]];
}

export function siteWants(kind: OnlineKind, { value, outer, inner }: OnlineSite): Wanted {
  return kind === "hadamard" || kind === "heads" ? [] : [[value, outer * inner]];
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

/** Norms of the stream whose readers will hold codes: all but the one in front of the model's output. */
function quantizedNorms(view: GraphView, { norms }: ResidualStream): ValueName[] {
  return norms.map((norm) => norm.outputs[0]).filter((value) =>
    !view.readers(value).some((node) => isHead(node, view))
  );
}

function momentsOf(moments: Moments, value: ValueName): Matrix {
  const found = moments.get(value);
  if (found === undefined) throw new InvariantError(`%${value} has not been measured`);
  return found;
}

function addInto(sum: Matrix, term: Matrix): void {
  for (let index = 0; index < sum.entries.length; index++) sum.entries[index] += term.entries[index];
}
