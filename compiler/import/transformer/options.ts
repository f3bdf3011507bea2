/** Turns import options into what a decoder serves: chunk length, context length, logits. */

import { type Diagnostic, errorDiagnostic } from "../../diagnostics.ts";
import { suggestion } from "../fields.ts";
import type { Binding, ImportOptions } from "../model.ts";
import type { DecoderOptions } from "./decoder.ts";

const defaultChunk = 256;
const defaultContext = 2048;
const symbols = ["seq", "total", "batch"];

/**
 * `bind.seq`: tokens of one call (1..256 when absent). `bind.total`: positions of the context (the model's own limit, at
 * most 2048, when absent). `bind.batch` may only be 1. Faults go to `diagnostics`.
 */
export function decoderOptions(
  options: ImportOptions,
  maximumPositions: number,
  diagnostics: Diagnostic[],
): DecoderOptions {
  for (const name of Object.keys(options.bind)) {
    if (symbols.includes(name)) continue;
    diagnostics.push(errorDiagnostic("Q0410", `A decoder has no symbol "${name}" to bind`, {
      node: name,
      help: suggestion(name, symbols) ?? `The symbols are ${symbols.join(", ")}`,
    }));
  }
  const batch = options.bind.batch;
  if (batch !== undefined && rangeOf(batch).max !== 1) {
    diagnostics.push(errorDiagnostic("Q0410", `"batch" is bound to more than 1; a decoder serves one sequence`, {
      node: "batch",
    }));
  }
  const total = options.bind.total;
  const context = total === undefined ? Math.min(maximumPositions, defaultContext) : rangeOf(total).max;
  const sequence = options.bind.seq === undefined
    ? { min: 1, max: Math.min(defaultChunk, context) }
    : rangeOf(options.bind.seq);
  for (const [name, { min, max }] of Object.entries({ seq: sequence, total: { min: 1, max: context } })) {
    if (Number.isSafeInteger(min) && Number.isSafeInteger(max) && min >= 1 && max >= min) continue;
    diagnostics.push(errorDiagnostic("Q0410", `"${name}" is bound to ${min}..${max}, wants 1 or more`, { node: name }));
  }
  if (sequence.max > context) {
    diagnostics.push(errorDiagnostic("Q0410", `"seq" reaches ${sequence.max}, the context holds ${context} positions`, {
      node: "seq",
      help: `Bind "seq" to at most ${context}, or "total" to more`,
    }));
  }
  return { context, sequence, logits: options.logits ?? "last", idElement: "i32" };
}

/** A context beyond the trained positions is allowed where the rotation serves it, but said. */
export function contextWarnings(context: number, maximumPositions: number): readonly Diagnostic[] {
  if (context <= maximumPositions) return [];
  return [{
    code: "Q0411",
    severity: "warning",
    message: `The context of ${context} positions exceeds the ${maximumPositions} that the model was trained for`,
    node: "total",
  }];
}

function rangeOf(binding: Binding): { readonly min: number; readonly max: number } {
  return typeof binding === "number" ? { min: binding, max: binding } : binding;
}
