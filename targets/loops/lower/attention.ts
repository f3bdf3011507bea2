/** Attention over whole heads, and rotary positions. */

import type { OpAttributes } from "../../../compiler/ir/node.ts";
import type { Lowering } from "../context.ts";
import { addIndex, clampIndex, divIndex, dotIndex, extentIndex, maxIndex, mulIndex, subIndex } from "../index.ts";
import { broadcastStrides, load, loadPart, loadReal, type Operand } from "../operand.ts";
import type { Index, Scalar } from "../program.ts";
import {
  accumulatorOf,
  add,
  castTo,
  compareOf,
  div,
  largerOf,
  literalOf,
  mul,
  selectOf,
  sub,
  unaryOf,
} from "../scalar.ts";
import { forIndices } from "../space.ts";

export function lowerRope(
  lowering: Lowering,
  { extent, interleaved, fromPast }: OpAttributes["rope"],
): readonly string[] {
  const { b } = lowering;
  const [x, cos, sin] = [lowering.input(0, "x"), lowering.input(1, "cos"), lowering.input(2, "sin")];
  const half = extent / 2;
  const width = x.bounds[3];
  const element = accumulatorOf(x.element);
  const past: Index = fromPast ? { kind: "symbol", name: "past" } : 0;
  forIndices(b, x.shape.slice(0, 3), "independent", ([batch, t, head]) => {
    const row = addIndex(t, past);
    b.for("pair", half, "independent", (pair) => {
      const first = interleaved ? mulIndex(pair, 2) : pair;
      const second = addIndex(first, interleaved ? 1 : half);
      const a = b.let("a", castTo(element, load(b, x, [batch, t, head, first])));
      const c = b.let("c", castTo(element, load(b, x, [batch, t, head, second])));
      const cosine = b.let("cosine", castTo(element, load(b, cos, [row, pair])));
      const sine = b.let("sine", castTo(element, load(b, sin, [row, pair])));
      lowering.store([batch, t, head, first], sub(mul(a, cosine), mul(c, sine)));
      lowering.store([batch, t, head, second], add(mul(c, cosine), mul(a, sine)));
    });
    b.for("rest", width - extent, "independent", (index) => {
      const place = [batch, t, head, addIndex(index, extent)];
      lowering.store(place, load(b, x, place));
    });
  }, ["batch", "t", "head"]);
  const pair = interleaved ? "(2i, 2i + 1)" : `(i, i + ${half})`;
  return [
    `(y_a, y_b) = (x_a cos_i - x_b sin_i, x_b cos_i + x_a sin_i), pairs ${pair}, row ${fromPast ? "past + " : ""}t`,
  ];
}

/** The largest of an empty or wholly masked row is replaced by 0, so that its weights come out 0 and not NaN. */
function safeTop(top: Scalar, element: Scalar["element"]): Scalar {
  return selectOf(compareOf("eq", top, literalOf(element, -Infinity)), literalOf(element, 0), top);
}

export function lowerAttention(lowering: Lowering, attributes: OpAttributes["attention"]): readonly string[] {
  const { b } = lowering;
  const { causal, window } = attributes;
  const [q, k, v] = [lowering.input(0, "q"), lowering.input(1, "k"), lowering.input(2, "v")];
  const mask = lowering.optional(3, "mask");
  const element = accumulatorOf(q.element);
  const [batches, rows, heads, width] = q.shape;
  const keys = extentIndex(k.shape[1]);
  const shared = q.bounds[2] / k.bounds[2];
  const first = subIndex(keys, extentIndex(rows));
  forIndices(b, [batches, heads, rows], "independent", ([batch, head, t]) => {
    const group = b.letIndex("group", divIndex(head, shared));
    const last = b.letIndex("last", addIndex(first, t));
    const begin = window > 0 ? b.letIndex("begin", maxIndex(addIndex(last, 1 - window), 0)) : 0;
    const end = causal ? b.letIndex("end", clampIndex(addIndex(last, 1), 0, keys)) : keys;
    const scores = b.array("scores", element, k.bounds[1]);
    const scoreAt = (key: Index): Scalar => ({ kind: "load", element, buffer: scores, index: key });
    const top = b.let("top", literalOf(element, -Infinity));
    b.forRange("key", begin, end, "reduction", (key) => {
      const dot = b.let("dot", literalOf(element, 0));
      b.for("d", extentIndex(width), "reduction", (d) => {
        const left = castTo(element, load(b, q, [batch, t, head, d]));
        b.assign(dot, add(dot, mul(left, castTo(element, loadReal(b, k, [batch, key, group, d])))));
      });
      const score = b.let("score", scoreOf(lowering, attributes, dot, mask, [batch, head, t, key]));
      b.store(scores, key, score);
      b.assign(top, largerOf(top, score));
    });
    const shift = b.let("shift", safeTop(top, element));
    const total = b.let("total", literalOf(element, 0));
    b.forRange("key", begin, end, "reduction", (key) => {
      const weight = b.let("weight", unaryOf("exp", sub(scoreAt(key), shift)));
      b.store(scores, key, weight);
      b.assign(total, add(total, weight));
    });
    const divisor = b.let(
      "divisor",
      selectOf(
        compareOf("eq", total, literalOf(element, 0)),
        literalOf(element, 1),
        total,
      ),
    );
    b.for("e", extentIndex(v.shape[3]), "independent", (e) => {
      const sum = b.let("sum", literalOf(element, 0));
      b.forRange("key", begin, end, "reduction", (key) => {
        b.assign(sum, add(sum, mul(scoreAt(key), castTo(element, loadReal(b, v, [batch, key, group, e])))));
      });
      lowering.store([batch, t, head, e], div(sum, divisor));
    });
  }, ["batch", "head", "t"]);
  const terms = [
    attributes.softcap === 0 ? "s = scale q·k" : `s = ${attributes.softcap} tanh(scale q·k / ${attributes.softcap})`,
    ...(mask === undefined ? [] : ["+ mask"]),
  ];
  const range = `${causal ? "key <= S - T + t" : "all keys"}${window > 0 ? `, the last ${window} of them` : ""}`;
  return [`${terms.join(" ")}, scale = ${attributes.scale}`, `y = softmax_key(s) · v over ${range}`];
}

/** softcap(scale * dot) + mask. */
function scoreOf(
  lowering: Lowering,
  { scale, softcap }: OpAttributes["attention"],
  dot: Scalar,
  mask: Operand | undefined,
  place: readonly Index[],
): Scalar {
  const { element } = dot;
  const scaled = mul(dot, literalOf(element, scale));
  const capped = softcap === 0
    ? scaled
    : mul(unaryOf("tanh", div(scaled, literalOf(element, softcap))), literalOf(element, softcap));
  if (mask === undefined) return capped;
  const value = loadPart(lowering.b, mask, "data", dotIndex(place, broadcastStrides(mask, place.length)));
  return mask.element === "bool"
    ? selectOf(value, capped, literalOf(element, -Infinity))
    : add(capped, castTo(element, value));
}
