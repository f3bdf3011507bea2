/** How passes read a number format from options. */

import { intFormat, type NumberFormat, parseFormat } from "../../compiler/numeric/number_format.ts";
import { type OptionField, textOption } from "../../compiler/rewrite/options.ts";

export function formatOption(fallback: string, summary: string): OptionField<string> {
  return textOption(
    "a number format such as int8, int4, e4m3fn or nf4",
    (text) => parseFormat(text) !== undefined,
    fallback,
    summary,
  );
}

/**
 * The format of a name. `bits` replaces the width of an integer format; without `symmetric` integers are unsigned with a
 * zero point. Other formats have no zero point.
 */
export function formatOf(
  name: string,
  bits: number | null,
  symmetric: boolean,
): { readonly format: NumberFormat; readonly zeroPoint: boolean } {
  const stated = parseFormat(name) ?? intFormat(8, true);
  if (stated.kind !== "int") return { format: stated, zeroPoint: false };
  return { format: intFormat(bits ?? stated.bits, symmetric), zeroPoint: !symmetric };
}
