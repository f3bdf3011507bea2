/** Runs a recipe over a graph: pass after pass, each result verified. */

import {
  type Diagnostic,
  DiagnosticError,
  errorDiagnostic,
  failure,
  InvariantError,
  nearestName,
} from "../diagnostics.ts";
import { type Outcome, success } from "../diagnostics.ts";
import { type Graph, levels } from "../ir/graph.ts";
import { printGraph } from "../ir/print.ts";
import { typeRules } from "../ir/type_rules.ts";
import { verify } from "../ir/verify.ts";
import type { CalibrationData, Pass, PassResult } from "../rewrite/pass.ts";
import { findRegions } from "../rewrite/region/find.ts";
import type { Regions } from "../rewrite/region/region.ts";
import type { Declined } from "../rewrite/rule.ts";
import { matchesPattern } from "../rewrite/selector.ts";
import type { Statistics } from "../rewrite/statistics.ts";
import { preparation } from "../../passes/mod.ts";
import { passOf, resolveRecipe } from "./resolve.ts";
import type { Recipe, RecipeStep } from "./schema.ts";

const opNames: ReadonlySet<string> = new Set(Object.keys(typeRules));

export interface ApplyOptions {
  readonly calibration?: CalibrationData;
  /** Called as the work goes on: the pass at hand and the fraction of the whole that is done. */
  readonly onProgress?: (progress: { readonly pass: string; readonly fraction: number }) => void;
}

/** What one pass did. */
export interface PassLog {
  readonly pass: string;
  readonly exactness: Pass["exactness"];
  /** Rewrites made: the rule, and the source names that it touched. */
  readonly applied: readonly { readonly rule: string; readonly origin: readonly string[] }[];
  readonly declined: readonly Declined[];
  readonly metrics: Readonly<Record<string, number>>;
}

export interface Applied {
  readonly graph: Graph;
  readonly log: readonly PassLog[];
  /** The regions of the graph as the recipe's own passes met it: after those that prepare. */
  readonly regions: Regions;
  /** The recipe with every pass and option stated. Applying it again gives the same graph. */
  readonly recipe: Recipe;
}

/**
 * Applies a recipe. Diagnostics say what a user can mend (no calibration set, a selector that matches nothing);
 * a graph that a pass has broken is our bug: InvariantError with the pass's name and the graph before it.
 */
export async function applyRecipe(graph: Graph, recipe: Recipe, options: ApplyOptions = {}): Promise<Outcome<Applied>> {
  const resolved = resolveRecipe(recipe);
  if (!resolved.ok) return resolved;
  const steps = resolved.value.passes;
  const missing = steps.flatMap((step) => [...unmatchedPatterns(step, graph), ...unmetNeeds(step, steps, options)]);
  if (missing.length > 0) return failure(...missing);
  const log: PassLog[] = [];
  let current = graph;
  let statistics: Statistics | undefined;
  let regions: Regions | undefined;
  for (const [index, step] of steps.entries()) {
    const pass = passOf(step);
    if (!preparation.includes(pass)) regions ??= findRegions(current);
    const refusal = wrongLevel(pass, current, step);
    if (refusal !== undefined) return failure(refusal);
    const report = (fraction: number) =>
      options.onProgress?.({ pass: pass.name, fraction: (index + fraction) / steps.length });
    report(0);
    try {
      const result: PassResult = await runChecked(pass, current, {
        options: step.options,
        selector: step.selector,
        seed: recipe.seed,
        later: steps.slice(index + 1).map((next) => ({ ...next, pass: passOf(next) })),
        ...(options.calibration === undefined ? {} : { calibration: options.calibration }),
        ...(statistics === undefined ? {} : { statistics }),
        onProgress: report,
      });
      log.push(logOf(pass, result));
      current = result.graph;
      statistics = result.statistics ?? statistics;
    } catch (error) {
      if (error instanceof DiagnosticError) return failure(...error.diagnostics);
      throw error;
    }
  }
  options.onProgress?.({ pass: "", fraction: 1 });
  return success(
    { graph: current, log, regions: regions ?? findRegions(current), recipe: resolved.value },
    resolved.diagnostics,
  );
}

/** Runs one pass and verifies what it gives. Throws InvariantError when that is not a graph of the pass's level. */
export async function runChecked(
  pass: Pass,
  graph: Graph,
  context: Parameters<Pass["run"]>[1],
): Promise<PassResult> {
  const result = await run(pass, graph, context);
  const faults = verify(result.graph, result.graph.level);
  if (faults.length === 0) return result;
  const messages = faults.slice(0, 8).map((fault) => `${fault.code} ${fault.node ?? ""} ${fault.message}`);
  throw new InvariantError(`Pass "${pass.name}" broke the graph: ${messages.join("; ")}`, pass.name, printGraph(graph));
}

async function run(pass: Pass, graph: Graph, context: Parameters<Pass["run"]>[1]): Promise<PassResult> {
  try {
    return await pass.run(graph, context);
  } catch (error) {
    if (error instanceof DiagnosticError || (error instanceof InvariantError && error.graphText !== undefined)) {
      throw error;
    }
    const message = error instanceof Error ? error.message : String(error);
    const invariant = new InvariantError(`Pass "${pass.name}" failed: ${message}`, pass.name, printGraph(graph));
    invariant.cause = error;
    throw invariant;
  }
}

function logOf(pass: Pass, result: PassResult): PassLog {
  return {
    pass: pass.name,
    exactness: pass.exactness,
    applied: result.applied.map(({ rule, origin }) => ({ rule, origin })),
    declined: result.declined,
    metrics: result.metrics,
  };
}

/** Selectors are checked on the source graph: rewrites keep the source names. Names of ops match by being ops. */
function unmatchedPatterns(step: RecipeStep, graph: Graph): Diagnostic[] {
  return (["targets", "ignore"] as const).flatMap((key) =>
    step.selector[key].flatMap((pattern, index): Diagnostic[] => {
      if (opNames.has(pattern) || graph.nodes.some((node) => matchesPattern(pattern, node))) return [];
      const names = new Set(graph.nodes.flatMap((node) => node.origin));
      const near = pattern.startsWith("re:") ? undefined : nearestName(pattern, [...names, ...opNames]);
      const place = step.places?.get(`${key}[${index}]`);
      return [errorDiagnostic("Q0306", `"${pattern}" in "${key}" of pass "${step.use}" matches no node`, {
        ...(place === undefined ? {} : { node: place }),
        help: near === undefined
          ? `Source names are such as ${[...names].slice(0, 3).join(", ")}`
          : `Did you mean "${near}"?`,
      })];
    })
  );
}

/** Passes over float graphs rely on reading every weight; a graph that holds codes already is beyond them. */
function wrongLevel(pass: Pass, graph: Graph, step: RecipeStep): Diagnostic | undefined {
  if (pass.from === "any" || levels.indexOf(graph.level) <= levels.indexOf(pass.from)) return undefined;
  const place = step.places?.get("");
  return errorDiagnostic("Q0313", `Pass "${pass.name}" takes a ${pass.from} graph, this one is ${graph.level}`, {
    ...(place === undefined ? {} : { node: place }),
    help: "Put the pass before those that quantize, or start from the model's float weights",
  });
}

function unmetNeeds(step: RecipeStep, steps: readonly RecipeStep[], options: ApplyOptions): Diagnostic[] {
  const place = step.places?.get("");
  const at = place === undefined ? {} : { node: place };
  return passOf(step).needs.flatMap((need): Diagnostic[] => {
    if (need === "calibration" && (options.calibration === undefined || options.calibration.length === 0)) {
      return [errorDiagnostic("Q0309", `Pass "${step.use}" needs calibration samples`, {
        ...at,
        help: "Give a set with --calibration, or take a recipe that needs none, such as w8a8-dynamic",
      })];
    }
    const measuredBefore = steps.slice(0, steps.indexOf(step)).some((other) =>
      passOf(other).needs.includes("calibration")
    );
    if (need === "statistics" && !measuredBefore) {
      return [errorDiagnostic("Q0309", `Pass "${step.use}" needs the statistics of a "calibrate" pass before it`, at)];
    }
    return [];
  });
}
