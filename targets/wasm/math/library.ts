/** The WAT math library: every function that kernels may call, by name (`exp_f32x4`, `pow_f64`, `f16_encode`). */

import { InvariantError } from "../../../compiler/diagnostics.ts";
import { exponentialFunctions } from "./exponential_f64.ts";
import type { MathFunction, MathFunctions } from "./function.ts";
import { halfFunctions } from "./half.ts";
import { integerFunctions } from "./integer.ts";
import { narrowFunctions } from "./narrow.ts";
import { powerFunctions } from "./power_f64.ts";
import { trigonometricFunctions } from "./trigonometry_f64.ts";
import { vectorFunctions } from "./vector_f32.ts";

export type { MathFunction } from "./function.ts";

export const mathFunctions: MathFunctions = {
  ...integerFunctions,
  ...halfFunctions,
  ...vectorFunctions,
  ...exponentialFunctions,
  ...trigonometricFunctions,
  ...powerFunctions,
  ...narrowFunctions,
};

/** The functions named and all that they call, each once, callees first. */
export function mathClosure(names: readonly string[]): readonly string[] {
  const ordered = new Set<string>();
  const visit = (name: string): void => {
    if (ordered.has(name)) return;
    for (const callee of functionOf(name).calls) visit(callee);
    ordered.add(name);
  };
  [...names].sort().forEach(visit);
  return [...ordered];
}

/** WAT of the functions named and of all that they call. */
export function mathLibrary(names: readonly string[]): string {
  return mathClosure(names).map((name) => functionOf(name).wat).join("\n");
}

function functionOf(name: string): MathFunction {
  const found = mathFunctions[name];
  if (found === undefined) throw new InvariantError(`The math library has no function ${name}`);
  return found;
}
