/**
 * Rows of a norm over the last axis: moments in float64, the row's scale (and mean) rounded to float32 once, then every
 * entry in float32. What follows the norm runs on the entries before they are stored, so a norm may end in codes.
 */

import type { OpAttributes } from "../../../compiler/ir/node.ts";
import type { Finish } from "../dot/finish.ts";
import type { RowSpace } from "../dot/rows.ts";
import { extentText } from "../dot/rows.ts";
import { advance, constant, countedLoop, get, type Lines, load, op, set, sum, times, whileLoop } from "../text.ts";

export interface NormPlan {
  readonly kind: OpAttributes["norm"]["kind"];
  readonly epsilon: number;
  readonly width: number;
  readonly space: RowSpace;
  readonly hasGain: boolean;
  readonly hasBias: boolean;
  readonly panelColumns: number;
  readonly finish: Finish;
}

/** Entries of the widest panel: four vectors are in flight. */
export const widestPanel = 16;

const zeros = "(v128.const f64x2 0 0)";

export function normBody(plan: NormPlan): Lines {
  const { width, space, finish } = plan;
  return [
    ...finish.setup,
    ...countedLoop("outer_blocks", "outer", space.outer, [
      set("row", constant(0)),
      ...whileLoop("rows", op("i32.lt_u", get("row"), extentText(space.rows)), [
        set("row_at", sum(times(get("outer"), space.rowsBound), get("row"))),
        set("x_row", sum(get("x"), times(get("row_at"), 4 * width))),
        ...moments(plan),
        ...panels(plan),
        advance("row", 1),
      ]),
    ]),
  ];
}

/** Leaves 1 / √(mean square + ε) in all lanes of `$v_scale`, and the mean of a layer norm in `$v_mean`. */
function moments({ kind, epsilon, width }: NormPlan): Lines {
  const isLayer = kind === "layer";
  const total = (name: string): string =>
    op("f64.add", op("f64x2.extract_lane 0", get(name)), op("f64x2.extract_lane 1", get(name)));
  const mean = (name: string): string => op("f64.div", total(name), `(f64.const ${width})`);
  const square = (half: string): string => op("f64x2.mul", half, half);
  return [
    ...(isLayer
      ? [
        ...addUp(width, "sum", (half) => half),
        set("v_middle", op("f64x2.splat", mean("v_sum"))),
        set("v_mean", op("f32x4.splat", op("f32.demote_f64", mean("v_sum")))),
      ]
      : []),
    ...addUp(width, "square", (half, single) => {
      if (!isLayer) return { terms: [set("v_term", half)], value: square(get("v_term")) };
      const middle = single ? op("f64x2.replace_lane 1", get("v_middle"), "(f64.const 0)") : get("v_middle");
      return { terms: [set("v_term", op("f64x2.sub", half, middle))], value: square(get("v_term")) };
    }),
    set(
      "v_scale",
      op(
        "f32x4.splat",
        op(
          "f32.demote_f64",
          op(
            "f64.div",
            "(f64.const 1)",
            op("f64.sqrt", op("f64.add", mean("v_square"), `(f64.const ${epsilon})`)),
          ),
        ),
      ),
    ),
  ];
}

/** What one half of a vector, as f64x2, adds to a sum; `single` when its second lane is 0 for want of an entry. */
type Term = (half: string, single: boolean) => string | { readonly terms: Lines; readonly value: string };

/** Sums `term` over the row in float64, in `$v_<name>`: four sums in turn hide the latency of the additions. */
function addUp(width: number, name: string, term: Term): Lines {
  const target = (index: number): string => `v_${name}${index === 0 ? "" : `_${index}`}`;
  const addTo = (index: number, half: string, single: boolean): Lines => {
    const added = term(half, single);
    const { terms, value } = typeof added === "string" ? { terms: [], value: added } : added;
    return [...terms, set(target(index), op("f64x2.add", get(target(index)), value))];
  };
  const wide = (text: string): string => op("f64x2.promote_low_f32x4", text);
  const high = op(
    `i8x16.shuffle ${[8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15].join(" ")}`,
    get("v_x"),
    get("v_x"),
  );
  const whole = (vectors: number): Lines =>
    Array.from({ length: vectors }, (_, vector): Lines => [
      set("v_x", load("v128.load", get("at"), 16 * vector)),
      ...addTo(2 * vector, wide(get("v_x")), false),
      ...addTo(2 * vector + 1, wide(high), false),
    ]).flat();
  const [pairs, rest] = [Math.floor(width / 8), width % 8];
  const tail = rest % 4;
  return [
    ...[0, 1, 2, 3].map((index) => set(target(index), zeros)),
    set("at", get("x_row")),
    ...(pairs === 0 ? [] : countedLoop(`${name}s`, "turn", pairs, [...whole(2), advance("at", 32)])),
    ...(rest >= 4 ? [...whole(1), advance("at", 16)] : []),
    ...(tail >= 2 ? [...addTo(0, wide(load("v128.load64_zero", get("at"))), false)] : []),
    ...(tail % 2 === 1 ? [...addTo(1, wide(load("v128.load32_zero", get("at"), tail === 3 ? 8 : 0)), true)] : []),
    set(
      target(0),
      op("f64x2.add", op("f64x2.add", get(target(0)), get(target(1))), op("f64x2.add", get(target(2)), get(target(3)))),
    ),
  ];
}

/** Entries of the row in panels; reads past the row's end are not stored. */
function panels(plan: NormPlan): Lines {
  const { kind, width, hasGain, hasBias, panelColumns, finish } = plan;
  const vectors = panelColumns / 4;
  const body: Lines = [
    set("panel_column", get("column")),
    set("at", sum(get("x_row"), times(get("column"), 4))),
    ...(hasGain ? [set("gain_at", sum(get("gain"), times(get("column"), 4)))] : []),
    ...(hasBias ? [set("shift_at", sum(get("shift"), times(get("column"), 4)))] : []),
    ...Array.from({ length: vectors }, (_, vector) => {
      const x = load("v128.load", get("at"), 16 * vector);
      const centred = kind === "layer" ? op("f32x4.sub", x, get("v_mean")) : x;
      const unit = op("f32x4.mul", centred, get("v_scale"));
      const scaled = hasGain ? op("f32x4.mul", unit, load("v128.load", get("gain_at"), 16 * vector)) : unit;
      return set(
        `v_sum_0_${vector}`,
        hasBias ? op("f32x4.add", scaled, load("v128.load", get("shift_at"), 16 * vector)) : scaled,
      );
    }),
    ...finish.storeTile(1),
    advance("column", panelColumns),
  ];
  return [
    set("column", constant(0)),
    ...whileLoop("panels", op("i32.lt_u", get("column"), constant(width)), body),
  ];
}
