/** The loops that every dot kernel shares: blocks of rows, panels of columns, tiles of rows inside. */

import { isStatic } from "../../../compiler/ir/extent.ts";
import type { WasmVariant } from "../kernel.ts";
import {
  advance,
  constant,
  countedLoop,
  get,
  ifThen,
  type Lines,
  minimum,
  op,
  plus,
  repeatWhile,
  set,
  sum,
  times,
  whileLoop,
} from "../text.ts";
import type { Finish } from "./finish.ts";
import type { RowSpace } from "./rows.ts";

/**
 * The arithmetic of one family. Panels hold `panelColumns` columns of the weights in `panelBytes` bytes, one after the
 * other. `tile` reads rows at `$x` (`rowBytes` apart) and the panel at `$panel`, and leaves the sums of row R and columns
 * 4C..4C+3 in `$v_sum_R_C`.
 */
export interface DotCore {
  readonly panelColumns: number;
  readonly panelBytes: number;
  /** Bytes between the rows that tiles read. */
  readonly rowBytes: number;
  readonly tileRows: number;
  readonly tile: (rows: number) => Lines;
  /** Absent when tiles read the operand in place, which then starts at `$a`. */
  readonly prepare?: Preparation;
  /** Runs before the tiles of a panel of a block of rows. */
  readonly beginPanel?: Lines;
}

/** Rows of the operand in the form that tiles read, one after the other in scratch. */
export interface Preparation {
  /** Runs before the rows from `$block` on. */
  readonly begin: Lines;
  /** Fills one row at `$prepared` from row `$source_row` of the whole operand. */
  readonly row: Lines;
  /** Goes on to the next row. */
  readonly next: Lines;
}

export interface DotLoops {
  readonly core: DotCore;
  readonly finish: Finish;
  readonly space: RowSpace;
  /** Columns of a group; panels never reach over two groups. */
  readonly columns: number;
  readonly groups: number;
  /** Rows that are prepared at a time; all of them are read in place where nothing is prepared. */
  readonly rowBlock: number;
  /** Runs at the start of every outer block. */
  readonly beginOuter?: Lines;
  /** Most rows that this code runs for; fewer tiles are printed when it is small. */
  readonly rowLimit?: number;
}

/** Bytes of prepared rows that stay near: half of a usual second-level cache. */
const nearBytes = 256 * 1024;

/** Rows to prepare at a time: a whole number of tiles whose bytes stay near. */
export function rowBlockOf(space: RowSpace, rowBytes: number, tileRows: number): number {
  const fitting = Math.max(1, Math.floor(nearBytes / Math.max(1, rowBytes) / tileRows)) * tileRows;
  return Math.min(fitting, space.rowsBound);
}

/** The body that runs a core over all rows and panels. `$rows` holds the number of rows of an outer block. */
export function dotLoops(loops: DotLoops): Lines {
  const { core, space, columns, rowBlock } = loops;
  const panels = Math.ceil(columns / core.panelColumns);
  const perGroup: Lines = [
    ...(core.prepare === undefined ? [] : prepareRows(core.prepare, core.rowBytes, space)),
    set("panel_column", constant(0)),
    ...panelLoop(panels, core, [...(core.beginPanel ?? []), ...tiles(loops)]),
  ];
  const perBlock: Lines = [
    set("panel", get("weights")),
    ...(loops.groups === 1 ? perGroup : countedLoop("groups", "group_index", loops.groups, perGroup)),
  ];
  const whole = rowBlock >= space.rowsBound;
  const blocks: Lines = whole ? [set("block", constant(0)), set("block_end", get("rows")), ...perBlock] : [
    set("block", constant(0)),
    ...whileLoop("blocks", `(i32.lt_u ${get("block")} ${get("rows")})`, [
      set("block_end", plus(get("block"), rowBlock)),
      set("block_end", minimum(get("block_end"), get("rows"))),
      ...perBlock,
      set("block", get("block_end")),
    ]),
  ];
  const begin = loops.beginOuter ?? [];
  if (space.outer === 1) return [set("outer_row", constant(0)), set("outer", constant(0)), ...begin, ...blocks];
  return [
    set("outer", constant(0)),
    ...whileLoop("outer_blocks", `(i32.lt_u ${get("outer")} ${constant(space.outer)})`, [
      set("outer_row", times(get("outer"), space.rowsBound)),
      ...begin,
      ...blocks,
      advance("outer", 1),
    ]),
  ];
}

function panelLoop(panels: number, core: DotCore, body: Lines): Lines {
  const end = panels * core.panelColumns;
  return repeatWhile("panels", op("i32.lt_u", get("panel_column"), constant(end)), [
    ...body,
    advance("panel", core.panelBytes),
    advance("panel_column", core.panelColumns),
  ]);
}

function prepareRows(prepare: Preparation, rowBytes: number, space: RowSpace): Lines {
  const one = [set("source_row", sum(get("outer_row"), get("row"))), ...prepare.row];
  const lines: Lines = [set("row", get("block")), set("prepared", get("scratch")), ...prepare.begin];
  if (space.rows === 1) return [...lines, ...one];
  return [
    ...lines,
    ...whileLoop("prepare_rows", `(i32.lt_u ${get("row")} ${get("block_end")})`, [
      ...one,
      ...prepare.next,
      advance("prepared", rowBytes),
      advance("row", 1),
    ]),
  ];
}

/** Row tiles of a panel: full ones, then pairs and single rows. */
function tiles(loops: DotLoops): Lines {
  const { core, space } = loops;
  const limit = Math.min(loops.rowLimit ?? Infinity, space.rowsBound);
  const start = core.prepare === undefined
    ? sum(get("a"), times(sum(get("outer_row"), get("block")), core.rowBytes))
    : get("scratch");
  const column = loops.groups === 1
    ? get("panel_column")
    : sum(times(get("group_index"), loops.columns), get("panel_column"));
  const lines: (string | Lines)[] = [set("column", column), set("row", get("block")), set("x", start)];
  const sizes = tileSizes(loops, limit);
  const { shared } = loops.finish;
  const next = (size: number): Lines => [advance("row", size), advance("x", size * core.rowBytes)];
  const here = set("row_at", sum(get("outer_row"), get("row")));
  const fits = (size: number): string => op("i32.le_u", plus(get("row"), size), get("block_end"));
  if (shared !== undefined && sizes.length > 1) {
    // The store is printed once, behind a choice of tiles.
    const choose = (index: number): Lines => {
      const size = sizes[index];
      const tile = [...core.tile(size), ...shared.keep(size)];
      return index === sizes.length - 1 ? tile : ifThen(fits(size), tile, choose(index + 1));
    };
    const body = [
      here,
      ...choose(0),
      ...shared.store,
      set("row", sum(get("row"), get("tile_rows"))),
      set("x", sum(get("x"), times(get("tile_rows"), core.rowBytes))),
    ];
    lines.push(...whileLoop("tiles", op("i32.lt_u", get("row"), get("block_end")), body));
    return lines;
  }
  for (const size of sizes) {
    const body = [here, ...core.tile(size), ...loops.finish.storeTile(size), ...next(size)];
    if (limit === 1) lines.push(...body);
    else lines.push(...whileLoop(`tiles_of_${size}`, fits(size), body));
  }
  return lines;
}

/** Sizes of tiles, largest first, ending in 1 unless the row count is static and never needs it. */
function tileSizes(loops: DotLoops, limit: number): number[] {
  const { core, space, rowBlock } = loops;
  const largest = Math.min(core.tileRows, limit);
  const blocks = isStatic(space.rows) ? [Math.min(rowBlock, space.rows), space.rows % rowBlock] : undefined;
  const sizes = [largest];
  let rests = blocks?.map((rows) => rows % largest);
  for (const size of largest > 2 ? [2, 1] : [1]) {
    if (size >= largest || (rests !== undefined && rests.every((rest) => rest < size))) continue;
    sizes.push(size);
    rests = rests?.map((rest) => rest % size);
  }
  return sizes;
}

export type CoreOf = (variant: WasmVariant) => DotCore;
