/** Selects the shared form of a region: rows that a workgroup works on together. */

import { indexValue, largestSymbols } from "../../loops/index.ts";
import { lowerRegion } from "../../loops/lower.ts";
import type { Index } from "../../loops/program.ts";
import type { KernelSelector } from "../kernel.ts";
import { isKnown } from "../loops/stages.ts";
import { workgroupDispatch } from "./print.ts";
import { type SharedStatement, shareProgram } from "./share.ts";

/** Shorter loops leave most of a workgroup idle: one invocation an entry does better. */
const fewestIterations = 32;
/** Iterations of the longest loop that an invocation does before the workgroup grows. */
const mostRounds = 16;
const smallestWorkgroup = 64;
/** Invocations that every device runs in a workgroup. */
const largestWorkgroup = 256;

export const selectWorkgroup: KernelSelector = (region, { graph, symbols }) => {
  const program = lowerRegion(region, graph);
  const shared = shareProgram(program);
  if ("declined" in shared) return shared;
  const largest = largestSymbols(symbols);
  const longest = Math.max(
    0,
    ...dealtExtents(shared.body).map((extent) => indexValue(extent, largest)),
    // Loops whose ends depend on the row fill an array as far as they may go.
    ...shared.arrays.map(({ extent }) => extent),
  );
  if (longest < fewestIterations) return { declined: `rows of ${longest}: too short to share` };
  let size = smallestWorkgroup;
  while (size < largestWorkgroup && longest > size * mostRounds) size *= 2;
  return {
    id: `workgroup.${program.name}(longest=${longest},invocations=${size})`,
    algebra: program.algebra,
    dispatches: [workgroupDispatch(program, shared, size, symbols)],
  };
};

/** Iterations of each dealt loop, as far as the symbols tell. */
function dealtExtents(body: readonly SharedStatement[]): readonly Index[] {
  return body.flatMap((shared): readonly Index[] => {
    if (shared.kind === "together") return dealtExtents(shared.body);
    if (shared.kind !== "dealt") return [];
    const extents = shared.nest.map(({ to }) => to);
    if (!extents.every(isKnown)) return [];
    return [extents.reduce((x, y): Index => ({ kind: "mul", x, y }))];
  });
}
