/** The transform op: runs of the last axis times core ⊗ Sylvester ⊗ I. Sums in float64, rounded once. */

import { transformRuns } from "../../numeric/hadamard.ts";
import type { OpAttributes } from "../node.ts";
import type { Tensor } from "../tensor.ts";
import { plainInput } from "./environment.ts";
import { floatData, storeNumbers } from "./numbers.ts";

export function evaluateTransform(
  inputs: readonly Tensor[],
  { doublings, stride }: OpAttributes["transform"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const core = plainInput(inputs, 1);
  const result = Float64Array.from(floatData(x));
  transformRuns(
    result,
    { order: core.shape[0], entries: Float64Array.from(floatData(core)) },
    doublings,
    stride,
  );
  return [storeNumbers(x.element, x.shape, result)];
}
