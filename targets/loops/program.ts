/** The scalar-loop form: a small language of buffers, loops and scalar expressions that every target prints. */

import type { ElementType } from "../../compiler/numeric/element.ts";
import type { BinaryOperator, ComparisonOperator, UnaryOperator } from "../../compiler/ir/expression.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import type { TensorRole } from "../../compiler/ir/tensor.ts";

/** Which array of a value or state a buffer is; see the memory contract of each target. */
export type BufferPart = TensorRole;

export type BufferSource =
  | { readonly kind: "value"; readonly value: ValueName }
  | { readonly kind: "state"; readonly state: string };

/** An array that outlives the program. `extent` counts entries over the bounds of the symbols. */
export interface LoopBuffer {
  /** Role in the algebra (`x`, `gain`), unique in the program. */
  readonly name: string;
  readonly source: BufferSource;
  readonly part: BufferPart;
  readonly element: ElementType;
  readonly extent: number;
  readonly access: "read" | "write" | "readWrite";
}

/**
 * Integer arithmetic of positions: i32, wrapping. A plain number is a constant. `div` and `rem` are floor division and
 * its remainder for x >= 0 and y > 0 (undefined otherwise). `symbol` is a symbol of the graph.
 */
export type Index =
  | number
  | { readonly kind: "variable"; readonly name: string }
  | { readonly kind: "symbol"; readonly name: string }
  | { readonly kind: IndexOperator; readonly x: Index; readonly y: Index }
  | { readonly kind: "scalar"; readonly x: Scalar };

export type IndexOperator = "add" | "mul" | "div" | "rem" | "min" | "max";

/**
 * A value of one element type. Operators mean what they mean in an Expression of the IR, in the element of their
 * operands: f16 and bf16 round after every operator. `reinterpret` keeps the 32 bits (f32 <-> i32). `table` is
 * `values[x]` for an integer x within the table.
 */
export type Scalar = { readonly element: ElementType } & ScalarForm;

type ScalarForm =
  | { readonly kind: "literal"; readonly value: number | bigint }
  | { readonly kind: "variable"; readonly name: string }
  | { readonly kind: "load"; readonly buffer: string; readonly index: Index }
  | { readonly kind: "index"; readonly index: Index }
  | { readonly kind: "unary"; readonly operator: UnaryOperator; readonly x: Scalar }
  | { readonly kind: "binary"; readonly operator: BinaryOperator; readonly x: Scalar; readonly y: Scalar }
  | { readonly kind: "compare"; readonly operator: ComparisonOperator; readonly x: Scalar; readonly y: Scalar }
  | { readonly kind: "select"; readonly condition: Scalar; readonly x: Scalar; readonly y: Scalar }
  | { readonly kind: "cast"; readonly x: Scalar }
  | { readonly kind: "reinterpret"; readonly x: Scalar }
  | { readonly kind: "table"; readonly values: readonly number[]; readonly x: Scalar };

/**
 * What a target may do with the iterations of a loop.
 * `independent`: any order, at once: no iteration reads or writes what another writes, and no outer variable is assigned.
 * `reduction`: any order, in lanes: iterations meet only in variables, each assigned once as `v = operator(v, e)` with
 * add, mul, min, max, and, or, or as `v < e ? e : v` or `v > e ? e : v` (extremes that pass NaN over); what they store is their own. Float sums so regrouped stay within n * 2^-24 * Σ|terms| of the exact sum (f32, n terms).
 * `sequential`: in order.
 */
export type LoopOrder = "independent" | "reduction" | "sequential";

export type Statement =
  /** Runs `body` with `variable` = from, from + 1, ... while below `to`; both are read once. */
  | {
    readonly kind: "for";
    readonly variable: string;
    readonly from: Index;
    readonly to: Index;
    readonly order: LoopOrder;
    readonly body: readonly Statement[];
  }
  /** Declares a variable of the rest of the enclosing body and sets it. i32 variables may stand in an Index. */
  | { readonly kind: "let"; readonly variable: string; readonly value: Scalar }
  | { readonly kind: "assign"; readonly variable: string; readonly value: Scalar }
  | { readonly kind: "store"; readonly buffer: string; readonly index: Index; readonly value: Scalar }
  | {
    readonly kind: "if";
    readonly condition: Scalar;
    readonly then: readonly Statement[];
    readonly else: readonly Statement[];
  }
  /** Declares a private array of the rest of the enclosing body, contents undefined. */
  | { readonly kind: "array"; readonly name: string; readonly element: ElementType; readonly extent: number };

export interface LoopProgram {
  /** The op, and what sets the shape of the code: `softmax`, `conv`. */
  readonly name: string;
  /** The kernel's algebra, one line an equation. */
  readonly algebra: readonly string[];
  readonly buffers: readonly LoopBuffer[];
  readonly body: readonly Statement[];
}
