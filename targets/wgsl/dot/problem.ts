/** What the dot families share: the geometry of a contraction, and the functions that its two kernels are made of. */

import type { ContractionResult } from "../../../compiler/ir/node.ts";
import type { Graph } from "../../../compiler/ir/graph.ts";
import type { Index } from "../../loops/program.ts";
import type { Region } from "../../region.ts";
import type { Finish } from "./finish.ts";
import type { RightForm } from "./right.ts";

/** How kernels read the left side. `codes`: four signed bytes a unit; `float`: four f32. */
export interface LeftForm {
  readonly kind: "codes" | "float";
  readonly name: string;
  /** Names of buffers that the functions load from. */
  readonly reads: readonly string[];
  /** `left(outer, row, unit)`; for codes also `left_step(outer, row)`, and `left_zero(outer, row)` where it is needed. */
  readonly functions: readonly string[];
  readonly zeros: boolean;
}

/** Rows times columns, `outer` times: once, or once a batch or group of channels. */
export interface DotProblem {
  readonly family: "matmul" | "conv";
  readonly region: Region;
  readonly graph: Graph;
  readonly algebra: readonly string[];
  readonly outer: number;
  /** Rows of one outer block, and the most that there can be. */
  readonly rows: Index;
  readonly rowsBound: number;
  /** Columns of one outer block. */
  readonly columns: number;
  /** Entries of the depth, and the units of four that hold them. */
  readonly depth: number;
  readonly units: number;
  readonly left: LeftForm;
  readonly right: RightForm | DynamicRight;
  readonly finish: Finish;
  readonly result: ContractionResult;
}

/** A right side that is no constant: f32, read where it lies. */
export interface DynamicRight {
  readonly kind: "dynamic";
  readonly name: string;
  readonly reads: readonly string[];
  readonly functions: readonly string[];
}

export type Declined = { readonly declined: string };
