/**
 * Rows of a norm over the last axis: moments in float64 over terms of float32, the row's scale (and mean) rounded to
 * float32 once, then every entry in float32. What follows the norm runs on the entries before they are stored, so a norm may end in codes.
 */

import type { OpAttributes } from "../../../compiler/ir/node.ts";
import type { Finish } from "../dot/finish.ts";
import type { RowSpace } from "../dot/rows.ts";
import { extentText } from "../dot/rows.ts";
import { shuffleWords } from "../attention/options.ts";
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

/** Entries of the widest panel: eight vectors are in flight. */
export const widestPanel = 32;

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
  const mean = (name: string): string => {
    const total = op("f64.add", op("f64x2.extract_lane 0", get(name)), op("f64x2.extract_lane 1", get(name)));
    return op("f64.div", total, `(f64.const ${width})`);
  };
  const everyLane = (value: string): string => op("f32x4.splat", op("f32.demote_f64", value));
  const square = (x: string): Lines => [
    set("v_term", isLayer ? op("f32x4.sub", x, get("v_mean")) : x),
    set("v_term", op("f32x4.mul", get("v_term"), get("v_term"))),
  ];
  const root = op("f64.sqrt", op("f64.add", mean("v_square"), `(f64.const ${epsilon})`));
  return [
    ...(isLayer ? [...addUp(width, "sum", (x) => [set("v_term", x)]), set("v_mean", everyLane(mean("v_sum")))] : []),
    ...addUp(width, "square", square),
    set("v_scale", everyLane(op("f64.div", "(f64.const 1)", root))),
  ];
}

/** Vectors whose terms are added in float32 before they join the sum in float64. */
const gathered = 4;

/**
 * Sums the terms of a row in `$v_<name>`, as two halves: four vectors at a time in float32, then in float64. `term` leaves
 * what a vector adds in `$v_term`; entries past the row are kept out of it.
 */
function addUp(width: number, name: string, term: (x: string) => Lines): Lines {
  const sumName = `v_${name}`;
  const whole = (vectors: number): Lines => [
    ...Array.from({ length: vectors }, (_, vector): Lines => [
      ...term(load("v128.load", get("at"), 16 * vector)),
      set("v_terms", vector === 0 ? get("v_term") : op("f32x4.add", get("v_terms"), get("v_term"))),
    ]).flat(),
    ...joinHalves(sumName, "v_terms"),
  ];
  const [turns, rest] = [Math.floor(width / (4 * gathered)), width % (4 * gathered)];
  const [vectors, tail] = [Math.floor(rest / 4), rest % 4];
  const mask = `(v128.const i32x4 ${[0, 1, 2, 3].map((lane) => (lane < tail ? -1 : 0)).join(" ")})`;
  return [
    set(sumName, zeros),
    set(`${sumName}_high`, zeros),
    set("at", get("x_row")),
    ...(turns === 0 ? [] : countedLoop(`${name}s`, "turn", turns, [...whole(gathered), advance("at", 16 * gathered)])),
    ...(vectors === 0 ? [] : [...whole(vectors), advance("at", 16 * vectors)]),
    ...(tail === 0 ? [] : [
      ...term(load("v128.load", get("at"))),
      set("v_terms", op("v128.and", get("v_term"), mask)),
      ...joinHalves(sumName, "v_terms"),
    ]),
    set(sumName, op("f64x2.add", get(sumName), get(`${sumName}_high`))),
  ];
}

/** Adds the four lanes of a float32 vector to two float64 sums, so that neither waits for the other. */
function joinHalves(total: string, terms: string): Lines {
  const wide = (text: string): string => op("f64x2.promote_low_f32x4", text);
  return [
    set(total, op("f64x2.add", get(total), wide(get(terms)))),
    set(`${total}_high`, op("f64x2.add", get(`${total}_high`), wide(shuffleWords([2, 3, 2, 3], terms, terms)))),
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
