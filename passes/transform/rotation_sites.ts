/** Where a rotation may stand at run time: values whose readers are all linear along their last axis. */

import { isStatic } from "../../compiler/ir/extent.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { nodeLabel } from "../../compiler/rewrite/rule.ts";
import { linearSinks } from "../../compiler/rewrite/region/norm.ts";
import { type ChannelTensor, identityChannels } from "../../compiler/rewrite/region/region.ts";
import { channelExtents, channelOrigin } from "../../compiler/rewrite/region/trace.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";
import { isHead } from "../quantize/head.ts";

/** Rows of `outer · inner` channels and every constant that reads them; `inner` is a head's extent, else 1. */
export interface OnlineSite {
  readonly name: string;
  /** What the linears read; its last axis holds the channels. */
  readonly value: ValueName;
  readonly outer: number;
  readonly inner: number;
  readonly sinks: readonly ChannelTensor[];
}

export interface SiteDecline {
  readonly name: string;
  readonly declined: string;
}

/** Behind every norm over the last axis, but the one in front of the layer that makes the model's output. */
export function normSites(view: GraphView): readonly (OnlineSite | SiteDecline)[] {
  return view.graph.nodes.flatMap((node) => {
    if (node.op !== "norm" || node.attributes.axis !== lastAxis(view, node.outputs[0])) return [];
    const site = linearSite(view, nodeLabel(node), node.outputs[0], [node.attributes.axis]);
    return site === undefined ? [] : [site];
  });
}

/** In front of every output projection. */
export function outputSites(view: GraphView): readonly (OnlineSite | SiteDecline)[] {
  return view.graph.nodes.flatMap((node) => {
    if (node.op !== "attention") return [];
    const site = linearSite(view, nodeLabel(node), node.outputs[0], [2, 3]);
    return site === undefined ? [] : [site];
  });
}

/** In front of every down projection: elementwise results that linears alone read. */
export function downSites(view: GraphView): readonly (OnlineSite | SiteDecline)[] {
  return view.graph.nodes.flatMap((node) => {
    if (node.op !== "map") return [];
    const axis = lastAxis(view, node.outputs[0]);
    const site = axis < 1 ? undefined : linearSite(view, nodeLabel(node), node.outputs[0], [axis]);
    return site === undefined || "declined" in site ? [] : [site];
  });
}

/** Undefined where the readers are heads, whose input stays as it is. */
function linearSite(
  view: GraphView,
  name: string,
  value: ValueName,
  axes: readonly number[],
): OnlineSite | SiteDecline | undefined {
  const extents = channelExtents(view.typeOf(value), axes);
  if (extents === undefined) return { name, declined: "the channel extent is symbolic" };
  const [outer, inner] = extents.length === 1 ? [extents[0], 1] : extents;
  const found = linearSinks(view, { value, axes }, identityChannels(outer * inner));
  if ("declined" in found) return { name, declined: found.declined };
  if (found.sinks.some(({ node }) => isHead(node, view))) return undefined;
  const [read, ...others] = found.activations;
  if (others.length > 0 || read.axes.length !== 1 || read.axes[0] !== lastAxis(view, read.value)) {
    return { name, declined: "the linears do not read one value along its last axis" };
  }
  return { name, value: read.value, outer, inner, sinks: found.sinks };
}

/** Where R3 turns the queries and the keys of an attention: one operand of one node each. */
export interface KeySite {
  readonly name: string;
  readonly extent: number;
  readonly places: readonly { readonly reader: Node; readonly operand: number }[];
}

/**
 * Attentions whose queries and keys can be turned head by head behind their rotary embeddings, the keys in front of the
 * cache. In front of the embedding a rotation would not commute with an angle that depends on the position.
 */
export function keySites(view: GraphView): readonly (KeySite | SiteDecline)[] {
  return view.graph.nodes.flatMap((node): (KeySite | SiteDecline)[] => {
    if (node.op !== "attention") return [];
    const name = nodeLabel(node);
    const extent = view.typeOf(node.inputs[1]).shape[3];
    if (!isStatic(extent)) return [{ name, declined: "the head extent is symbolic" }];
    const places = [];
    for (const operand of node.inputs.slice(0, 2)) {
      const { value, axes } = channelOrigin(view, { value: operand, axes: [3] });
      const reader = view.onlyReader(value);
      if (axes.length !== 1 || axes[0] !== lastAxis(view, value)) {
        return [{ name, declined: `%${value} does not end in the channels of a head` }];
      }
      if (reader === undefined) return [{ name, declined: `%${value} is read elsewhere too` }];
      places.push({ reader, operand: reader.inputs.indexOf(value) });
    }
    return [{ name, extent, places }];
  });
}

function lastAxis(view: GraphView, value: ValueName): number {
  return view.typeOf(value).shape.length - 1;
}
