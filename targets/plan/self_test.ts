/** What a self test at compile time says. */

import type { Diagnostic } from "../../compiler/diagnostics.ts";
import type { SelfTestResult } from "../../runtime/api.ts";

/** A warning where kernels (`what`) leave the evaluator by more than the test allows. */
export function selfTestDiagnostics(
  what: string,
  { ok, worst, failed, compared }: SelfTestResult,
): readonly Diagnostic[] {
  if (ok) return [];
  const { output, index, expected, actual, tolerance } = worst;
  return [{
    code: "Q0706",
    severity: "warning",
    message: `${what} leave the evaluator: ${failed} of ${compared} entries of the self test`,
    node: output,
    notes: [`worst is ${output}[${index}]: ${actual}, expected ${expected} within ${tolerance}`],
    help: "Please report this with the model: the artifact may be less accurate than its recipe allows",
  }];
}
