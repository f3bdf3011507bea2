/**
 * Rounds the weights of many linears against their inputs, layer after layer: each layer sees what the quantized layers
 * before it produce ("true sequential"), and its own inputs as the run-time quantizer will round them.
 */

import { InvariantError } from "../../compiler/diagnostics.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { isPlain, type PlainTensor, plainTensor, type QuantizedTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import { type Matrix, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import { gramOf, linearRows } from "../../compiler/reference/rows.ts";
import { FloatReference, type TensorRecord } from "../../compiler/reference/tfjs.ts";
import { coordinateDescent } from "./coordinate_descent.ts";
import { roundRows, type RowRounding } from "./round_rows.ts";
import { decodeWeights, encodeOnGrid, tensorGrid } from "./tensor_grid.ts";
import { gptq } from "./gptq.ts";

/** One linear: y = x · weightsᵀ (+ bias), with the grid (steps and zero points) that its codes must lie on. */
export interface SolveJob {
  /** The value that the linear makes. */
  readonly output: ValueName;
  readonly input: ValueName;
  /** [N, K]. */
  readonly weights: PlainTensor<"f32">;
  readonly grid: QuantizedTensor;
  /** The result is multiplied by it; `weights` and `grid` are those divided by it. */
  readonly scale: number;
  readonly bias?: PlainTensor<"f32">;
}

export interface SolveOptions {
  readonly solver: "gptq" | "descent";
  readonly damping: number;
  readonly activationOrder: boolean;
  /** Sweeps of coordinate descent after (or, for `descent`, from round to nearest). */
  readonly sweeps: number;
  /** How the inputs will be rounded at run time; undefined leaves them float. */
  readonly input: RowRounding | undefined;
}

/** Quantized weights by the linear's output. `samples` go through the graph side by side, once. */
export async function solveWeights(
  graph: Graph,
  jobs: readonly SolveJob[],
  samples: readonly TensorRecord[],
  options: SolveOptions,
  onProgress?: (fraction: number) => void,
): Promise<ReadonlyMap<ValueName, QuantizedTensor>> {
  const byOutput = new Map(jobs.map((job) => [job.output, job]));
  const inputs = new InputRows(graph, jobs, options);
  const solved = new Map<ValueName, QuantizedTensor>();
  const reference = await FloatReference.create(graph);
  for (const { value } of graph.inputs) inputs.requireNot(value);
  try {
    reference.runTogether(samples, (_, value, read) => {
      inputs.see(value, read);
      const job = byOutput.get(value);
      if (job === undefined) return undefined;
      const rows = inputs.of(job.input);
      const weights = solveOne(job, rows.hessian, options);
      solved.set(value, weights);
      onProgress?.(solved.size / jobs.length);
      const real = scaledBy(decodeWeights(weights), job.scale);
      const outputs = rows.tensors.map((x) => linearRows(x, real, job.bias));
      inputs.release(job.input);
      // A linear may feed another one directly: it must see the revised rows.
      inputs.see(value, () => outputs);
      return outputs;
    });
  } finally {
    reference.dispose();
  }
  return solved;
}

function scaledBy(tensor: PlainTensor<"f32">, scale: number): PlainTensor<"f32"> {
  return scale === 1 ? tensor : plainTensor("f32", tensor.shape, tensor.data.map((value) => value * scale));
}

function solveOne(job: SolveJob, hessian: Matrix, options: SolveOptions): QuantizedTensor {
  const [rows, columns] = job.weights.shape;
  const weights: Matrix = { rows, columns, entries: Float64Array.from(job.weights.data) };
  const grid = tensorGrid(job.grid);
  const nearest: Matrix = { rows, columns, entries: Float64Array.from(decodeWeights(job.grid).data) };
  const start = options.solver === "gptq"
    ? gptq(weights, { ...hessian, entries: hessian.entries.slice() }, grid, {
      damping: options.damping,
      activationOrder: options.activationOrder,
      lazyBlock: 128,
    }).weights
    : nearest;
  const polished = options.sweeps > 0 ? coordinateDescent(weights, start, hessian, grid, options.sweeps) : start;
  return encodeOnGrid(job.grid, polished.entries);
}

interface Rows {
  readonly tensors: readonly PlainTensor<"f32">[];
  readonly hessian: Matrix;
  /** Jobs that still want them. */
  readonly readers: number;
}

/** Rows of the values that linears read, kept until the last of them is solved. */
class InputRows {
  readonly #wanted = new Map<ValueName, number>();
  readonly #rows = new Map<ValueName, Rows>();

  constructor(readonly graph: Graph, jobs: readonly SolveJob[], readonly options: SolveOptions) {
    for (const { input } of jobs) this.#wanted.set(input, (this.#wanted.get(input) ?? 0) + 1);
  }

  /** Inputs of the graph are never seen by `see`. */
  requireNot(value: ValueName): void {
    if (this.#wanted.has(value)) throw new InvariantError(`%${value} is an input of the model: solve it as it is`);
  }

  see(value: ValueName, read: () => readonly Tensor[]): void {
    const readers = this.#wanted.get(value);
    if (readers === undefined) return;
    const tensors = roundRows(read().filter((tensor) => isPlain(tensor, "f32")), this.options.input);
    this.#rows.set(value, { tensors, hessian: hessianOf(tensors), readers });
  }

  of(value: ValueName): Rows {
    const rows = this.#rows.get(value);
    if (rows === undefined) throw new InvariantError(`%${value} has not been seen`);
    return rows;
  }

  release(value: ValueName): void {
    const { readers, ...rest } = this.of(value);
    if (readers > 1) this.#rows.set(value, { ...rest, readers: readers - 1 });
    else this.#rows.delete(value);
  }
}

/** H = (2 / n) Σ x xᵀ over all rows. */
function hessianOf(tensors: readonly PlainTensor<"f32">[]): Matrix {
  const columns = tensors[0].shape[tensors[0].shape.length - 1];
  const count = tensors.reduce((sum, tensor) => sum + tensor.data.length / columns, 0);
  const hessian = zeroMatrix(columns, columns);
  for (const tensor of tensors) {
    const gram = gramOf(tensor);
    for (let index = 0; index < gram.length; index++) hessian.entries[index] += (2 / count) * gram[index];
  }
  return hessian;
}

/** Shape check for callers: a linear whose input is an input of the model cannot be solved in sequence. */
export function isSolvable(graph: Graph, job: Pick<SolveJob, "input">): boolean {
  return graph.inputs.every(({ value }) => value !== job.input);
}
