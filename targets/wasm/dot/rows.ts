/** The rows of a contraction's result: how its leading axes become one or two loops, and how operands step along them. */

import { type Extent, extentBound, isStatic, multiplyExtents, type SymbolTable } from "../../../compiler/ir/extent.ts";

/**
 * The result is `outer` blocks of `rows` rows. Rows of a block are contiguous; blocks lie `rowsBound` rows apart (only
 * the outermost axis of a block may be symbolic, since strides are those of the bounds).
 */
export interface RowSpace {
  readonly outer: number;
  readonly rows: Extent;
  readonly rowsBound: number;
}

/** Strides of an operand that broadcasts to the result, in entries. */
export interface BroadcastStrides {
  readonly outer: number;
  readonly row: number;
  /** 1 when the operand varies along the columns, 0 otherwise. */
  readonly column: 0 | 1;
}

interface Split {
  readonly space: RowSpace;
  /** Axes before this one form the outer loop. */
  readonly axis: number;
}

/** Every way to split leading axes into outer blocks and rows, the one with most rows first. */
function splits(axes: readonly Extent[], symbols: SymbolTable): Split[] {
  const found: Split[] = [];
  let rows: Extent = 1;
  for (let axis = axes.length; axis >= 0; axis--) {
    if (axis < axes.length) {
      const extent = axes[axis];
      if (extent !== 1) {
        if (!isStatic(rows)) break;
        const product: Extent | undefined = multiplyExtents(rows, extent);
        if (product === undefined) break;
        rows = product;
      }
    }
    const before = axes.slice(0, axis);
    if (before.every(isStatic)) {
      const outer = before.reduce<number>((product, extent) => product * (isStatic(extent) ? extent : 1), 1);
      found.unshift({ space: { outer, rows, rowsBound: extentBound(rows, symbols) }, axis });
    }
  }
  return found;
}

/** Strides of an operand of `shape` against a result of `axes` and `columns` under a split; undefined when mixed. */
function stridesUnder(
  split: Split,
  axes: readonly Extent[],
  columns: number,
  shape: readonly Extent[],
): BroadcastStrides | undefined {
  const rank = axes.length + 1;
  const aligned: Extent[] = [...new Array<Extent>(rank - shape.length).fill(1), ...shape];
  const column = aligned[rank - 1] === 1 && columns !== 1 ? 0 : 1;
  const width = column === 1 ? columns : 1;
  const kind = (from: number, to: number): "full" | "none" | "mixed" => {
    let full = true;
    let none = true;
    for (let axis = from; axis < to; axis++) {
      if (axes[axis] === 1) continue;
      if (aligned[axis] === 1) full = false;
      else none = false;
    }
    return none ? "none" : full ? "full" : "mixed";
  };
  const rows = kind(split.axis, axes.length);
  const outer = kind(0, split.axis);
  if (rows === "mixed" || outer === "mixed") return undefined;
  return {
    row: rows === "full" ? width : 0,
    outer: outer === "none" ? 0 : rows === "full" ? width * split.space.rowsBound : width,
    column,
  };
}

/**
 * The row space of a result of leading `axes` and `columns`, with the strides of the broadcast operands; undefined when
 * no split serves them all. The first `outerAxes` axes stay in the outer loop.
 */
export function rowSpace(
  axes: readonly Extent[],
  columns: number,
  operands: readonly (readonly Extent[])[],
  symbols: SymbolTable,
  outerAxes = 0,
): { readonly space: RowSpace; readonly strides: readonly BroadcastStrides[] } | undefined {
  for (const split of splits(axes, symbols)) {
    if (split.axis < outerAxes) continue;
    const strides = operands.map((shape) => stridesUnder(split, axes, columns, shape));
    if (strides.every((entry) => entry !== undefined)) return { space: split.space, strides };
  }
  return undefined;
}

/** WebAssembly text of an extent: a constant or an affine function of the symbol's global. */
export function extentText(extent: Extent): string {
  if (isStatic(extent)) return `(i32.const ${extent})`;
  const symbol = `(global.get $${extent.symbol})`;
  const scaled = extent.factor === 1 ? symbol : `(i32.mul ${symbol} (i32.const ${extent.factor}))`;
  return extent.offset === 0 ? scaled : `(i32.add ${scaled} (i32.const ${extent.offset}))`;
}
