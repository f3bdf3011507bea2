/**
 * Regions: the unit that scaling, rotation and step migration share. A region is one set of channels with every
 * constant that writes them (sources) and every constant that reads them (sinks). Dividing the channels by s is
 *
 *   source /= s along its axis,  sink *= s along its axis
 *
 * and leaves the model's function unchanged, because each sink is linear in the channels.
 */

import type { Node, NodeOf, ValueName } from "../../ir/node.ts";

/** One constant with the axis that runs over a region's channels. */
export interface ChannelTensor {
  /** The node that reads the constant. */
  readonly node: Node;
  /** Which of the node's inputs it is. */
  readonly operand: number;
  readonly value: ValueName;
  readonly axis: number;
  /** The region's channel of each index along `axis`; several indices may share one (GQA heads, RoPE pairs). */
  readonly channels: Int32Array<ArrayBuffer>;
}

/**
 * `norm`: a norm's gain (and bias) and the linears that read it. `valueOutput`: the value projection and the output
 * projection of an attention. `upDown`: the linear factor of a gated MLP (or a homogeneous activation) and the linear
 * after it. `queryKey`: q rows against k rows through the scores. `convConv`: a convolution and the next one.
 */
export type RegionKind = "norm" | "valueOutput" | "upDown" | "queryKey" | "convConv";

export interface Region {
  readonly kind: RegionKind;
  /** Source name of the node that the region hangs on. */
  readonly name: string;
  /** Number of independent channels. */
  readonly channels: number;
  readonly sources: readonly ChannelTensor[];
  readonly sinks: readonly ChannelTensor[];
  /** Values that hold the channels between sources and sinks, as the sinks read them (calibration looks here). */
  readonly activations: readonly ChannelValue[];
  /**
   * Whether factors must be positive: a homogeneous activation (ReLU, max pooling) lies between sources and sinks.
   * A region with such an activation takes scales, no rotation.
   */
  readonly positiveOnly: boolean;
  /**
   * Consecutive channels that an orthogonal matrix may mix (all of them behind a norm, a head of the values); 1 where the
   * channels meet an elementwise product or activation.
   */
  readonly rotationExtent: number;
}

/** A region, why there is none, or undefined where the node does not suggest one. */
export type Found = Region | { readonly declined: string } | undefined;

/** A value and the axes that its channels run over, row-major (outermost axis first). */
export interface ChannelValue {
  readonly value: ValueName;
  readonly axes: readonly number[];
  /** The region's channel of each combined index over `axes`. */
  readonly channels: Int32Array<ArrayBuffer>;
}

/** A place where the graph's shape suggests a region and a precondition fails. */
export interface RegionDecline {
  readonly kind: RegionKind | "residual";
  readonly name: string;
  readonly reason: string;
}

/**
 * The residual stream: every constant that writes into it and every one that reads it through a norm without gain.
 * A rotation R turns writers W into W·R (along their output channels) and readers into W·R along their input channels.
 */
export interface ResidualStream {
  readonly channels: number;
  readonly writers: readonly ChannelTensor[];
  /** Biases of writers: they rotate with them. */
  readonly biases: readonly ChannelTensor[];
  readonly readers: readonly ChannelTensor[];
  readonly norms: readonly NodeOf<"norm">[];
}

export interface Regions {
  readonly regions: readonly Region[];
  readonly residual?: ResidualStream;
  readonly declined: readonly RegionDecline[];
}

/** 0, 1, ..., count - 1. */
export function identityChannels(count: number): Int32Array<ArrayBuffer> {
  return Int32Array.from({ length: count }, (_, index) => index);
}
