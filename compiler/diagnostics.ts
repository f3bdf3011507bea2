/** What a user can act on is a Diagnostic: collected, never thrown. What is our own bug is an InvariantError: thrown. */

export type Severity = "error" | "warning" | "note";

/** One located message. `code` is stable (`Q` and four digits); `node` is the source model's own node name. */
export interface Diagnostic {
  readonly code: string;
  readonly severity: Severity;
  readonly message: string;
  /** The source model's node, tensor, key or file place that the message is about. */
  readonly node?: string;
  readonly notes?: readonly string[];
  readonly help?: string;
}

/** A bug of Quern's: thrown with the pass that broke the invariant and the graph text before it. */
export class InvariantError extends Error {
  constructor(
    message: string,
    readonly passName?: string,
    readonly graphText?: string,
  ) {
    super(message);
    this.name = "InvariantError";
  }
}

/** The value, which must be there. */
export function present<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new InvariantError(`There is no ${what}`);
  return value;
}

/**
 * Carries diagnostics out of a deep call to the nearest function that returns them.
 * Public entry points catch it; it never reaches a user.
 */
export class DiagnosticError extends Error {
  constructor(readonly diagnostics: readonly Diagnostic[]) {
    super(diagnostics.map((diagnostic) => diagnostic.message).join("\n"));
    this.name = "DiagnosticError";
  }
}

/** A value, or the diagnostics that say why there is none. Warnings may stand beside a value. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T; readonly diagnostics: readonly Diagnostic[] }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

export function success<T>(value: T, diagnostics: readonly Diagnostic[] = []): Outcome<T> {
  return { ok: true, value, diagnostics };
}

export function failure<T>(...diagnostics: readonly Diagnostic[]): Outcome<T> {
  return { ok: false, diagnostics };
}

export function errorDiagnostic(
  code: string,
  message: string,
  more: Omit<Diagnostic, "code" | "severity" | "message"> = {},
): Diagnostic {
  return { code, severity: "error", message, ...more };
}

/** Throws a DiagnosticError that holds one error. */
export function fail(
  code: string,
  message: string,
  more: Omit<Diagnostic, "code" | "severity" | "message"> = {},
): never {
  throw new DiagnosticError([errorDiagnostic(code, message, more)]);
}

/** Runs `body`; a DiagnosticError inside becomes a failed outcome, anything else passes through. */
export function collect<T>(body: () => T): Outcome<T> {
  try {
    return success(body());
  } catch (error) {
    if (error instanceof DiagnosticError) return failure(...error.diagnostics);
    throw error;
  }
}

/** Plain text of a diagnostic, as the command line prints it. */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const lines = [`${diagnostic.severity} ${diagnostic.code} ${diagnostic.message}`];
  if (diagnostic.node !== undefined) lines.push(`  at ${diagnostic.node}`);
  for (const note of diagnostic.notes ?? []) lines.push(`  note: ${note}`);
  if (diagnostic.help !== undefined) lines.push(`  help: ${diagnostic.help}`);
  return lines.join("\n");
}

/** The member of `known` nearest to `name` by edit distance, when near enough to be a slip of the hand. */
export function nearestName(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substitution = previous[column - 1] + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(previous[column] + 1, current[column - 1] + 1, substitution));
    }
    previous = current;
  }
  return previous[b.length];
}

export function unreachable(value: never): never {
  throw new InvariantError(`Unhandled case ${JSON.stringify(value)}`);
}
