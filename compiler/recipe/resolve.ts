/** Resolves recipes: defaults filled in, the standard passes put around the recipe's own, overrides applied. */

import { type Diagnostic, errorDiagnostic, failure, nearestName, type Outcome, success } from "../diagnostics.ts";
import { type Json, readOptions } from "../rewrite/options.ts";
import type { Pass } from "../rewrite/pass.ts";
import { everyNode } from "../rewrite/selector.ts";
import { completion, methods, passes, preparation } from "../../passes/mod.ts";
import type { Recipe, RecipeStep } from "./schema.ts";

/** The pass of a step. The loader has checked the name. */
export function passOf(step: RecipeStep): Pass {
  const pass = passes.find((candidate) => candidate.name === step.use);
  if (pass === undefined) throw new RangeError(`There is no pass "${step.use}"`);
  return pass;
}

/**
 * The explicit recipe: every pass listed, every option stated. Resolving it again changes nothing. Warns when the
 * recipe's own passes stand in another order than the compiler's list.
 */
export function resolveRecipe(recipe: Recipe, overrides: readonly string[] = []): Outcome<Recipe> {
  const steps = recipe.pipeline === "explicit" ? recipe.passes : withStandardPasses(recipe.passes);
  const overridden = applyOverrides(steps, overrides);
  if (!overridden.ok) return overridden;
  const resolved = overridden.value.map((step) => ({
    ...step,
    options: readOptions(passOf(step).options, step.options).values,
  }));
  return success({ ...recipe, pipeline: "explicit", passes: resolved }, orderWarnings(resolved));
}

/** Preparation, the recipe's own passes in their order, completion. A standard pass that the recipe lists keeps its options. */
function withStandardPasses(own: readonly RecipeStep[]): readonly RecipeStep[] {
  const isMethod = (step: RecipeStep) => methods.some((method) => method.name === step.use);
  const standard = (pass: Pass): RecipeStep =>
    own.find((step) => step.use === pass.name) ?? { use: pass.name, options: {}, selector: everyNode };
  return [...preparation.map(standard), ...own.filter(isMethod), ...completion.map(standard)];
}

function orderWarnings(steps: readonly RecipeStep[]): Diagnostic[] {
  const own = steps.filter((step) => methods.some((method) => method.name === step.use));
  const position = (step: RecipeStep) => methods.findIndex((method) => method.name === step.use);
  return own.slice(1).flatMap((step, index): Diagnostic[] => {
    const before = own[index];
    if (position(before) <= position(step)) return [];
    return [{
      code: "Q0311",
      severity: "warning",
      message: `Pass "${step.use}" stands after "${before.use}", usually it stands before`,
      ...(step.places?.get("") === undefined ? {} : { node: step.places.get("") }),
    }];
  });
}

/** Applies `pass.option=value` settings; the value is JSON, or else a string. Every step of the pass is set. */
function applyOverrides(steps: readonly RecipeStep[], overrides: readonly string[]): Outcome<readonly RecipeStep[]> {
  const diagnostics: Diagnostic[] = [];
  let current = steps;
  for (const override of overrides) {
    const match = /^([\w-]+)\.([\w-]+)=(.*)$/s.exec(override);
    if (match === null) {
      diagnostics.push(errorDiagnostic("Q0312", `"${override}" is not of the form pass.option=value`));
      continue;
    }
    const [, use, key, text] = match;
    if (!current.some((step) => step.use === use)) {
      diagnostics.push(unknownStep(override, use, current));
      continue;
    }
    const value = overrideValue(text);
    current = current.map((step) => (step.use === use ? withOption(step, key, value) : step));
    const step = current.find((candidate) => candidate.use === use);
    if (step === undefined) continue;
    for (const fault of readOptions(passOf(step).options, step.options).faults) {
      diagnostics.push(errorDiagnostic("Q0312", `--set ${override}: ${fault.message}`, {
        ...(fault.help === undefined ? {} : { help: fault.help }),
      }));
    }
  }
  return diagnostics.length > 0 ? failure(...diagnostics) : success(current);
}

function withOption(step: RecipeStep, key: string, value: Json): RecipeStep {
  if (key === "targets" || key === "ignore") {
    const patterns = (Array.isArray(value) ? value : [value]).map(String);
    return { ...step, selector: { ...step.selector, [key]: patterns } };
  }
  return { ...step, options: { ...step.options, [key]: value } };
}

function unknownStep(override: string, use: string, steps: readonly RecipeStep[]): Diagnostic {
  const near = nearestName(use, steps.map((step) => step.use));
  return errorDiagnostic("Q0312", `--set ${override}: the recipe has no pass "${use}"`, {
    help: near === undefined ? `Its passes are ${steps.map((step) => step.use).join(", ")}` : `Did you mean "${near}"?`,
  });
}

function overrideValue(text: string): Json {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return text;
    throw error;
  }
}
