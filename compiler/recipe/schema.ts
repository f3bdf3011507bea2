/** Recipes: an ordered list of passes with options and selectors, a seed and a target. Version 1. */

import type { Json } from "../rewrite/options.ts";
import type { Selector } from "../rewrite/selector.ts";

export const recipeVersion = 1;

export interface RecipeStep {
  /** Name of the pass. */
  readonly use: string;
  readonly options: Readonly<Record<string, Json>>;
  readonly selector: Selector;
  /** Where each key of the step stands in the recipe's text, by path (`targets[0]`, `block`, `` for the step). */
  readonly places?: ReadonlyMap<string, string>;
}

export interface RecipeTarget {
  readonly use: string;
  readonly features: readonly string[];
}

/**
 * `standard`: the passes that prepare a graph and those that complete it stand around the recipe's own.
 * `explicit`: the recipe lists every pass. Resolved recipes are explicit.
 */
export type RecipePipeline = "standard" | "explicit";

export interface Recipe {
  readonly name: string;
  readonly summary: string;
  readonly seed: number;
  readonly pipeline: RecipePipeline;
  readonly passes: readonly RecipeStep[];
  readonly target?: RecipeTarget;
}

/** Keys of the top level, in canonical order. */
export const recipeKeys = ["recipe", "name", "summary", "seed", "pipeline", "passes", "target"] as const;

/** Canonical JSON: keys in a fixed order, two spaces, a final newline. Equal recipes give equal text. */
export function printRecipe(recipe: Recipe): string {
  const value = {
    recipe: recipeVersion,
    name: recipe.name,
    summary: recipe.summary,
    seed: recipe.seed,
    pipeline: recipe.pipeline,
    passes: recipe.passes.map(stepJson),
    ...(recipe.target === undefined ? {} : { target: recipe.target }),
  };
  return `${JSON.stringify(value, null, 2)}\n`;
}

function stepJson(step: RecipeStep): Readonly<Record<string, Json>> {
  const options = Object.fromEntries(Object.entries(step.options).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
  return {
    use: step.use,
    ...options,
    ...(step.selector.targets.length === 0 ? {} : { targets: step.selector.targets }),
    ...(step.selector.ignore.length === 0 ? {} : { ignore: step.selector.ignore }),
  };
}
