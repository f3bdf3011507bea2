/** Cuts a loop program into dispatches: what runs in one invocation each, and how many invocations there are. */

import { walkIndex, walkScalar } from "../../loops/index.ts";
import type { Index, LoopProgram, Scalar, Statement } from "../../loops/program.ts";

type Loop = Extract<Statement, { kind: "for" }>;

/** Independent loops, outermost first, that the invocations share out; `body` is one iteration of all of them. */
export interface Space {
  readonly loops: readonly Loop[];
  readonly body: readonly Statement[];
}

/** One dispatch. Every space has invocations 0 to its size; spaces of one stage do not depend on one another. */
export interface Stage {
  readonly spaces: readonly Space[];
}

/** Buffers that statements load from and store to. */
export interface Access {
  readonly reads: ReadonlySet<string>;
  readonly writes: ReadonlySet<string>;
}

/**
 * A program of independent loops and single stores (of static steps, say), after variables that only read, becomes one
 * space each; those that do not meet in a buffer share a stage. Any other program runs in one invocation.
 */
export function stagesOf(program: LoopProgram): readonly Stage[] {
  const split = program.body.findIndex((statement) => statement.kind !== "let");
  const lets = split < 0 ? program.body : program.body.slice(0, split);
  const parts = split < 0 ? [] : program.body.slice(split);
  const { writes } = accessOf(program.body);
  const isFixed = [...accessOf(lets).reads].every((buffer) => !writes.has(buffer));
  if (!isFixed || parts.length === 0 || !parts.every((part) => part.kind === "store" || isShared(part))) {
    return [{ spaces: [{ loops: [], body: program.body }] }];
  }
  const stages: { spaces: Space[] }[] = [];
  for (const part of parts) {
    const space = isShared(part) ? spaceOf(part, lets) : { loops: [], body: [...lets, part] };
    const last = stages[stages.length - 1];
    if (last !== undefined && last.spaces.every((other) => !meet(accessOf(other.body), accessOf(space.body)))) {
      last.spaces.push(space);
    } else stages.push({ spaces: [space] });
  }
  return stages;
}

function isShared(statement: Statement): statement is Loop {
  return statement.kind === "for" && statement.order === "independent" && isKnown(statement.from) &&
    isKnown(statement.to);
}

/** Whether an index follows from the symbols alone, so that the runtime can count invocations. */
export function isKnown(index: Index): boolean {
  if (typeof index === "number" || index.kind === "symbol") return true;
  if (index.kind === "variable" || index.kind === "scalar") return false;
  return isKnown(index.x) && isKnown(index.y);
}

/** Takes in loop after loop while a body is nothing but variables that only read, and one more independent loop. */
function spaceOf(outer: Loop, lets: readonly Statement[]): Space {
  const loops: Loop[] = [];
  const held: Statement[] = [...lets];
  let loop = outer;
  for (;;) {
    loops.push(loop);
    const inner = loop.body[loop.body.length - 1];
    const before = loop.body.slice(0, -1);
    const { writes } = accessOf(loop.body);
    const isPure = before.every((statement) => statement.kind === "let") &&
      [...accessOf(before).reads].every((buffer) => !writes.has(buffer));
    if (inner === undefined || !isPure || !isShared(inner)) return { loops, body: [...held, ...loop.body] };
    held.push(...before);
    loop = inner;
  }
}

function meet(a: Access, b: Access): boolean {
  return [...a.writes].some((buffer) => b.reads.has(buffer) || b.writes.has(buffer)) ||
    [...a.reads].some((buffer) => b.writes.has(buffer));
}

export function accessOf(statements: readonly Statement[]): Access {
  const reads = new Set<string>();
  const writes = new Set<string>();
  const scalar = (part: Scalar) =>
    walkScalar(part, (inner) => {
      if (inner.kind === "load") reads.add(inner.buffer);
    });
  const index = (part: Index) =>
    walkIndex(part, (inner) => {
      if (inner.kind === "load") reads.add(inner.buffer);
    });
  const visit = (statement: Statement): void => {
    switch (statement.kind) {
      case "let":
      case "assign":
        return scalar(statement.value);
      case "store":
        writes.add(statement.buffer);
        index(statement.index);
        return scalar(statement.value);
      case "for":
        index(statement.from);
        index(statement.to);
        return statement.body.forEach(visit);
      case "if":
        scalar(statement.condition);
        statement.then.forEach(visit);
        return statement.else.forEach(visit);
      case "array":
        return;
    }
  };
  statements.forEach(visit);
  return { reads, writes };
}
