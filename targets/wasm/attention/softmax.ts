/** What happens to a row of scores: cap, mask, exponentials, and the factor that makes them sum to 1. */

import { inlineVector, type LiteralForm } from "../vector_expression.ts";
import {
  advance,
  constant,
  get,
  ifThen,
  type Lines,
  load,
  minimum,
  op,
  plus,
  set,
  store,
  sum,
  times,
  whileLoop,
} from "../text.ts";
import { type AttentionMask, type AttentionOptions, lowest, scratchMap, shuffleWords, zeros } from "./options.ts";

/** Literals of the softmax stay in locals: engines build a vector constant anew at every use. */
function pooled(pool: Map<string, string>): LiteralForm {
  return (text) => {
    const name = pool.get(text) ?? `v_literal_${pool.size}`;
    pool.set(text, name);
    return get(name);
  };
}

/** Cap, mask, exponentials of one row of scores at `$score_row`; leaves 1 / Σ (0 when no key is seen) among the scales. */
export function softmaxRow(options: AttentionOptions, pool: Map<string, string>): Lines {
  const map = scratchMap(options);
  const spanEnd = sum(get("score_row"), op("i32.shl", get("span"), constant(2)));
  const loop = (label: string, body: Lines): Lines => [
    set("at", get("score_row")),
    ...whileLoop(label, op("i32.lt_u", get("at"), get("row_end")), [...body, advance("at", 16)]),
  ];
  const current = load("v128.load", get("at"));
  const fill = (label: string, from: string, to: string): Lines => [
    set("at", from),
    set("fill_end", to),
    ...whileLoop(label, op("i32.lt_u", get("at"), get("fill_end")), [
      store("f32.store", get("at"), "(f32.const -inf)"),
      advance("at", 4),
    ]),
  ];
  const place = (key: string): string =>
    sum(get("score_row"), op("i32.shl", op("i32.sub", key, get("tile_begin")), constant(2)));
  return [
    set("row_end", op("i32.and", plus(spanEnd, 15), constant(-16))),
    ...adjustScores(options, pool),
    ...(options.attributes.window > 0
      ? fill("before_window", get("score_row"), place(minimum(get("begin"), get("tile_end"))))
      : []),
    ...fill(
      "after_keys",
      place(op("select", get("end"), get("tile_begin"), op("i32.gt_u", get("end"), get("tile_begin")))),
      get("row_end"),
    ),
    set("v_most", lowest),
    ...loop("row_max", [set("v_most", op("f32x4.pmax", get("v_most"), current))]),
    set("v_most", op("f32x4.pmax", get("v_most"), shuffleWords([2, 3, 0, 1], "v_most", "v_most"))),
    set("v_most", op("f32x4.pmax", get("v_most"), shuffleWords([1, 0, 3, 2], "v_most", "v_most"))),
    set("v_total", zeros),
    ...ifThen(
      op("f32.eq", op("f32x4.extract_lane 0", get("v_most")), "(f32.const -inf)"),
      loop("clear_row", [
        store("v128.store", get("at"), zeros),
      ]),
      [
        ...loop("row_exp", [
          set("v_x", inlineVector("exp_f32x4", [op("f32x4.sub", current, get("v_most"))], pooled(pool))),
          set("v_total", op("f32x4.add", get("v_total"), get("v_x"))),
          store("v128.store", get("at"), get("v_x")),
        ]),
        set("v_total", op("f32x4.add", get("v_total"), shuffleWords([2, 3, 0, 1], "v_total", "v_total"))),
        set("v_total", op("f32x4.add", get("v_total"), shuffleWords([1, 0, 3, 2], "v_total", "v_total"))),
        set("v_total", op("f32x4.div", "(v128.const f32x4 1 1 1 1)", get("v_total"))),
      ],
    ),
    `(v128.store32_lane 0 ${sum(sum(get("scratch"), constant(map.scales)), op("i32.shl", get("r"), constant(2)))} ${
      get("v_total")
    })`,
  ];
}

/** Caps the scores of a row and adds its mask. */
function adjustScores(options: AttentionOptions, pool: Map<string, string>): Lines {
  const { attributes: { softcap }, mask } = options;
  if (softcap === 0 && mask === undefined) return [];
  const lines: (string | Lines)[] = [];
  if (mask !== undefined) {
    const [batch, head, query, key] = mask.strides;
    const index = [
      times(get("batch"), batch),
      times(get("head"), head),
      times(get("t"), query),
      times(get("tile_begin"), key),
    ].filter((_, axis) => mask.strides[axis] !== 0).reduce((total, term) => sum(total, term), constant(0));
    lines.push(set("mask_at", sum(get("mask"), times(index, mask.element === "bool" ? 1 : 4))));
  }
  const body: (string | Lines)[] = [set("v_x", load("v128.load", get("at")))];
  if (softcap !== 0) {
    const cap = pooled(pool)(`(v128.const f32x4${` ${Math.fround(softcap)}`.repeat(4)})`);
    const capped = inlineVector("tanh_f32x4", [op("f32x4.div", get("v_x"), cap)], pooled(pool));
    body.push(set("v_x", op("f32x4.mul", cap, capped)));
  }
  if (mask !== undefined) body.push(...addMask(mask));
  body.push(store("v128.store", get("at"), get("v_x")), advance("at", 16));
  return [
    ...lines,
    set("at", get("score_row")),
    ...whileLoop("adjust", op("i32.lt_u", get("at"), get("row_end")), body),
  ];
}

function addMask({ element, strides }: AttentionMask): Lines {
  const along = strides[3] !== 0;
  if (element === "f32") {
    const instruction = along ? "v128.load" : "v128.load32_splat";
    return [
      set("v_x", op("f32x4.add", get("v_x"), load(instruction, get("mask_at")))),
      ...(along ? [advance("mask_at", 16)] : []),
    ];
  }
  const bytes = along
    ? op("i32x4.extend_low_i16x8_u", op("i16x8.extend_low_i8x16_u", load("v128.load32_zero", get("mask_at"))))
    : op("i32x4.splat", load("i32.load8_u", get("mask_at")));
  return [
    set("v_x", op("v128.bitselect", get("v_x"), lowest, op("i32x4.ne", bytes, "(v128.const i32x4 0 0 0 0)"))),
    ...(along ? [advance("mask_at", 4)] : []),
  ];
}
