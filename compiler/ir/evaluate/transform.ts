/** The transform op: runs of the last axis times core ⊗ Sylvester. Sums in float64, rounded once. */

import { walshHadamard } from "../../numeric/hadamard.ts";
import type { OpAttributes } from "../node.ts";
import type { Tensor } from "../tensor.ts";
import { plainInput } from "./environment.ts";
import { floatData, storeNumbers } from "./numbers.ts";

export function evaluateTransform(
  inputs: readonly Tensor[],
  { doublings }: OpAttributes["transform"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const core = plainInput(inputs, 1);
  const extent = core.shape[0];
  const width = 2 ** doublings;
  const run = extent * width;
  const factors = floatData(core);
  const result = Float64Array.from(floatData(x));
  const mixed = new Float64Array(run);
  for (let start = 0; start < result.length; start += run) {
    for (let block = 0; block < extent; block++) walshHadamard(result, start + block * width, width);
    mixed.fill(0);
    for (let from = 0; from < extent; from++) {
      for (let to = 0; to < extent; to++) {
        const gain = factors[from * extent + to];
        for (let lane = 0; lane < width; lane++) mixed[to * width + lane] += gain * result[start + from * width + lane];
      }
    }
    result.set(mixed, start);
  }
  return [storeNumbers(x.element, x.shape, result)];
}
