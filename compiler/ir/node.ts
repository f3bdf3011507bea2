/** The ops of Quern: a discriminated union on `op`, each with its attributes. Semantics stand beside each entry. */

import type { ElementType } from "../numeric/element.ts";
import type { QuantScheme } from "../numeric/scheme.ts";
import type { Expression } from "./expression.ts";
import type { Extent } from "./extent.ts";

/**
 * What a contraction of quantized operands yields.
 * `real`: f32, Σ_blocks (stepA * stepB) * f32(Σ (a - zeroA)(b - zeroB)), blocks in ascending order, then `+ bias` (f32).
 * `accumulator`: i32, Σ (a - zeroA)(b - zeroB), steps ignored, then `+ bias` (i32).
 * `quantized`: codes = clamp(round(f32(accumulator + bias) * multiplier) + outZero), with multiplier (f32, one per output
 * channel or one in all) and outStep, outZero as extra inputs; bias is i32. Rounds half to even.
 * A `b` with two-level steps (scheme member `outer`) allows `real` only: its blocks are the outer ones, its stepB the outer
 * step, and its entries f32((b - zeroB) * step). An `a` never has outer steps.
 * A `b` with offsets (scheme flag `offset`) allows `real` only. With a quantized `a` each block adds, right after its own
 * term, (stepA * offsetB) * f32(Σ (a - zeroA)), every operation rounded to f32. An `a` never has offsets.
 * Plain operands allow `real` only (float operands: same element; i32/i64 operands: exact integers).
 */
export type ContractionResult =
  | { readonly kind: "real" }
  | { readonly kind: "accumulator" }
  | {
    readonly kind: "quantized";
    readonly scheme: QuantScheme;
    /** Codes are clamped to this range (a fused ReLU raises `low` to the zero point). */
    readonly low: number;
    readonly high: number;
  };

/** Channels-first is [N, C, ...spatial] with weights [M, C/groups, ...kernel]; channels-last [N, ...spatial, C] with [M, ...kernel, C/groups]. */
export type ChannelLayout = "channelsFirst" | "channelsLast";

export interface WindowAttributes {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Begins of all spatial axes, then ends. */
  readonly pads: readonly number[];
  readonly layout: ChannelLayout;
}

/** Attributes by op. Inputs are listed as `(a, b, c?)`; `?` marks an input that may be absent (then the list is shorter). */
export interface OpAttributes {
  /** () -> value. The tensor lives in the constant store under `hash`. */
  constant: { readonly hash: string };
  /** (x0, x1, ...) -> y. Elementwise with broadcasting; plain operands only. `shape` is used when there are no inputs. */
  map: { readonly expression: Expression };
  /**
   * (a[..., M, K], b[..., K, N] or [..., N, K], bias?[N], multiplier?, outStep?, outZero?) -> [..., M, N].
   * Leading axes broadcast. Operands plain or quantized; a quantized `b` with a float `a` is decoded to f32 first.
   * `hasBias` says whether the third input is the bias.
   */
  matmul: { readonly transposeB: boolean; readonly hasBias: boolean; readonly result: ContractionResult };
  /** (x, w, bias?[M], multiplier?, outStep?, outZero?) -> y. Padding of a quantized x is its zero point. */
  conv: WindowAttributes & {
    readonly groups: number;
    readonly hasBias: boolean;
    readonly result: ContractionResult;
  };
  /** (x, w[C, M/groups, ...kernel], bias?) -> y; float, channels-first. The adjoint of conv. */
  convTranspose: {
    readonly strides: readonly number[];
    readonly dilations: readonly number[];
    readonly pads: readonly number[];
    readonly outputPadding: readonly number[];
    readonly groups: number;
  };
  /**
   * (x) -> y. Windows reach past the end when `outputExtents` says so (ceil mode). Average divides by the window's real
   * size, or with `countPadding` by its taps inside the padded input.
   */
  pool: WindowAttributes & {
    readonly kind: "max" | "average" | "lp";
    readonly kernel: readonly number[];
    readonly outputExtents: readonly number[];
    readonly countPadding: boolean;
    /** The p of an lp pool; 2 otherwise. */
    readonly norm: number;
  };
  /** (x) -> i64 flat indices of the maxima into x (row-major, or column-major over the spatial axes). */
  poolIndices: WindowAttributes & {
    readonly kernel: readonly number[];
    readonly outputExtents: readonly number[];
    readonly columnMajor: boolean;
  };
  /** (x) -> y. `axes` ascending. The empty reduction gives 0, 1, -inf/lowest, +inf/highest for sum, prod, max, min. */
  reduce: {
    readonly kind: "sum" | "prod" | "max" | "min";
    readonly axes: readonly number[];
    readonly keepAxes: boolean;
  };
  /** (x) -> i64. Ties go to the first index, or to the last with `last`. */
  argReduce: {
    readonly kind: "max" | "min";
    readonly axis: number;
    readonly keepAxes: boolean;
    readonly last: boolean;
  };
  /** (x) -> y. exp(x - max) / Σ exp(x - max) along `axis`. */
  softmax: { readonly axis: number };
  /**
   * (x, gain?, bias?) -> y over the axes from `axis` to the last.
   * layer: (x - mean) / sqrt(variance + epsilon) * gain + bias; rms: x / sqrt(mean(x²) + epsilon) * gain + bias.
   */
  norm: { readonly kind: "layer" | "rms"; readonly axis: number; readonly epsilon: number };
  /**
   * (x[B, T, H, D], cos[P, R/2], sin[P, R/2]) -> y. Rotates the first R = `extent` of D: pairs (i, i + R/2), or
   * (2i, 2i+1) when `interleaved`. Row t uses table row t, or past + t with `fromPast`.
   */
  rope: { readonly extent: number; readonly interleaved: boolean; readonly fromPast: boolean };
  /**
   * (q[B, T, H, D], k[B, S, G, D], v[B, S, G, E], mask?[broadcast to B, H, T, S]) -> [B, T, H, E], H a multiple of G.
   * softmax(softcap(scale * q·k) + mask) · v. `causal`: row t sees keys up to S - T + t; with `window` > 0 only that many.
   * A bool mask keeps where true; a row that sees no key gives 0. k and v may be quantized (a KV cache).
   */
  attention: {
    readonly scale: number;
    readonly causal: boolean;
    /** 0 means none: softcap * tanh(scores / softcap) otherwise. */
    readonly softcap: number;
    /** 0 means no limit. */
    readonly window: number;
  };
  /** (x[..., T at axis, ...]) -> [..., total at axis, ...]: writes x at rows past..past+T of the state, yields the state's first total rows. */
  append: { readonly state: string; readonly axis: number };
  /** () -> the state's whole value as it was when the run began. */
  readState: { readonly state: string };
  /** (x) -> x. The state holds x after the run. */
  writeState: { readonly state: string };
  /** (x, indices) -> y. Negative indices count from the end; out of range is clamped. */
  gather: { readonly axis: number };
  /** (x, indices) -> y of the shape of indices. */
  gatherElements: { readonly axis: number };
  /** (x, indices[..., depth]) -> y. */
  gatherNd: { readonly batchAxes: number };
  /** (x, indices, updates) -> y. Duplicates are applied in order. */
  scatterElements: { readonly axis: number; readonly reduction: ScatterReduction };
  /** (x, indices[..., depth], updates) -> y. */
  scatterNd: { readonly reduction: ScatterReduction };
  /** (x) -> y, row-major order kept. */
  reshape: { readonly shape: readonly Extent[] };
  /** (x) -> y; y's axis i is x's axis permutation[i]. */
  transpose: { readonly permutation: readonly number[] };
  /** (x) -> y by broadcasting. */
  expand: { readonly shape: readonly Extent[] };
  /** (x) -> y: y[i] = x[start + i * step] per axis; `extents` are y's. A negative step walks back. */
  slice: { readonly starts: readonly number[]; readonly steps: readonly number[]; readonly extents: readonly Extent[] };
  /** (x, value?) -> y. Negative amounts crop. `value` is a scalar; 0 when absent. */
  pad: {
    readonly before: readonly number[];
    readonly after: readonly number[];
    readonly mode: "constant" | "reflect" | "edge" | "wrap";
  };
  /** (x0, x1, ...) -> y. */
  concat: { readonly axis: number };
  /** (x, indices i32[O, taps], weights f32[O, taps]) -> y: y[o] = Σ_t weights[o,t] * x[indices[o,t]] along `axis`. Every resize mode is a table. */
  resample: { readonly axis: number };
  /** (x) -> y. */
  cumulative: {
    readonly kind: "sum" | "prod";
    readonly axis: number;
    readonly exclusive: boolean;
    readonly reverse: boolean;
  };
  /**
   * (x, core[C, C]) -> y: every run of C * 2^doublings * stride entries along the last axis, seen as [C, 2^doublings, stride],
   * becomes y[i', j', k] = Σ_i core[i, i'] Σ_j (-1)^popcount(j & j') x[i, j, k]: a product with core ⊗ Sylvester ⊗ I. A core
   * that divides by √(C * 2^doublings) makes it a rotation; two of them, at strides s and 1, a Kronecker product.
   */
  transform: { readonly doublings: number; readonly stride: number };
  /** (x) -> values, indices i64. Ties go to the lower index; sorted. */
  topK: { readonly axis: number; readonly count: number; readonly largest: boolean };
  /**
   * (x[T, B, I], w[D, G*H, I], r[D, G*H, H], bias[D, 2*G*H], initialH[D, B, H], initialC?[D, B, H], peepholes?[D, 3*H])
   *   -> y[T, D, B, H], lastH[D, B, H], lastC[D, B, H] (lstm only). Gate order as ONNX: lstm i o f c; gru z r h.
   * Activations are those of ONNX, by direction, lower case.
   */
  recurrent: {
    readonly cell: "lstm" | "gru" | "rnn";
    readonly direction: "forward" | "reverse" | "bidirectional";
    readonly activations: readonly RecurrentActivation[];
    /** 0 means none. */
    readonly clip: number;
    /** GRU: reset gate applied after the linear step. */
    readonly linearBeforeReset: boolean;
    /** LSTM: input and forget gates coupled. */
    readonly coupledGates: boolean;
  };
  /**
   * (x, step?, zero?) -> quantized. Static: codes = clamp(round(x / step) + zero), steps as inputs. Dynamic: no further inputs.
   *   dynamic symmetric:  step = max|x| / max, per block (power-of-two steps: see stepDivisor)
   *   dynamic with zero:  lo = min(x, 0), hi = max(x, 0), step = (hi - lo) / (qmax - qmin), zero = clamp(round(qmin - lo / step))
   * The scheme has no offset and no outer steps. Dynamic steps are rounded to the scheme's step format; one that comes out 0 (a block of
   * zeros) is 1. All arithmetic in f32; a NaN quotient rounds to 0. Minifloat and codebook formats: nearest code of x / step.
   */
  quantize: { readonly scheme: QuantScheme };
  /** (q) -> plain: (value(code) - zero) * step, then * outer step or + offset where the scheme has one, each rounded to f32. */
  dequantize: Record<never, never>;
  /** (codes, step, zero?, offset?) -> quantized: names plain tensors as one bundle. Steps have the scheme's step shape; none are outer. */
  fromCodes: { readonly scheme: QuantScheme; readonly element: ElementType };
  /** (q) -> codes, plain. */
  toCodes: Record<never, never>;
  /** (q) -> steps, plain, of the scheme's step shape. */
  toSteps: Record<never, never>;
}

export type ScatterReduction = "none" | "add" | "mul" | "max" | "min";

export type RecurrentActivation =
  | "sigmoid"
  | "tanh"
  | "relu"
  | "hardsigmoid"
  | "softsign"
  | "softplus"
  | "affine"
  | "elu";

export type OpName = keyof OpAttributes;

/** Names of values; unique in a graph. */
export type ValueName = string;

export type NodeOf<Op extends OpName> = {
  readonly op: Op;
  readonly inputs: readonly ValueName[];
  readonly outputs: readonly ValueName[];
  readonly attributes: OpAttributes[Op];
  /** Names of the source model's nodes that this one came from; every rewrite keeps them. */
  readonly origin: readonly string[];
};

export type Node = { readonly [Op in OpName]: NodeOf<Op> }[OpName];
