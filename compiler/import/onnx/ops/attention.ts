/** Attention of opsets 23 and 24, as the attention op, or step by step where its scores are wanted. */

import { isFloat } from "../../../numeric/element.ts";
import { binary, compare, type Expression, select, unary } from "../../../ir/expression.ts";
import { equalExtents, type Extent } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import { scalarTensor } from "../../../ir/tensor.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { add, div, mul, number, sub } from "./expressions.ts";
import { ignoreAttributes, malformed } from "./faults.ts";
import { matmul } from "./linear.ts";
import { iota, mapOf, productOf, reshaped, scalarOf, staticExtent, transposed } from "./operands.ts";
import { reduced } from "./reduction.ts";
import { splitHeads } from "./rotary.ts";

/** Queries, keys and values as [B, heads, length, D]; keys and values with the past before them. */
interface Heads {
  readonly q: ValueName;
  readonly k: ValueName;
  readonly v: ValueName;
  /** Keys that were there before this call. */
  readonly past: Extent;
  /** Keys of this call. */
  readonly fresh: Extent;
  readonly flat: boolean;
}

interface Scoring {
  readonly scale: number;
  readonly softcap: number;
}

/** What a mask says: `keep` is bool, `bias` is added to the scores. Both broadcast to [B, H, T, S]. */
interface Mask {
  readonly keep: readonly ValueName[];
  readonly bias?: ValueName;
}

function headsOf(context: ImportContext): Heads {
  const { attributes } = context.node;
  const [q, k, v] = [context.input(0), context.input(1), context.input(2)];
  const rank = context.typeOf(q).shape.length;
  if (rank !== 3 && rank !== 4) return malformed(context, `Q has rank ${rank}, it must have 3 or 4`);
  const ranks = [k, v].map((value) => context.typeOf(value).shape.length);
  if (ranks.some((other) => other !== rank)) malformed(context, `Q, K and V have the ranks ${[rank, ...ranks]}`);
  const pastRanks = [4, 5].map((index) => context.optional(index)).flatMap((value) =>
    value === undefined ? [] : [context.typeOf(value).shape.length]
  );
  if (pastRanks.some((other) => other !== 4)) {
    malformed(context, `the past keys and values have the ranks ${pastRanks}`);
  }
  const heads = attributes.int("q_num_heads", 0);
  const groups = attributes.int("kv_num_heads", 0);
  const headFirst = (value: ValueName, count: number) =>
    rank === 4 ? value : transposed(context, splitHeads(context, value, count), [0, 2, 1, 3]);
  const fresh = headFirst(k, groups);
  const withPast = (value: ValueName, index: number) => {
    const past = context.optional(index);
    return past === undefined ? value : context.builder.add("concat", [past, value], { axis: 2 });
  };
  const past = context.optional(4);
  return {
    q: headFirst(q, heads),
    k: withPast(fresh, 4),
    v: withPast(headFirst(v, groups), 5),
    past: past === undefined ? 0 : context.typeOf(past).shape[2],
    fresh: context.typeOf(fresh).shape[2],
    flat: rank === 3,
  };
}

/** The given mask, widened with masked entries up to the number of keys. */
function givenMask(context: ImportContext, keys: Extent): Mask {
  const mask = context.optional(3);
  if (mask === undefined) return { keep: [] };
  const { shape, element } = context.typeOf(mask);
  const width = shape.at(-1) ?? malformed(context, "attn_mask is a scalar");
  const whole = equalExtents(width, keys) || width === 1 ? mask : widenedMask(context, mask, keys);
  if (element === "bool") return { keep: [whole] };
  return isFloat(element) ? { keep: [], bias: whole } : malformed(context, `attn_mask is ${element}`);
}

function widenedMask(context: ImportContext, mask: ValueName, keys: Extent): ValueName {
  const { shape, element } = context.typeOf(mask);
  const missing = staticExtent(context, keys, "the keys") -
    staticExtent(context, shape[shape.length - 1], "the mask's last axis");
  if (missing < 0) return malformed(context, "attn_mask is wider than there are keys");
  const after = shape.map((_, axis) => (axis === shape.length - 1 ? missing : 0));
  const attributes = { before: shape.map(() => 0), after, mode: "constant" as const };
  if (element === "bool") return context.builder.add("pad", [mask], attributes);
  const lowest = context.builder.constant(scalarTensor("f32", Float32Array.of(-Infinity)));
  return context.builder.add("pad", [mask, context.builder.cast(lowest, element)], attributes);
}

/** Row and column numbers of the scores, as [T, 1] and [S]. */
function places(context: ImportContext, queries: Extent, keys: Extent): readonly [ValueName, ValueName] {
  return [iota(context, queries, 0, 2), iota(context, keys, 0, 1)];
}

/** How many keys before and after its own place a query sees; undefined where there is no limit. */
interface Reach {
  readonly before: number | undefined;
  readonly after: number | undefined;
}

/** Opset 25 brought windows; -1 is no limit. A causal query sees nothing after its own place. */
function reachOf(context: ImportContext): Reach {
  const { attributes, opset } = context.node;
  const limit = (name: string) => {
    const value = opset >= 25 ? attributes.int(name, -1) : -1;
    return value < 0 ? undefined : value;
  };
  const [before, after] = [limit("left_window_size"), limit("right_window_size")];
  return { before, after: attributes.int("is_causal", 0) !== 0 ? 0 : after };
}

/**
 * The keys within reach of the place of query i: past + i, or lengths - T + i where the valid keys of each batch entry
 * are given.
 */
function reachKeep(
  context: ImportContext,
  { q, k, past }: Heads,
  { before, after }: Reach,
  lengths: ValueName | undefined,
): ValueName {
  const queries = context.typeOf(q).shape[2];
  const [rows, columns] = places(context, queries, context.typeOf(k).shape[2]);
  const isOutside = lengths !== undefined && context.optional(4) === undefined;
  const extentOf = (extent: Extent) => scalarOf(context, context.shapeValue([extent]));
  const operands = isOutside ? [rows, columns, extentOf(queries), lengths] : [rows, columns, extentOf(past)];
  return mapOf(context, operands, ([row, column, count, length]) => {
    const place = add(row, length === undefined ? count : sub(length, count));
    const last = after === undefined ? [] : [compare("le", column, add(place, number("i64", after)))];
    const first = before === undefined ? [] : [compare("ge", column, sub(place, number("i64", before)))];
    return [...last, ...first].reduce((all, part) => binary("and", all, part));
  });
}

/** Merges the parts of a mask into one value; undefined when there are none. */
function mergedMask(context: ImportContext, { keep, bias }: Mask): ValueName | undefined {
  if (keep.length === 0) return bias;
  const values = bias === undefined ? keep : [...keep, bias];
  return mapOf(context, values, (operands) => {
    const kept = operands.slice(0, keep.length).reduce((all, part) => binary("and", all, part));
    if (bias === undefined) return kept;
    const { element } = context.typeOf(bias);
    return select(kept, operands[keep.length], number(element, -Infinity));
  });
}

/** Valid keys per batch entry as [B, 1, 1, 1]. */
function keyLengths(context: ImportContext): ValueName | undefined {
  if (context.node.opset < 24) return undefined;
  const lengths = context.optional(6);
  if (lengths === undefined) return undefined;
  const { shape } = context.typeOf(lengths);
  if (shape.length !== 1) return malformed(context, "nonpad_kv_seqlen must have rank 1");
  return reshaped(context, context.builder.cast(lengths, "i64"), [shape[0], 1, 1, 1]);
}

function importAttention(context: ImportContext): readonly ValueName[] {
  const { attributes, outputUsed } = context.node;
  ignoreAttributes(context, "softmax_precision");
  const heads = headsOf(context);
  const width = staticExtent(context, context.typeOf(heads.q).shape[3], "the head");
  const scoring: Scoring = {
    scale: attributes.has("scale") ? attributes.float("scale") : 1 / Math.sqrt(width),
    softcap: attributes.float("softcap", 0),
  };
  const reach = reachOf(context);
  const isCausal = reach.after === 0 && reach.before === undefined;
  const keys = context.typeOf(heads.k).shape[2];
  const lengths = keyLengths(context);
  const wantsScores = outputUsed[3] === true;
  const bottomRight = equalExtents(heads.fresh, context.typeOf(heads.q).shape[2]) && lengths === undefined;
  const given = givenMask(context, keys);
  const keep = [...given.keep];
  if (lengths !== undefined) {
    const columns = iota(context, keys, 0, 1);
    keep.push(mapOf(context, [columns, lengths], ([column, length]) => compare("lt", column, length)));
  }
  const isNode = isCausal && bottomRight && !wantsScores;
  const isLimited = reach.before !== undefined || reach.after !== undefined;
  if (isLimited && !isNode) keep.push(reachKeep(context, heads, reach, lengths));
  const mask = mergedMask(context, { keep, bias: given.bias });
  const mode = attributes.int("qk_matmul_output_mode", 0);
  const [y, scores]: readonly ValueName[] = wantsScores
    ? attentionSteps(context, heads, scoring, mask, mode)
    : [attentionNode(context, heads, scoring, mask, isNode)];
  const { shape: [batch, time, count, entries] } = context.typeOf(y);
  const flat = heads.flat
    ? reshaped(context, y, [batch, time, mergedHeads(context, count, entries)])
    : transposed(context, y, [0, 2, 1, 3]);
  return scores === undefined ? [flat, heads.k, heads.v] : [flat, heads.k, heads.v, scores];
}

function mergedHeads(context: ImportContext, heads: Extent, entries: Extent): number {
  return staticExtent(context, heads, "the head count") * staticExtent(context, entries, "the head");
}

/** One attention node over [B, T, H, D]; halves are computed in f32. */
function attentionNode(
  context: ImportContext,
  { q, k, v }: Heads,
  { scale, softcap }: Scoring,
  mask: ValueName | undefined,
  causal: boolean,
): ValueName {
  const { element } = context.typeOf(q);
  const work = element === "f64" ? "f64" : "f32";
  const wide = [q, k, v].map((value) => transposed(context, context.builder.cast(value, work), [0, 2, 1, 3]));
  const operands = mask === undefined ? wide : [...wide, workMask(context, mask, work)];
  const y = context.builder.add("attention", operands, { scale, causal, softcap, window: 0 });
  return context.builder.cast(y, element);
}

function workMask(context: ImportContext, mask: ValueName, work: "f32" | "f64"): ValueName {
  return context.typeOf(mask).element === "bool" ? mask : context.builder.cast(mask, work);
}

/**
 * The same with the scores as a second result [B, H, T, S]: raw (mode 0), capped (1), masked (2) or the softmax (3).
 * Queries of one group of heads are rows of one matmul with the group's keys.
 */
function attentionSteps(
  context: ImportContext,
  { q, k, v }: Heads,
  { scale, softcap }: Scoring,
  mask: ValueName | undefined,
  mode: number,
): readonly [ValueName, ValueName] {
  const { shape: [batch, count, time, width], element } = context.typeOf(q);
  const { shape: [, groupCount, keys] } = context.typeOf(k);
  const heads = staticExtent(context, count, "the head count");
  const groups = staticExtent(context, groupCount, "the key head count");
  const rows = productOf(context, [heads / groups, time]);
  const work = element === "f64" ? "f64" : "f32";
  const [wideQ, wideK, wideV] = [q, k, v].map((value) => context.builder.cast(value, work));
  const grouped = reshaped(context, wideQ, [batch, groups, rows, width]);
  const scaled = mapOf(context, [grouped], ([x]) => mul(x, number(work, scale)));
  const raw = reshaped(context, matmul(context, scaled, wideK, { transposeB: true }), [batch, heads, time, keys]);
  const cap = number(work, softcap);
  const capped = softcap === 0 ? raw : mapOf(context, [raw], ([x]) => mul(cap, unary("tanh", div(x, cap))));
  const masked = mask === undefined ? capped : maskedScores(context, capped, workMask(context, mask, work));
  const softmax = guardedSoftmax(context, masked);
  const { shape: [, , , entries] } = context.typeOf(wideV);
  const product = matmul(context, reshaped(context, softmax, [batch, groups, rows, keys]), wideV);
  const y = transposed(context, reshaped(context, product, [batch, heads, time, entries]), [0, 2, 1, 3]);
  const scores = [raw, capped, masked, softmax][mode] ?? malformed(context, `qk_matmul_output_mode is ${mode}`);
  return [context.builder.cast(y, element), context.builder.cast(scores, element)];
}

function maskedScores(context: ImportContext, scores: ValueName, mask: ValueName): ValueName {
  const { element } = context.typeOf(scores);
  const isKeep = context.typeOf(mask).element === "bool";
  return mapOf(
    context,
    [scores, mask],
    ([x, m]): Expression => isKeep ? select(m, x, number(element, -Infinity)) : add(x, m),
  );
}

/** Softmax along the last axis in which a row of -infinity becomes zeros. */
function guardedSoftmax(context: ImportContext, scores: ValueName): ValueName {
  const { shape, element } = context.typeOf(scores);
  const axis = shape.length - 1;
  const highest = reduced(context, scores, "max", { axes: [axis], keepAxes: true });
  const softmax = context.builder.add("softmax", [scores], { axis });
  return mapOf(
    context,
    [highest, softmax],
    ([peak, x]) => select(compare("eq", peak, number(element, -Infinity)), number(element, 0), x),
  );
}

export const attentionImporters: OpImporterTable = { Attention: importAttention };
