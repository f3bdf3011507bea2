/** A pass: one named, ordered step of the pipeline, as a value. It takes a graph and gives the next one with an account of it. */

import { InvariantError } from "../diagnostics.ts";
import type { Graph, Level } from "../ir/graph.ts";
import type { Node } from "../ir/node.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { NumberFormat } from "../numeric/number_format.ts";
import { type Json, type OptionSchema, type OptionValues, readOptions } from "./options.ts";
import type { Patch } from "./patch.ts";
import type { Declined } from "./rule.ts";
import { everyNode, type Selector, selects } from "./selector.ts";
import type { Statistics } from "./statistics.ts";

/**
 * What a pass may change of the function that the graph computes. `exact`: nothing, bit for bit. `reassociates`: real
 * arithmetic is the same, rounding differs within a derived bound. `lossy`: bounded by the quantization step.
 */
export type Exactness = "exact" | "reassociates" | "lossy";

/** What a pass wants beside the graph: `calibration` samples, or `statistics` of an earlier calibrate pass. */
export type Need = "calibration" | "statistics";

/** Inputs of the model by source name, one record per sample. */
export type CalibrationData = readonly Readonly<Record<string, Tensor>>[];

/** A pass with the options that a recipe gives it. */
export interface PassStep {
  readonly pass: Pass;
  readonly options: Readonly<Record<string, Json>>;
  readonly selector: Selector;
}

export interface PassContext {
  /** Option values by name; absent ones take their defaults. */
  readonly options: Readonly<Record<string, Json>>;
  readonly selector: Selector;
  readonly seed: number;
  readonly calibration?: CalibrationData;
  readonly statistics?: Statistics;
  /** The passes that come after this one, in order: what a search in front of quantizers tries its candidates with. */
  readonly later?: readonly PassStep[];
  /** Fraction done, 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
}

export interface PassResult {
  readonly graph: Graph;
  readonly applied: readonly Patch[];
  readonly declined: readonly Declined[];
  /** Counts and sizes for the report, by name. */
  readonly metrics: Readonly<Record<string, number>>;
  /** New statistics, when the pass measures. */
  readonly statistics?: Statistics;
}

export interface Pass {
  readonly name: string;
  readonly summary: string;
  /** The level that the pass takes; `any` takes every level and keeps it. */
  readonly from: Level | "any";
  readonly to: Level | "any";
  readonly exactness: Exactness;
  readonly needs: readonly Need[];
  readonly options: OptionSchema;
  /** Number formats of the codes that the pass will make with these options, so that a target can be asked before any work. */
  readonly formats?: (options: Readonly<Record<string, Json>>) => readonly NumberFormat[];
  readonly run: (graph: Graph, context: PassContext) => PassResult | Promise<PassResult>;
}

/** What a pass's body sees: typed options, and whether the selector picks a node. */
export interface PassScope<S extends OptionSchema> extends Omit<PassContext, "options"> {
  readonly options: OptionValues<S>;
  readonly selects: (node: Node) => boolean;
}

export interface PassDefinition<S extends OptionSchema> extends Omit<Pass, "options" | "formats" | "run"> {
  readonly options: S;
  readonly formats?: (options: OptionValues<S>) => readonly NumberFormat[];
  readonly run: (graph: Graph, scope: PassScope<S>) => PassResult | Promise<PassResult>;
}

/** Makes a pass whose body gets checked, typed options. */
export function definePass<S extends OptionSchema>(definition: PassDefinition<S>): Pass {
  const { formats, ...rest } = definition;
  return Object.freeze({
    ...rest,
    ...(formats === undefined ? {} : {
      formats: (options: Readonly<Record<string, Json>>) => formats(readOptions(definition.options, options).values),
    }),
    run: (graph: Graph, context: PassContext) => {
      const { values, faults } = readOptions(definition.options, context.options);
      if (faults.length > 0) throw new InvariantError(`${definition.name}: ${faults[0].message}`, definition.name);
      const scope = { ...context, options: values, selects: (node: Node) => selects(context.selector, node) };
      return definition.run(graph, scope);
    },
  });
}

/** A context with default options, every node selected and no calibration. */
export function plainContext(options: Readonly<Record<string, Json>> = {}): PassContext {
  return { options, selector: everyNode, seed: 0 };
}
