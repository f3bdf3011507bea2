/** The f32 functions: one lane of a vector function where there is one, else the f64 function rounded; and four lanes of either. */

import { exponentialFunctions } from "./exponential_f64.ts";
import type { MathFunction, MathFunctions } from "./function.ts";
import { powerFunctions } from "./power_f64.ts";
import { trigonometricFunctions } from "./trigonometry_f64.ts";
import { vectorFunctions } from "./vector_f32.ts";

/** The first lane of the vector function, so that an element's value does not depend on where it stands. */
function firstLane(name: string): MathFunction {
  return {
    calls: [`${name}_f32x4`],
    wat: `;; ${name}(x): a lane of the vector function.
(func $${name}_f32 (param $x f32) (result f32)
  (f32x4.extract_lane 0 (call $${name}_f32x4 (f32x4.splat (local.get $x)))))`,
  };
}

function rounded(name: string): MathFunction {
  return {
    calls: [`${name}_f64`],
    wat: `;; ${name}(x) in f64, rounded.
(func $${name}_f32 (param $x f32) (result f32)
  (f32.demote_f64 (call $${name}_f64 (f64.promote_f32 (local.get $x)))))`,
  };
}

function rounded2(name: string): MathFunction {
  return {
    calls: [`${name}_f64`],
    wat: `;; ${name}(x, y) in f64, rounded.
(func $${name}_f32 (param $x f32) (param $y f32) (result f32)
  (f32.demote_f64 (call $${name}_f64 (f64.promote_f32 (local.get $x)) (f64.promote_f32 (local.get $y)))))`,
  };
}

function laneByLane(name: string, operands: readonly string[]): MathFunction {
  const lane = (index: number) =>
    `(call $${name}_f32${operands.map((x) => ` (f32x4.extract_lane ${index} (local.get $${x}))`).join("")})`;
  return {
    calls: [`${name}_f32`],
    wat: `;; ${name}, lane by lane.
(func $${name}_f32x4 ${operands.map((x) => `(param $${x} v128)`).join(" ")} (result v128)
  (f32x4.replace_lane 3 (f32x4.replace_lane 2 (f32x4.replace_lane 1 (f32x4.splat
    ${lane(0)})
    ${lane(1)})
    ${lane(2)})
    ${lane(3)}))`,
  };
}

const vectorNames = Object.keys(vectorFunctions).map((name) => name.replace("_f32x4", ""));
const unaryNames = [...Object.keys(exponentialFunctions), ...Object.keys(trigonometricFunctions)]
  .map((name) => name.replace("_f64", ""))
  .filter((name) => !["power_of_two", "scale", "exp_with_tail", "sin_turned"].includes(name));
const scalarNames = unaryNames.filter((name) => !vectorNames.includes(name));
const binaryNames = Object.keys(powerFunctions).map((name) => name.replace("_f64", ""))
  .filter((name) => name === "rem" || name === "mod" || name === "pow");

function entries(
  names: readonly string[],
  suffix: string,
  make: (name: string) => MathFunction,
): [string, MathFunction][] {
  return names.map((name) => [`${name}_${suffix}`, make(name)]);
}

export const narrowFunctions: MathFunctions = Object.fromEntries([
  ...entries(vectorNames, "f32", firstLane),
  ...entries(scalarNames, "f32", rounded),
  ...entries(scalarNames, "f32x4", (name) => laneByLane(name, ["x"])),
  ...entries(binaryNames, "f32", rounded2),
  ...entries(binaryNames, "f32x4", (name) => laneByLane(name, ["x", "y"])),
]);
