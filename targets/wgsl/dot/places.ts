/** The rows of a contraction's result, counted through, and the axes that they stand for. */

import type { Index } from "../../loops/program.ts";
import { bare, indexText } from "../loops/scalar.ts";

/** An axis of the result; its variable is i32. */
export interface PlaceAxis {
  readonly variable: string;
  readonly extent: Index;
}

/** Sets the variables of axes from a number that counts through them, the last axis fastest. */
export function placeAxes(number: string, axes: readonly PlaceAxis[]): string[] {
  const lines: string[] = [];
  let rest = number;
  for (let at = axes.length - 1; at > 0; at--) {
    const { variable, extent } = axes[at];
    const size = indexText(extent);
    lines.push(`let ${variable} = ${rest} % ${size};`);
    if (at === 1) lines.push(`let ${axes[0].variable} = ${rest} / ${size};`);
    else {
      lines.push(`let rest_${variable} = ${rest} / ${size};`);
      rest = `rest_${variable}`;
    }
  }
  if (axes.length === 1) lines.push(`let ${axes[0].variable} = ${bare(rest)};`);
  return lines;
}
