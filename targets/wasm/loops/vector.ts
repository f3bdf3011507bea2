/** Prints loops that run several iterations at once: a vector loop, then the rest one by one. */

import { isFloat } from "../../../compiler/numeric/element.ts";
import { addIndex, variable as variableIndex } from "../../loops/index.ts";
import type { Statement } from "../../loops/program.ts";
import { replaceVariable } from "../../loops/rewrite.ts";
import type { Emitter } from "./emitter.ts";
import { type Accumulator, addendOf, type LanePlan, type Meeting, planLanes } from "./lanes.ts";
import { bitLanes, bitStore, byteIdentity, byteLanes, byteStore, meetBytes } from "./narrow_lanes.ts";
import { printScalar } from "./scalar.ts";
import { changesOf, countedLoop, loopEnd, printLoop } from "./statement.ts";
import type { Lines } from "./text.ts";
import { laneConstant, type LaneContext, printLanes, storeLanes } from "./vector_scalar.ts";
import { isUnsigned, wasmType } from "./types.ts";
import { InvariantError } from "../../../compiler/diagnostics.ts";

type Loop = Extract<Statement, { kind: "for" }>;
type PrintBody = (statements: readonly Statement[]) => Lines;

/**
 * Vectors in flight where a body is repeated: enough to cover the latency of an addition in a reduction, and to share what
 * an inner loop reads for all lanes (and whole cache lines of what it does not) between them.
 */
const bodyCopies = 4;
/** Longer bodies are not repeated. */
const longestRepeated = 16;

/** The loop in lanes, or undefined where it has to run one iteration at a time. */
export function printVectorLoop(emitter: Emitter, loop: Loop, body: PrintBody): Lines | undefined {
  const plan = planLanes(loop);
  if (plan === undefined) return undefined;
  const count = typeof loop.from === "number" && typeof loop.to === "number" ? loop.to - loop.from : undefined;
  if (count !== undefined && count < plan.lanes) return undefined;
  return new VectorLoop(emitter, loop, plan, body).print(count);
}

/** One loop being printed in lanes. */
class VectorLoop {
  readonly #emitter: Emitter;
  readonly #loop: Loop;
  readonly #plan: LanePlan;
  readonly #body: PrintBody;
  readonly #locals = new Map<string, string>();
  readonly #context: LaneContext;
  /** Which copy of the body is being printed: each has vectors of its own. */
  #copy = 0;

  constructor(emitter: Emitter, loop: Loop, plan: LanePlan, body: PrintBody) {
    this.#emitter = emitter;
    this.#loop = loop;
    this.#plan = plan;
    this.#body = body;
    this.#context = {
      emitter,
      variable: loop.variable,
      varying: plan.varying,
      localOf: (name) => this.#localOf(name),
    };
  }

  #localOf(name: string): string {
    const key = this.#copy === 0 ? `${name}_v` : `${name}_v${this.#copy}`;
    let local = this.#locals.get(key);
    if (local === undefined) this.#locals.set(key, local = this.#emitter.local(key, "v128"));
    return local;
  }

  print(count: number | undefined): Lines {
    const { lanes } = this.#plan;
    const emitter = this.#emitter;
    const { variable, from, to } = this.#loop;
    emitter.declareCounter(variable);
    const end = loopEnd(emitter, variable, to);
    const wide = lanes * bodyCopies;
    const copies = this.#repeats(count, wide) ? bodyCopies : 1;
    const start = typeof from === "number" ? from : undefined;
    const lines: (string | Lines)[] = [
      ...end.setup,
      `(local.set $${variable} ${emitter.index(from)})`,
      ...this.#startAccumulators(copies),
    ];
    let done: number | undefined = count === undefined ? undefined : 0;
    if (copies > 1) {
      lines.push(...this.#vectorLoop(copies, end.text, done, count));
      lines.push(...this.#joinCopies(copies));
      if (done !== undefined && count !== undefined) done = Math.floor(count / wide) * wide;
    }
    if (done === undefined || count === undefined || count - done >= lanes) {
      lines.push(...this.#vectorLoop(1, end.text, done, count));
      if (done !== undefined && count !== undefined) done += Math.floor((count - done) / lanes) * lanes;
    }
    lines.push(...this.#finishAccumulators());
    if (done !== undefined && count !== undefined) {
      if (done < count && start !== undefined) lines.push(...this.#rest(start + done, end.text));
    } else {
      lines.push(...this.#rest(undefined, end.text));
    }
    return lines;
  }

  /** Whether several copies of the body run in one round. */
  #repeats(count: number | undefined, wide: number): boolean {
    const { accumulators, isStraight } = this.#plan;
    if (statementCount(this.#loop.body) > longestRepeated) return false;
    if (isStraight) return accumulators.length > 0 && (count === undefined || count >= 2 * wide);
    return accumulators.length === 0 && (count === undefined || count >= wide);
  }

  /** Rounds of `copies` vectors each, as long as all their lanes are below the end. */
  #vectorLoop(copies: number, end: string, done: number | undefined, count: number | undefined): Lines {
    const emitter = this.#emitter;
    const { variable } = this.#loop;
    const step = copies * this.#plan.lanes;
    const { result, setup } = emitter.inside(changesOf([this.#loop]), () => {
      const bodies = Array.from({ length: copies }, (_, copy) => {
        const moved = addIndex(variableIndex(variable), copy * this.#plan.lanes);
        return copy === 0 ? this.#loop.body : replaceVariable(this.#loop.body, variable, moved);
      });
      return this.#statements(bodies);
    });
    const label = emitter.label(`each_${variable}`);
    const next = `(local.tee $${variable} (i32.add (local.get $${variable}) (i32.const ${step})))`;
    if (done !== undefined && count !== undefined) {
      const rounds = Math.floor((count - done) / step);
      if (rounds === 1) {
        return [...setup, ...result, `(local.set $${variable} (i32.add (local.get $${variable}) (i32.const ${step})))`];
      }
      const { from } = this.#loop;
      const last = (typeof from === "number" ? from : 0) + done + rounds * step;
      return [
        ...setup,
        `(loop $${label}`,
        [...result, `(br_if $${label} (i32.lt_s ${next} (i32.const ${last})))`],
        ")",
      ];
    }
    const room = (value: string) => `(i32.le_s (i32.add ${value} (i32.const ${step})) ${end})`;
    return [
      `(if ${room(`(local.get $${variable})`)}`,
      ["(then", [...setup, `(loop $${label}`, [...result, `(br_if $${label} ${room(next)})`], ")"], ")"],
      ")",
    ];
  }

  /** The iterations that fill no vector. */
  #rest(from: number | undefined, end: string): Lines {
    const emitter = this.#emitter;
    const { result, setup } = emitter.inside(changesOf([this.#loop]), () => this.#body(this.#loop.body));
    const bounds = from === undefined
      ? { from: variableIndex(this.#loop.variable), to: this.#loop.to }
      : { from, to: this.#loop.to };
    return countedLoop(emitter, { variable: this.#loop.variable, ...bounds }, end, 1, result, setup);
  }

  /** Statement by statement, all copies of each: what is the same in all of them is printed once. */
  #statements(bodies: readonly (readonly Statement[])[]): Lines {
    return bodies[0].flatMap((statement, index) => this.#statement(statement, bodies.map((body) => body[index])));
  }

  #statement(first: Statement, copies: readonly Statement[]): Lines {
    const emitter = this.#emitter;
    switch (first.kind) {
      case "let":
      case "assign":
        if (!this.#plan.varying.has(first.variable)) {
          emitter.declare(first.variable, wasmType(first.value.element));
          return [`(local.set $${first.variable} ${printScalar(emitter, first.value)})`];
        }
        return this.#copies(copies);
      case "store":
        return this.#copies(copies);
      case "for":
        return printLoop(emitter, first, () => this.#statements(bodiesOf(copies)));
      case "if": {
        const parts = copies.flatMap((copy) => (copy.kind === "if" ? [copy] : []));
        const guarded = (bodies: readonly (readonly Statement[])[]) => emitter.guarded(() => this.#statements(bodies));
        const otherwise: Lines = first.else.length === 0 ? [] : ["(else", guarded(parts.map((part) => part.else)), ")"];
        const test = `(if ${printScalar(emitter, first.condition)}`;
        return [test, ["(then", guarded(parts.map((part) => part.then)), ")", ...otherwise], ")"];
      }
      case "array":
        throw new InvariantError("A private array stands in a loop that runs in lanes");
    }
  }

  /** The lines of every copy of an assignment or a store. */
  #copies(copies: readonly Statement[]): string[] {
    const lines = copies.map((copy, index) => {
      this.#copy = index;
      if (copy.kind === "store") return this.#store(copy);
      if (copy.kind !== "let" && copy.kind !== "assign") throw new InvariantError("Copies of a body differ in form");
      return `(local.set $${this.#localOf(copy.variable)} ${this.#assigned(copy)})`;
    });
    this.#copy = 0;
    return lines;
  }

  #assigned(statement: Extract<Statement, { kind: "let" | "assign" }>): string {
    const accumulator = this.#plan.accumulators.find((entry) => entry.variable === statement.variable);
    if (accumulator === undefined) return this.#lanesOf(statement.value);
    const addend = addendOf(statement.variable, statement.value);
    if (addend === undefined) throw new InvariantError(`${statement.variable} is not assigned as an accumulator`);
    return this.#meet(accumulator, `(local.get $${this.#localOf(statement.variable)})`, this.#lanesOf(addend.x));
  }

  #lanesOf(value: Parameters<typeof printLanes>[1]): string {
    switch (this.#plan.kind) {
      case "values":
        return printLanes(this.#context, value);
      case "bytes":
        return byteLanes(this.#context, value);
      case "bits":
        return bitLanes(this.#context, value);
    }
  }

  #store(statement: Extract<Statement, { kind: "store" }>): string {
    const { buffer, index, value } = statement;
    switch (this.#plan.kind) {
      case "values":
        return storeLanes(this.#context, buffer, index, value);
      case "bytes":
        return byteStore(this.#context, buffer, index, value);
      case "bits":
        return bitStore(this.#context, buffer, index, value);
    }
  }

  /** One operator over vectors. */
  #meet({ element, operator }: Accumulator, x: string, y: string): string {
    if (this.#plan.kind === "bytes") return meetBytes(element, operator, x, y);
    if (isFloat(element)) return `(f32x4.${operator} ${x} ${y})`;
    if (operator === "and" || operator === "or") return `(v128.${operator} ${x} ${y})`;
    if (operator === "min" || operator === "max") {
      return `(i32x4.${operator}_${isUnsigned(element) ? "u" : "s"} ${x} ${y})`;
    }
    return `(i32x4.${operator} ${x} ${y})`;
  }

  #startAccumulators(copies: number): Lines {
    const lines: string[] = [];
    for (let copy = 0; copy < copies; copy++) {
      this.#copy = copy;
      for (const accumulator of this.#plan.accumulators) {
        lines.push(`(local.set $${this.#localOf(accumulator.variable)} ${this.#identity(accumulator)})`);
      }
    }
    this.#copy = 0;
    return lines;
  }

  /** Sums start at 0, products at 1; every other operator may start from the variable itself. */
  #identity({ variable, element, operator }: Accumulator): string {
    if (this.#plan.kind === "bytes") return byteIdentity(variable);
    if (operator === "add") return laneConstant(this.#emitter, element, 0);
    if (operator === "mul") return laneConstant(this.#emitter, element, 1);
    return uniformVariable(variable, element);
  }

  #joinCopies(copies: number): Lines {
    return this.#plan.accumulators.map((accumulator) => {
      const locals = Array.from({ length: copies }, (_, copy) => {
        this.#copy = copy;
        return `(local.get $${this.#localOf(accumulator.variable)})`;
      });
      this.#copy = 0;
      const joined = pairwise(locals, (x, y) => this.#meet(accumulator, x, y));
      return `(local.set $${this.#localOf(accumulator.variable)} ${joined})`;
    });
  }

  /** Brings the lanes of every accumulator together in its variable. */
  #finishAccumulators(): Lines {
    return this.#plan.accumulators.flatMap((accumulator) => {
      const { variable, element, operator } = accumulator;
      const lanes = this.#localOf(variable);
      const width = this.#plan.kind === "bytes" ? 1 : 4;
      const folds: string[] = [];
      for (let distance = 8; distance >= width; distance >>= 1) {
        const turned = `(i8x16.shuffle ${turnedBytes(distance)} (local.get $${lanes}) (local.get $${lanes}))`;
        folds.push(`(local.set $${lanes} ${this.#meet(accumulator, `(local.get $${lanes})`, turned)})`);
      }
      const first = this.#firstLane(accumulator, `(local.get $${lanes})`);
      const held = this.#emitter.local(`${variable}_lane`, wasmType(element));
      const value = scalarMeet(
        this.#emitter,
        operator,
        accumulator,
        `(local.get $${variable})`,
        `(local.get $${held})`,
      );
      return [...folds, `(local.set $${held} ${first})`, `(local.set $${variable} ${value})`];
    });
  }

  #firstLane({ element }: Accumulator, lanes: string): string {
    if (this.#plan.kind === "bytes") return `(i8x16.extract_lane_${isUnsigned(element) ? "u" : "s"} 0 ${lanes})`;
    if (element === "bool") return `(i32.and (i32x4.extract_lane 0 ${lanes}) (i32.const 1))`;
    return `(${isFloat(element) ? "f32x4" : "i32x4"}.extract_lane 0 ${lanes})`;
  }
}

function bodiesOf(copies: readonly Statement[]): readonly (readonly Statement[])[] {
  return copies.map((copy) => (copy.kind === "for" ? copy.body : []));
}

function statementCount(statements: readonly Statement[]): number {
  return statements.reduce((sum, statement) => {
    if (statement.kind === "for") return sum + 1 + statementCount(statement.body);
    if (statement.kind === "if") return sum + 1 + statementCount(statement.then) + statementCount(statement.else);
    return sum + 1;
  }, 0);
}

function uniformVariable(variable: string, element: Accumulator["element"]): string {
  if (isFloat(element)) return `(f32x4.splat (local.get $${variable}))`;
  const lanes = `(i32x4.splat (local.get $${variable}))`;
  return element === "bool" ? `(i32x4.neg ${lanes})` : lanes;
}

/** Byte order of a vector turned by `distance` bytes. */
function turnedBytes(distance: number): string {
  return Array.from({ length: 16 }, (_, byte) => (byte + distance) % 16).join(" ");
}

function pairwise(values: readonly string[], meet: (x: string, y: string) => string): string {
  let level = [...values];
  while (level.length > 1) {
    const next: string[] = [];
    for (let index = 0; index < level.length; index += 2) {
      next.push(index + 1 < level.length ? meet(level[index], level[index + 1]) : level[index]);
    }
    level = next;
  }
  return level[0];
}

function scalarMeet(emitter: Emitter, operator: Meeting, { element }: Accumulator, x: string, y: string): string {
  const type = wasmType(element);
  switch (operator) {
    case "pmax":
      return `(select ${y} ${x} (f32.lt ${x} ${y}))`;
    case "pmin":
      return `(select ${y} ${x} (f32.gt ${x} ${y}))`;
    case "min":
    case "max":
      return isFloat(element)
        ? `(${type}.${operator} ${x} ${y})`
        : emitter.extreme(`i32.${operator === "min" ? "lt" : "gt"}_${isUnsigned(element) ? "u" : "s"}`, "i32", x, y);
    default:
      return `(${type}.${operator} ${x} ${y})`;
  }
}
