/**
 * Rounds the weights of many linears against their inputs, layer after layer: each layer sees what the quantized layers
 * before it produce ("true sequential"), and its own inputs as the run-time quantizer will round them. All samples go
 * through the graph once, side by side; what comes after the last linear is not computed.
 */

import { InvariantError } from "../../compiler/diagnostics.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { type PlainTensor, plainTensor, type QuantizedTensor } from "../../compiler/ir/tensor.ts";
import type { Matrix } from "../../compiler/numeric/linalg.ts";
import { decodeTensor } from "../../compiler/reference/held.ts";
import { linearRows } from "../../compiler/reference/rows.ts";
import { graphUpTo } from "../../compiler/reference/graph_up_to.ts";
import { FloatReference, type TensorRecord } from "../../compiler/reference/tfjs.ts";
import { asymmetricTarget } from "./asymmetric_target.ts";
import { coordinateDescent } from "./coordinate_descent.ts";
import { dampedFactor, defaultGptq, gptq } from "./gptq.ts";
import { InputRows, type Rows } from "./input_rows.ts";
import type { RowRounding } from "./round_rows.ts";
import { encodeOnGrid, freshGrid, tensorGrid } from "./tensor_grid.ts";

/** One linear: y = scale · x · weightsᵀ (+ bias). */
export interface SolveJob {
  /** The value that the linear makes. */
  readonly output: ValueName;
  readonly input: ValueName;
  /** [N, K]. */
  readonly weights: PlainTensor<"f32">;
  /** Steps, zero points and nearest codes of a matrix [N, k] of such weights: the grid that codes must lie on. */
  readonly fit: (weights: PlainTensor<"f32">) => QuantizedTensor;
  readonly scale: number;
  readonly bias?: PlainTensor<"f32">;
}

export interface SolveOptions {
  readonly solver: "gptq" | "descent";
  readonly damping: number;
  readonly activationOrder: boolean;
  /** gptq: fit a block's steps when the sweep reaches it, not beforehand; columns keep their order. */
  readonly freshSteps: boolean;
  /** Share of the correction for what quantized layers have done to the inputs (GPTAQ); 0 leaves it out. */
  readonly asymmetry: number;
  /** Sweeps of coordinate descent after (or, for `descent`, from round to nearest). */
  readonly sweeps: number;
  /** How the inputs will be rounded at run time; undefined leaves them float. */
  readonly input: RowRounding | undefined;
}

/** Quantized weights by the linear's output. */
export async function solveWeights(
  graph: Graph,
  jobs: readonly SolveJob[],
  samples: readonly TensorRecord[],
  options: SolveOptions,
  onProgress?: (fraction: number) => void,
): Promise<ReadonlyMap<ValueName, QuantizedTensor>> {
  const byOutput = new Map(jobs.map((job) => [job.output, job]));
  const inputs = new InputRows(jobs.map(({ input }) => input), samples.length, options.input);
  for (const { value } of graph.inputs) {
    if (inputs.wants(value)) throw new InvariantError(`%${value} is an input of the model: solve it as it is`);
  }
  const solved = new Map<ValueName, QuantizedTensor>();
  if (jobs.length === 0) return solved;
  const reference = await FloatReference.create(graphUpTo(graph, (value) => byOutput.has(value)));
  const side = options.asymmetry > 0 ? [...samples, ...samples] : samples;
  try {
    reference.runTogether(side, (_, value, read) => {
      const job = byOutput.get(value);
      if (job === undefined) {
        inputs.see(value, read);
        return undefined;
      }
      const rows = inputs.of(job.input);
      const weights = solveOne(job, rows, options);
      solved.set(value, weights);
      onProgress?.(solved.size / jobs.length);
      const outputs = [
        ...linears(rows.tensors, decodeTensor(weights), job),
        ...linears(rows.float, job.weights, job),
      ];
      inputs.release(job.input);
      // A linear may feed another one directly.
      inputs.see(value, () => outputs);
      return outputs;
    }, (value) => byOutput.has(value));
  } finally {
    reference.dispose();
  }
  return solved;
}

function linears(
  tensors: readonly PlainTensor<"f32">[],
  weights: PlainTensor<"f32">,
  { scale, bias }: SolveJob,
): readonly PlainTensor<"f32">[] {
  const whole = scale === 1 ? weights : plainTensor("f32", weights.shape, weights.data.map((value) => value * scale));
  return tensors.map((x) => linearRows(x, whole, bias));
}

function solveOne(job: SolveJob, rows: Rows, options: SolveOptions): QuantizedTensor {
  const target = targetOf(job, rows, options);
  const start = startOf(job, target, rows.hessian, options);
  if (options.sweeps === 0) return encodeOnGrid(start.grid, start.weights.entries);
  const polished = coordinateDescent(target, start.weights, rows.hessian, tensorGrid(start.grid), options.sweeps);
  return encodeOnGrid(start.grid, polished.entries);
}

/** The weights that the rounded ones should come near to. */
function targetOf(job: SolveJob, rows: Rows, { asymmetry, damping }: SolveOptions): Matrix {
  const weights = matrixOf(job.weights);
  if (rows.cross === undefined) return weights;
  const { upper } = dampedFactor({ ...rows.hessian, entries: rows.hessian.entries.slice() }, damping);
  return asymmetricTarget(weights, rows.cross, upper, asymmetry);
}

interface OnGrid {
  /** Steps and zero points; its codes are not those of `weights`. */
  readonly grid: QuantizedTensor;
  readonly weights: Matrix;
}

function startOf(job: SolveJob, target: Matrix, hessian: Matrix, options: SolveOptions): OnGrid {
  const nearest = job.fit(tensorOf(target));
  if (options.solver === "descent") return { grid: nearest, weights: matrixOf(decodeTensor(nearest)) };
  const fresh = options.freshSteps ? freshGrid(nearest, (run) => job.fit(tensorOf(run))) : undefined;
  const { weights } = gptq(target, hessian, fresh ?? tensorGrid(nearest), {
    damping: options.damping,
    activationOrder: options.activationOrder,
    lazyBlock: defaultGptq.lazyBlock,
  });
  return { grid: fresh?.fitted() ?? nearest, weights };
}

function matrixOf({ shape, data }: PlainTensor<"f32">): Matrix {
  return { rows: shape[0], columns: shape[1], entries: new Float64Array(data) };
}

function tensorOf({ rows, columns, entries }: Matrix): PlainTensor<"f32"> {
  return plainTensor("f32", [rows, columns], new Float32Array(entries));
}

/** Shape check for callers: a linear whose input is an input of the model cannot be solved in sequence. */
export function isSolvable(graph: Graph, job: Pick<SolveJob, "input">): boolean {
  return graph.inputs.every(({ value }) => value !== job.input);
}
