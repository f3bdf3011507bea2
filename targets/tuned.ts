/** Choosing among a target's tuned kernel families. */

import type { OpName } from "../compiler/ir/node.ts";
import type { Region } from "./region.ts";

/** A kernel, or in a word why a family has none for the region. */
export type Selection<Kernel> = Kernel | { readonly declined: string };

/** What choosing needs of a family: the ops whose regions it looks at, and its answer. */
export interface SelectingFamily<Kernel extends object, Context> {
  readonly ops: readonly OpName[];
  readonly select: (region: Region, context: Context) => Selection<Kernel>;
}

/** The first tuned kernel that takes a region, or why each family of its op declined. Families are tried in order. */
export function tunedSelector<Kernel extends object, Context>(
  families: readonly SelectingFamily<Kernel, Context>[],
): (region: Region, context: Context) => Selection<Kernel> {
  return (region, context) => {
    const reasons: string[] = [];
    for (const { ops, select } of families) {
      if (!ops.includes(region.main.op)) continue;
      const kernel = select(region, context);
      if (!("declined" in kernel)) return kernel;
      reasons.push(kernel.declined);
    }
    return { declined: reasons.length === 0 ? "no tuned family" : reasons.join("; ") };
  };
}
