/** Rows of the values that linears read, with the sums over them that solvers want, kept until their last reader is solved. */

import { InvariantError } from "../../compiler/diagnostics.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { isPlain, type PlainTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import { addProduct, rowMajor, transposed } from "../../compiler/numeric/dense/product.ts";
import { addGram, type Matrix, mirror, viewOf, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import { roundRows, type RowRounding } from "./round_rows.ts";

export interface Rows {
  /** x̂: what the quantized layers make, rounded as the quantizer in front of the linear will. One tensor a sample. */
  readonly tensors: readonly PlainTensor<"f32">[];
  /** x: what the float layers make; empty unless samples ran beside their float twins. */
  readonly float: readonly PlainTensor<"f32">[];
  /** (2 / n) Σ x̂ x̂ᵀ. */
  readonly hessian: Matrix;
  /** (2 / n) Σ (x - x̂) x̂ᵀ; undefined without float twins. */
  readonly cross: Matrix | undefined;
}

interface HeldRows extends Rows {
  /** Linears that still want them. */
  readonly readers: number;
}

export class InputRows {
  readonly #wanted = new Map<ValueName, number>();
  readonly #rows = new Map<ValueName, HeldRows>();

  /** `samples`: how many of a value's tensors come from quantized layers; those after them are float twins. */
  constructor(wanted: readonly ValueName[], readonly samples: number, readonly rounding: RowRounding | undefined) {
    for (const input of wanted) this.#wanted.set(input, (this.#wanted.get(input) ?? 0) + 1);
  }

  wants(value: ValueName): boolean {
    return this.#wanted.has(value);
  }

  see(value: ValueName, read: () => readonly Tensor[]): void {
    const readers = this.#wanted.get(value);
    if (readers === undefined) return;
    const all = read().filter((tensor) => isPlain(tensor, "f32"));
    const tensors = roundRows(all.slice(0, this.samples), this.rounding);
    const float = all.slice(this.samples);
    const cross = float.length === 0 ? undefined : crossOf(float, tensors);
    this.#rows.set(value, { tensors, float, hessian: hessianOf(tensors), cross, readers });
  }

  of(value: ValueName): Rows {
    return this.#held(value);
  }

  release(value: ValueName): void {
    const { readers, ...rest } = this.#held(value);
    if (readers > 1) this.#rows.set(value, { ...rest, readers: readers - 1 });
    else this.#rows.delete(value);
  }

  #held(value: ValueName): HeldRows {
    const rows = this.#rows.get(value);
    if (rows === undefined) throw new InvariantError(`%${value} has not been seen`);
    return rows;
  }
}

function widthOf(tensors: readonly PlainTensor<"f32">[]): { readonly columns: number; readonly count: number } {
  const columns = tensors[0].shape[tensors[0].shape.length - 1];
  return { columns, count: tensors.reduce((sum, { data }) => sum + data.length / columns, 0) };
}

function hessianOf(tensors: readonly PlainTensor<"f32">[]): Matrix {
  const { columns, count } = widthOf(tensors);
  const hessian = zeroMatrix(columns, columns);
  for (const { data } of tensors) addGram(hessian, data, data.length / columns, 2 / count);
  mirror(hessian);
  return hessian;
}

function crossOf(float: readonly PlainTensor<"f32">[], rounded: readonly PlainTensor<"f32">[]): Matrix {
  const { columns, count } = widthOf(rounded);
  const cross = zeroMatrix(columns, columns);
  rounded.forEach(({ data }, sample) => {
    const difference = float[sample].data.map((value, at) => value - data[at]);
    const rows = data.length / columns;
    addProduct(viewOf(cross), transposed(rowMajor(difference, rows, columns)), rowMajor(data, rows, columns), {
      gain: 2 / count,
      precision: "f32",
    });
  });
  return cross;
}
