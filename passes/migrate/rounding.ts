/** The nodes that round a divided activation: codes held as numbers until the weights are codes too. */

import { binary, compare, type Expression, input, literal, select, unary } from "../../compiler/ir/expression.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, plainTensor } from "../../compiler/ir/tensor.ts";
import type { Inserter } from "../transform/weight_editor.ts";
import type { Positions } from "../sink/positions.ts";
import { rowSteps, type SinkOptions, sinkTop } from "../sink/row_steps.ts";

export interface Rounding {
  /** Largest code; codes reach one further below zero. */
  readonly top: number;
  /** What the activation is multiplied by, per column, where its steps could not move into what makes it. */
  readonly factors?: Float64Array;
  /** Whole numbers per column, added before rounding and taken off after. */
  readonly zeros?: Float64Array;
  /** The column that each column of the codes takes. */
  readonly sources?: Int32Array<ArrayBuffer>;
  /** Rows at the first positions take steps of their own. */
  readonly sink?: { readonly positions: Positions; readonly options: SinkOptions };
}

/**
 * clamp(round(x · f + z), -top - 1, top) - z of the chosen columns. At the sink x · f + z is divided by the row's step before
 * rounding and multiplied by it after.
 */
export function roundedValue(inserter: Inserter, value: ValueName, rounding: Rounding): ValueName {
  const { factors, zeros, sources, top, sink } = rounding;
  const vector = (entries: Float64Array, name: string) =>
    inserter.constant(floatTensor([entries.length], entries), name);
  const divided = factors === undefined
    ? value
    : inserter.add("map", [value, vector(factors, "inverse_steps")], product, `${value}.divided`);
  const gathered = sources === undefined ? divided : inserter.add(
    "gather",
    [divided, inserter.constant(plainTensor("i32", [sources.length], sources), "copies")],
    { axis: inserter.typeOf(value).shape.length - 1 },
    `${value}.copies`,
  );
  const offsets = zeros === undefined || sources === undefined
    ? zeros
    : Float64Array.from(sources, (source) => zeros[source]);
  const zero = offsets === undefined ? undefined : vector(offsets, "zeros");
  const shifted = zero === undefined
    ? gathered
    : inserter.add("map", [gathered, zero], { expression: binary("add", input(0), input(1)) }, `${value}.shifted`);
  const codes = sink === undefined
    ? roundAll(inserter, shifted, top, value)
    : roundRows(inserter, shifted, top, sink, value);
  if (zero === undefined) return codes;
  return inserter.add("map", [codes, zero], { expression: binary("sub", input(0), input(1)) }, `${value}.unshifted`);
}

const product = { expression: binary("mul", input(0), input(1)) };

function roundAll(inserter: Inserter, value: ValueName, top: number, name: string): ValueName {
  const expression = clamped(unary("round", input(0)), literal(-top - 1), literal(top));
  return inserter.add("map", [value], { expression }, `${name}.codes`);
}

/** Codes times the row's step, which is 1 but at the sink: there the row has 8 bits of its own. */
function roundRows(
  inserter: Inserter,
  value: ValueName,
  top: number,
  { positions, options }: NonNullable<Rounding["sink"]>,
  name: string,
): ValueName {
  const { shape } = inserter.typeOf(value);
  const { mask, steps } = rowSteps(inserter, value, shape, positions, 1, options);
  const limit = (inside: number, atSink: number) =>
    select(compare("gt", input(2), literal(0)), literal(atSink), literal(inside));
  const rounded = unary("round", binary("div", input(0), input(1)));
  const expression = clamped(rounded, limit(-top - 1, -sinkTop - 1), limit(top, sinkTop));
  const codes = inserter.add("map", [value, steps, mask], { expression }, `${name}.codes`);
  return inserter.add("map", [codes, steps], product, `${name}.rows`);
}

function clamped(x: Expression, low: Expression, high: Expression): Expression {
  return binary("min", binary("max", x, low), high);
}
