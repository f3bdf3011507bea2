/** What old opsets have as attributes and newer ones as inputs. */

import type { Extent } from "../../../ir/extent.ts";
import type { ImportContext } from "../op_importer.ts";

/** Extents of an input or, in old opsets, of an attribute. */
export function extentsOf(context: ImportContext, index: number, attribute: string, since: number): readonly Extent[] {
  return context.node.opset < since ? context.node.attributes.ints(attribute) : context.extents(index);
}

/** Integers of an input that may be absent or, in old opsets, of an attribute that may be absent. */
export function optionalIntegers(
  context: ImportContext,
  index: number,
  attribute: string,
  since: number,
): readonly number[] | undefined {
  if (context.node.opset < since) {
    return context.node.attributes.has(attribute) ? context.node.attributes.ints(attribute) : undefined;
  }
  return context.optional(index) === undefined ? undefined : context.integers(index);
}
