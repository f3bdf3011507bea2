/** The core part of a transform: y[i'] = Σ_i core[i, i'] x[i] over blocks of `lanes` entries that stay side by side. */

import { multiplyAdd } from "../dot/float.ts";
import type { WasmVariant } from "../kernel.ts";
import {
  advance,
  constant,
  countedLoop,
  get,
  ifThen,
  type Lines,
  load,
  op,
  plus,
  repeatWhile,
  set,
  store,
  sum,
} from "../text.ts";

/** Blocks of the result that are summed at once. */
export const coreTile = 4;

const zeros = "(v128.const f32x4 0 0 0 0)";

/** The core in panels of four columns, [panels][order][4] f32, the last one padded with zeros. */
export function packCore(core: ArrayLike<number>, order: number): Uint8Array<ArrayBuffer> {
  const panels = Math.ceil(order / coreTile);
  const out = new Float32Array(panels * order * coreTile);
  for (let from = 0; from < order; from++) {
    for (let to = 0; to < order; to++) {
      out[(Math.floor(to / coreTile) * order + from) * coreTile + to % coreTile] = core[from * order + to];
    }
  }
  return new Uint8Array(out.buffer);
}

/** One run from `$<from>` to `$y_at`; `lanes` is 4 or more. A last vector that is not whole overlaps the one before. */
export function mixBlocks(order: number, lanes: number, from: string, variant: WasmVariant): Lines {
  const pairs = Math.floor(lanes / 8);
  const rest = lanes - 8 * pairs;
  const tail: Lines = [
    ...(rest >= 4 ? [...mixLanes(order, lanes, 1, variant), ...moveLanes(4)] : []),
    // What overlaps is summed again, to the same bits.
    ...(rest % 4 === 0 ? [] : [...moveLanes(rest % 4 - 4), ...mixLanes(order, lanes, 1, variant), ...moveLanes(4)]),
  ];
  return [
    set("panel", get("core")),
    set("to", get("y_at")),
    set("left", constant(order)),
    ...repeatWhile("panels", op("i32.gt_s", get("left"), constant(0)), [
      set("from", get(from)),
      ...(pairs === 0
        ? []
        : countedLoop("lanes", "lane", pairs, [...mixLanes(order, lanes, 2, variant), ...moveLanes(8)])),
      ...tail,
      advance("panel", 4 * coreTile * order),
      // The lanes have moved `to` on by one block.
      advance("to", 4 * (coreTile - 1) * lanes),
      advance("left", -coreTile),
    ]),
  ];
}

function moveLanes(entries: number): Lines {
  return [advance("from", 4 * entries), advance("to", 4 * entries)];
}

/** Four blocks of the result at `$to`, `vectors` vectors of each. */
function mixLanes(order: number, lanes: number, vectors: number, variant: WasmVariant): Lines {
  const total = (block: number, vector: number) => `v_sum_${block}_${vector}`;
  const every = <T>(body: (block: number, vector: number) => T): T[] =>
    Array.from({ length: coreTile * vectors }, (_, index) => body(Math.floor(index / vectors), index % vectors));
  const storeBlock = (block: number): Lines =>
    Array.from(
      { length: vectors },
      (_, vector) => store("v128.store", get("to"), get(total(block, vector)), 4 * block * lanes + 16 * vector),
    );
  const last = order % coreTile;
  const stores = (count: number) => Array.from({ length: count }, (_, block) => storeBlock(block)).flat();
  return [
    ...every((block, vector) => set(total(block, vector), zeros)),
    set("at", get("from")),
    set("gains", get("panel")),
    set("gains_end", plus(get("panel"), 4 * coreTile * order)),
    ...repeatWhile("terms", op("i32.lt_u", get("gains"), get("gains_end")), [
      ...Array.from(
        { length: vectors },
        (_, vector) => set(`v_x_${vector}`, load("v128.load", get("at"), 16 * vector)),
      ),
      ...Array.from({ length: coreTile }, (_, block) => block).flatMap((block) => [
        set("v_gain", load("v128.load32_splat", get("gains"), 4 * block)),
        ...Array.from(
          { length: vectors },
          (_, vector) =>
            set(
              total(block, vector),
              multiplyAdd(variant, get(`v_x_${vector}`), get("v_gain"), get(total(block, vector))),
            ),
        ),
      ]),
      set("at", sum(get("at"), constant(4 * lanes))),
      advance("gains", 4 * coreTile),
    ]),
    ...(last === 0
      ? stores(coreTile)
      : ifThen(op("i32.ge_s", get("left"), constant(coreTile)), stores(coreTile), stores(last))),
  ];
}
