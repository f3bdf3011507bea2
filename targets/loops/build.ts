/** Builds loop programs statement by statement. */

import type { ElementType } from "../../compiler/numeric/element.ts";
import { indexOfScalar, variable } from "./index.ts";
import type { Index, LoopBuffer, LoopOrder, LoopProgram, Scalar, Statement } from "./program.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";

/** Collects buffers and statements; names are made unique as they are asked for. */
export class LoopBuilder {
  readonly #buffers = new Map<string, LoopBuffer>();
  readonly #names = new Set<string>();
  #statements: Statement[] = [];

  /** A name that nothing else in the program has. */
  name(stem: string): string {
    let name = stem;
    for (let suffix = 2; this.#names.has(name); suffix++) name = `${stem}${suffix}`;
    this.#names.add(name);
    return name;
  }

  /** Registers a buffer, or widens the access of the one that the program has for this array already. */
  buffer(stem: string, buffer: Omit<LoopBuffer, "name">): string {
    const key = JSON.stringify([buffer.source, buffer.part]);
    const known = this.#buffers.get(key);
    if (known !== undefined) {
      if (known.access !== buffer.access) this.#buffers.set(key, { ...known, access: "readWrite" });
      return known.name;
    }
    const name = this.name(stem);
    this.#buffers.set(key, { name, ...buffer });
    return name;
  }

  /** A private array of the enclosing body. */
  array(stem: string, element: ElementType, extent: number): string {
    const name = this.name(stem);
    this.#statements.push({ kind: "array", name, element, extent: Math.max(1, extent) });
    return name;
  }

  let(stem: string, value: Scalar): Variable {
    const name = this.name(stem);
    this.#statements.push({ kind: "let", variable: name, value });
    return { kind: "variable", name, element: value.element };
  }

  /** Holds an index in a variable, unless it is a constant or a variable already. */
  letIndex(stem: string, index: Index): Index {
    if (typeof index === "number" || index.kind === "variable") return index;
    const value: Scalar = index.kind === "scalar" ? index.x : { kind: "index", element: "i32", index };
    return indexOfScalar(this.let(stem, value));
  }

  assign(target: Variable, value: Scalar): void {
    if (target.element !== value.element) {
      throw new InvariantError(`Variable ${target.name} is ${target.element}, assigned ${value.element}`);
    }
    this.#statements.push({ kind: "assign", variable: target.name, value });
  }

  store(buffer: string, index: Index, value: Scalar): void {
    this.#statements.push({ kind: "store", buffer, index, value });
  }

  /** A loop over 0..extent-1; an extent of 1 runs its body with index 0 and makes no loop. */
  for(stem: string, extent: Index, order: LoopOrder, body: (index: Index) => void): void {
    if (extent === 1) return body(0);
    this.forRange(stem, 0, extent, order, body);
  }

  forRange(stem: string, from: Index, to: Index, order: LoopOrder, body: (index: Index) => void): void {
    const name = this.name(stem);
    const statements = this.#inside(() => body(variable(name)));
    this.#statements.push({ kind: "for", variable: name, from, to, order, body: statements });
  }

  if(condition: Scalar, then: () => void, otherwise?: () => void): void {
    this.#statements.push({
      kind: "if",
      condition,
      then: this.#inside(then),
      else: otherwise === undefined ? [] : this.#inside(otherwise),
    });
  }

  #inside(body: () => void): readonly Statement[] {
    const outer = this.#statements;
    this.#statements = [];
    body();
    const inner = this.#statements;
    this.#statements = outer;
    return inner;
  }

  finish(name: string, algebra: readonly string[]): LoopProgram {
    return Object.freeze({
      name,
      algebra,
      buffers: [...this.#buffers.values()],
      body: this.#statements,
    });
  }
}

/** A mutable scalar of a program. */
export interface Variable {
  readonly kind: "variable";
  readonly name: string;
  readonly element: ElementType;
}
