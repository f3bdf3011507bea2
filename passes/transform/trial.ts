/** Trials: what the rest of a recipe makes of a candidate, on a copy that leaves nothing behind. */

import { ConstantStore } from "../../compiler/ir/constants.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { isPlain } from "../../compiler/ir/tensor.ts";
import type { CalibrationData, PassStep } from "../../compiler/rewrite/pass.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import type { Selector } from "../../compiler/rewrite/selector.ts";
import type { Statistics } from "../../compiler/rewrite/statistics.ts";
import { FloatReference, type TensorRecord } from "../../compiler/reference/tfjs.ts";
import { clipWeights } from "./clip_weights.ts";

/** The same graph over a store of its own: constants that a trial makes go with it. */
export function scratchGraph(graph: Graph): Graph {
  return Object.freeze({ ...graph, constants: new ConstantStore(graph.constants) });
}

export interface TrialOptions {
  /** Options put in place of a step's own, where its pass has them. */
  readonly options: Readonly<Record<string, Json>>;
  /** Nodes to round, in place of the steps' own selectors. */
  readonly selector?: Selector;
}

/** Solvers cost minutes and choose codes; a search compares the grids that they start from. */
const withoutSolvers: Readonly<Record<string, Json>> = { solver: "nearest" };

/** Whether a step rounds, or measures for steps that do. A search for clips in every trial would cost ten times the trial. */
function rounds({ pass }: PassStep): boolean {
  if (pass === clipWeights) return false;
  return pass.exactness === "lossy" || pass.needs.includes("calibration");
}

/** Whether any later step rounds: without one, a search has nothing to compare. */
export function roundsLater(later: readonly PassStep[] | undefined): boolean {
  return later?.some(({ pass }) => pass.exactness === "lossy") === true;
}

/** The graph after the recipe's later rounding passes. */
export async function roundedTrial(
  graph: Graph,
  later: readonly PassStep[],
  calibration: CalibrationData,
  trial: TrialOptions = { options: {} },
): Promise<Graph> {
  let current = graph;
  let statistics: Statistics | undefined;
  const replaced = Object.entries({ ...withoutSolvers, ...trial.options });
  for (const step of later.filter(rounds)) {
    const own = replaced.filter(([name]) => Object.hasOwn(step.pass.options, name));
    const result = await step.pass.run(current, {
      options: { ...step.options, ...Object.fromEntries(own) },
      selector: trial.selector ?? step.selector,
      seed: 0,
      calibration,
      ...(statistics === undefined ? {} : { statistics }),
    });
    current = result.graph;
    statistics = result.statistics ?? statistics;
  }
  return current;
}

/** Outputs of a graph over samples, by the float reference. */
export async function outputsOf(graph: Graph, samples: readonly TensorRecord[]): Promise<readonly TensorRecord[]> {
  const reference = await FloatReference.create(graph);
  try {
    return samples.map((sample) => reference.run(sample));
  } finally {
    reference.dispose();
  }
}

/** Σ over outputs of Σ (y - ŷ)² / Σ y²: each output counts by its relative error. */
export function relativeError(wanted: readonly TensorRecord[], given: readonly TensorRecord[]): number {
  let sum = 0;
  for (const name of Object.keys(wanted[0] ?? {})) {
    let [error, power] = [0, 0];
    wanted.forEach((record, sample) => {
      const [y, other] = [record[name], given[sample][name]];
      if (!isPlain(y, "f32") || !isPlain(other, "f32")) return;
      for (let index = 0; index < y.data.length; index++) {
        error += (y.data[index] - other.data[index]) ** 2;
        power += y.data[index] ** 2;
      }
    });
    sum += power === 0 ? error : error / power;
  }
  return sum;
}
