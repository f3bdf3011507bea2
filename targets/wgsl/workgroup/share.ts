/**
 * Shares a loop program out: one workgroup to each iteration of the outer independent loops, and the loops inside to
 * its invocations.
 *
 * All invocations go through the statements side by side, each with variables of its own. Loops of independent
 * iterations and reductions are dealt out, k to invocation k mod size; a reduction's accumulators are combined behind
 * it. What stands outside of such loops is computed by every invocation and stored by the first. Barriers stand where
 * one statement touches what invocations read or wrote in another.
 */

import type { Index, LoopProgram, Scalar, Statement } from "../../loops/program.ts";
import { walkIndex, walkScalar } from "../../loops/index.ts";
import { type Access, accessOf, isKnown, type Space, stagesOf } from "../loops/stages.ts";
import { arraysOf, type ArrayStatement, assignedVariables } from "../loops/print.ts";

type Loop = Extract<Statement, { kind: "for" }>;

/** A statement as the invocations of a workgroup run it. */
export type SharedStatement =
  /** Run by every invocation. */
  | { readonly kind: "each"; readonly statement: Statement }
  /** Run by the first invocation. */
  | { readonly kind: "first"; readonly statement: Statement }
  /** A nest of loops whose iterations are dealt out; a reduction's accumulators are combined behind it. */
  | { readonly kind: "dealt"; readonly nest: readonly Loop[]; readonly body: readonly Statement[] }
  /** A loop that all invocations go through side by side. */
  | { readonly kind: "together"; readonly loop: Loop; readonly body: readonly SharedStatement[] }
  | { readonly kind: "barrier"; readonly arrays: boolean; readonly buffers: boolean };

export interface SharedProgram {
  readonly space: Space;
  readonly body: readonly SharedStatement[];
  /** Arrays that the invocations of a workgroup share. */
  readonly arrays: readonly ArrayStatement[];
}

/** The shared form of a program, or why it has none. */
export function shareProgram(program: LoopProgram): SharedProgram | { readonly declined: string } {
  const stages = stagesOf(program);
  const [stage] = stages;
  if (stages.length !== 1 || stage.spaces.length !== 1) return { declined: "loops that follow one another" };
  const [space] = stage.spaces;
  const arrays = space.body.filter((statement) => statement.kind === "array");
  if (arraysOf(space.body).length !== arrays.length) return { declined: "arrays of single iterations" };
  const names = new Set(arrays.map(({ name }) => name));
  const body = shareStatements(space.body, new Set(space.loops.map(({ variable }) => variable)), names);
  return body === undefined ? { declined: "loops whose bounds come from memory" } : { space, body, arrays };
}

/** Undefined where a loop that stores has bounds that invocations may not agree on. */
function shareStatements(
  statements: readonly Statement[],
  outer: ReadonlySet<string>,
  arrays: ReadonlySet<string>,
): readonly SharedStatement[] | undefined {
  const uniform = new Set(outer);
  const shared: SharedStatement[] = [];
  const pending = new Pending(arrays);
  const push = (statement: SharedStatement, access: Access) => {
    const barrier = pending.before(access);
    if (barrier !== undefined) shared.push(barrier);
    shared.push(statement);
  };
  for (const statement of statements) {
    const access = accessOf([statement]);
    switch (statement.kind) {
      case "array":
        break;
      case "let":
        if (isUniform(statement.value, uniform)) uniform.add(statement.variable);
        push({ kind: "each", statement }, access);
        break;
      case "assign":
        if (!isUniform(statement.value, uniform)) uniform.delete(statement.variable);
        push({ kind: "each", statement }, access);
        break;
      case "store":
        push({ kind: "first", statement }, access);
        break;
      case "if":
        if (access.writes.size > 0 || hasLoop(statement)) return undefined;
        assignedVariables([statement]).forEach((name) => uniform.delete(name));
        push({ kind: "each", statement }, access);
        break;
      case "for": {
        const known = isUniformIndex(statement.from, uniform) && isUniformIndex(statement.to, uniform);
        if (statement.order !== "sequential" && known) {
          push({ kind: "dealt", ...nestOf(statement, uniform) }, access);
        } else if (known && access.writes.size > 0) {
          const body = shareStatements(statement.body, new Set([...uniform, statement.variable]), arrays);
          if (body === undefined) return undefined;
          const between = new Pending(arrays);
          between.before(access);
          const barrier = between.before(access);
          push({ kind: "together", loop: statement, body: barrier ? [...body, barrier] : body }, access);
        } else if (access.writes.size === 0) push({ kind: "each", statement }, access);
        else return undefined;
        // Combined values come from memory.
        assignedVariables([statement]).forEach((name) => uniform.delete(name));
        break;
      }
    }
  }
  return shared;
}

function hasLoop(statement: Statement): boolean {
  if (statement.kind === "for") return true;
  return statement.kind === "if" && [...statement.then, ...statement.else].some(hasLoop);
}

/** What invocations have touched since the last barrier. */
class Pending {
  #reads = new Set<string>();
  #writes = new Set<string>();
  readonly #arrays: ReadonlySet<string>;

  constructor(arrays: ReadonlySet<string>) {
    this.#arrays = arrays;
  }

  /** The barrier that must stand before a statement; what it touches is pending from then on. */
  before({ reads, writes }: Access): SharedStatement | undefined {
    const met = [
      ...[...writes].filter((name) => this.#reads.has(name) || this.#writes.has(name)),
      ...[...reads].filter((name) => this.#writes.has(name)),
    ];
    if (met.length > 0) {
      this.#reads.clear();
      this.#writes.clear();
    }
    reads.forEach((name) => this.#reads.add(name));
    writes.forEach((name) => this.#writes.add(name));
    if (met.length === 0) return undefined;
    return {
      kind: "barrier",
      arrays: met.some((name) => this.#arrays.has(name)),
      buffers: met.some((name) => !this.#arrays.has(name)),
    };
  }
}

/** Loops that are nothing but one another, as one iteration space. */
function nestOf(
  outer: Loop,
  uniform: ReadonlySet<string>,
): { readonly nest: readonly Loop[]; readonly body: readonly Statement[] } {
  const nest = [outer];
  let body = outer.body;
  while (body.length === 1) {
    const [inner] = body;
    const joins = inner.kind === "for" && inner.order === outer.order && inner.from === 0 && outer.from === 0 &&
      isUniformIndex(inner.to, uniform);
    if (!joins) break;
    nest.push(inner);
    body = inner.body;
  }
  return { nest, body };
}

function isUniform(scalar: Scalar, uniform: ReadonlySet<string>): boolean {
  let known = true;
  walkScalar(scalar, (part) => {
    if (part.kind === "load") known = false;
    if (part.kind === "variable" && !uniform.has(part.name)) known = false;
  });
  return known;
}

function isUniformIndex(index: Index, uniform: ReadonlySet<string>): boolean {
  if (isKnown(index)) return true;
  let known = true;
  walkIndex(index, (part) => {
    if (part.kind === "load") known = false;
    if (part.kind === "variable" && !uniform.has(part.name)) known = false;
  });
  return known;
}
