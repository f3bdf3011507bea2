/** The state of printing one function: its locals, the math functions it calls, and the loops around the present line. */

import { elementBytes, type ElementType } from "../../../compiler/numeric/element.ts";
import {
  type AffineIndex,
  affineOf,
  exactText,
  indexOfAffine,
  indexVariables,
  scalarBuffers,
  scalarVariables,
} from "../../loops/index.ts";
import type { Index, Scalar } from "../../loops/program.ts";
import { type WasmType, wasmType } from "./types.ts";
import { canInline, inlineCall } from "../math/inline.ts";
import { InvariantError } from "../../../compiler/diagnostics.ts";

/** What changes while a loop runs. */
export interface Changes {
  /** Variables that are set, the loop's own included. */
  readonly variables: ReadonlySet<string>;
  /** Buffers that are stored to. */
  readonly buffers: ReadonlySet<string>;
}

/** A loop being printed. What does not change inside it is computed once before it. */
interface LoopScope {
  readonly changes: Changes;
  readonly pointers: Map<string, Pointer>;
  readonly values: Map<string, Held>;
  /** Locals of vector constants, by their text. */
  readonly constants: Map<string, string>;
  /** How many conditions the present line depends on: nothing is moved out from under one. */
  guards: number;
}

/** A value computed before a loop: a scalar, or a scalar in every lane. */
interface Held {
  readonly local: string;
  readonly text: () => string;
}

interface Pointer {
  readonly local: string;
  readonly buffer: string;
  readonly affine: AffineIndex;
  readonly width: number;
}

/** Address of an element: an expression and a constant for the instruction's `offset=`. */
export interface Address {
  readonly text: string;
  readonly offset: number;
}

/** Prints the value of a scalar; the scalar printer, handed in so that an Index may hold loads. */
export type PrintScalar = (scalar: Scalar) => string;

export class Emitter {
  readonly #locals = new Map<string, WasmType>();
  readonly #taken = new Set<string>();
  readonly #labels = new Set<string>();
  readonly #calls = new Set<string>();
  readonly #counters = new Set<string>();
  readonly #scopes: LoopScope[] = [];
  readonly #printScalar: PrintScalar;

  constructor(taken: Iterable<string>, printScalar: (emitter: Emitter) => PrintScalar) {
    for (const name of taken) this.#taken.add(name);
    this.#printScalar = printScalar(this);
  }

  get calls(): readonly string[] {
    return [...this.#calls].sort();
  }

  get locals(): ReadonlyMap<string, WasmType> {
    return this.#locals;
  }

  /** Text of a call of a math function, which the module then has to hold. */
  call(name: string, ...operands: readonly string[]): string {
    this.#calls.add(name);
    return `(call $${[name, ...operands].join(" ")})`;
  }

  /** A call of a vector function, written out where that is worth its text. */
  vectorCall(name: string, ...operands: readonly string[]): string {
    if (!canInline(name)) return this.call(name, ...operands);
    return inlineCall(name, operands, {
      local: (stem) => this.local(stem, "v128"),
      label: (stem) => this.label(stem),
      constant: (text) => this.constant(text),
    });
  }

  /** A vector constant; inside a loop it is read from a local that is set before the loop. */
  constant(text: string): string {
    const scope = this.#scopes.at(-1);
    if (scope === undefined) return text;
    const known = scope.constants.get(text);
    if (known !== undefined) return `(local.get $${known})`;
    const local = this.local("c", "v128");
    scope.constants.set(text, local);
    return `(local.get $${local})`;
  }

  /** A new local under a name of its own. */
  local(stem: string, type: WasmType): string {
    let name = stem;
    for (let suffix = 2; this.#taken.has(name); suffix++) name = `${stem}_${suffix}`;
    this.#taken.add(name);
    this.#locals.set(name, type);
    return name;
  }

  /** A label for a block or loop. */
  label(stem: string): string {
    let name = stem;
    for (let suffix = 2; this.#labels.has(name); suffix++) name = `${stem}_${suffix}`;
    this.#labels.add(name);
    return name;
  }

  /** The local of a variable of the program. */
  declare(name: string, type: WasmType): string {
    const known = this.#locals.get(name);
    if (known !== undefined && known !== type) throw new InvariantError(`Variable ${name} is ${known} and ${type}`);
    this.#locals.set(name, type);
    return name;
  }

  /** Marks a loop variable: it is never negative. */
  declareCounter(name: string): void {
    this.declare(name, "i32");
    this.#counters.add(name);
  }

  /** Prints inside a loop; `setup` computes before it, in the scope around it, what does not change in it. */
  inside<T>(changes: Changes, body: () => T): { readonly result: T; readonly setup: readonly string[] } {
    const scope: LoopScope = { changes, pointers: new Map(), values: new Map(), constants: new Map(), guards: 0 };
    this.#scopes.push(scope);
    const result = body();
    this.#scopes.pop();
    const pointers = [...scope.pointers.values()].map((pointer) => {
      const { text, offset } = this.address(pointer.buffer, indexOfAffine(pointer.affine), pointer.width);
      return `(local.set $${pointer.local} ${addText(text, offset)})`;
    });
    const values = [...scope.values.values()].map(({ local, text }) => `(local.set $${local} ${text()})`);
    const constants = [...scope.constants].map(([text, local]) => `(local.set $${local} ${this.constant(text)})`);
    return { result, setup: [...pointers, ...values, ...constants] };
  }

  /** Prints under a condition. */
  guarded<T>(body: () => T): T {
    const scope = this.#scopes.at(-1);
    if (scope === undefined) return body();
    scope.guards++;
    const result = body();
    scope.guards--;
    return result;
  }

  /** Reads a scalar that does not change in the present loop from a local set before it; undefined where it must stay. */
  hoisted(scalar: Scalar): string | undefined {
    if (scalar.kind === "literal" || scalar.kind === "variable" || scalar.kind === "index") return undefined;
    return this.#held(scalar, "scalar", wasmType(scalar.element), () => this.#printScalar(scalar));
  }

  /** A scalar in every lane of an `shape` vector (`f32x4`), from a local where it does not change in the present loop. */
  splat(scalar: Scalar, shape: string): string {
    const text = () => `(${shape}.splat ${this.#printScalar(scalar)})`;
    return this.#held(scalar, shape, "v128", () => this.splat(scalar, shape)) ?? text();
  }

  #held(scalar: Scalar, form: string, type: WasmType, text: () => string): string | undefined {
    const scope = this.#scopes.at(-1);
    if (scope === undefined || scope.guards > 0 || !isFixed(scalar, scope.changes)) return undefined;
    const key = form + JSON.stringify(scalar, exactText);
    const known = scope.values.get(key);
    if (known !== undefined) return `(local.get $${known.local})`;
    const local = this.local(scalar.kind === "variable" ? `${scalar.name}_lanes` : nameOfHeld(scalar), type);
    scope.values.set(key, { local, text });
    return `(local.get $${local})`;
  }

  /** Address of buffer[index]. */
  address(buffer: string, index: Index, width: number): Address {
    const affine = affineOf(index);
    const scope = this.#scopes.at(-1);
    const isHeld = (factor: Exclude<Index, number>) => scope !== undefined && !moves(factor, scope.changes.variables);
    const fixed = affine.terms.filter(({ factor }) => isHeld(factor));
    const moving = affine.terms.filter(({ factor }) => !isHeld(factor));
    const safe = affine.terms.every(({ factor, coefficient }) => coefficient > 0 && this.#isCount(factor)) &&
      affine.constant > 0;
    const base = fixed.length === 0
      ? `(local.get $${buffer})`
      : `(local.get $${this.#pointer(buffer, { constant: safe ? 0 : affine.constant, terms: fixed }, width)})`;
    const withTerms = moving.reduce(
      (sum, { factor, coefficient }) => `(i32.add ${sum} ${scaledText(this.index(factor), coefficient * width)})`,
      base,
    );
    if (safe) return { text: withTerms, offset: affine.constant * width };
    return { text: fixed.length > 0 ? withTerms : addText(withTerms, affine.constant * width), offset: 0 };
  }

  #pointer(buffer: string, affine: AffineIndex, width: number): string {
    const scope = this.#scopes.at(-1);
    if (scope === undefined) throw new InvariantError("A pointer is kept outside every loop");
    const key = JSON.stringify([buffer, affine], exactText);
    const known = scope.pointers.get(key);
    if (known !== undefined) return known.local;
    const local = this.local(`${buffer}_at`, "i32");
    scope.pointers.set(key, { local, buffer, affine, width });
    return local;
  }

  #isCount(factor: Exclude<Index, number>): boolean {
    return factor.kind === "symbol" || (factor.kind === "variable" && this.#counters.has(factor.name));
  }

  /** Text of an index as i32. */
  index(index: Index): string {
    if (typeof index === "number") return `(i32.const ${index})`;
    switch (index.kind) {
      case "variable":
        return `(local.get $${index.name})`;
      case "symbol":
        return `(global.get $${index.name})`;
      case "scalar":
        return this.#printScalar(index.x);
      case "add":
        return typeof index.y === "number"
          ? addText(this.index(index.x), index.y)
          : `(i32.add ${this.index(index.x)} ${this.index(index.y)})`;
      case "mul":
        return typeof index.y === "number"
          ? scaledText(this.index(index.x), index.y)
          : `(i32.mul ${this.index(index.x)} ${this.index(index.y)})`;
      case "div":
      case "rem":
        return dividedText(index.kind, this.index(index.x), index.y, () => this.index(index.y));
      case "min":
      case "max":
        return this.extreme(
          index.kind === "min" ? "i32.lt_s" : "i32.gt_s",
          "i32",
          this.index(index.x),
          this.index(index.y),
        );
    }
  }

  /** `before(x, y) ? x : y`, each operand computed once. */
  extreme(before: string, type: WasmType, x: string, y: string): string {
    const [first, second] = [this.once(x, type), this.once(y, type)];
    return `(select ${first.first} ${second.first} (${before} ${first.again} ${second.again}))`;
  }

  /** Text that computes a value, and text that reads it again right after. */
  once(text: string, type: WasmType): { readonly first: string; readonly again: string } {
    if (isCheap(text)) return { first: text, again: text };
    const local = this.local("t", type);
    return { first: `(local.tee $${local} ${text})`, again: `(local.get $${local})` };
  }
}

/** Constants and reads of locals may be repeated. */
function isCheap(text: string): boolean {
  return /^\((?:local\.get|global\.get|[if]\d\d\.const) [^()]*\)$/.test(text);
}

/** Whether a scalar has one value while a loop runs. */
function isFixed(scalar: Scalar, changes: Changes): boolean {
  for (const name of scalarVariables(scalar)) if (changes.variables.has(name)) return false;
  for (const name of scalarBuffers(scalar)) if (changes.buffers.has(name)) return false;
  return true;
}

function nameOfHeld(scalar: Scalar): string {
  return scalar.kind === "load" ? `${scalar.buffer}_held` : "held";
}

function moves(index: Index, changing: ReadonlySet<string>): boolean {
  if (holdsScalar(index)) return true;
  for (const name of indexVariables(index)) if (changing.has(name)) return true;
  return false;
}

function holdsScalar(index: Index): boolean {
  if (typeof index === "number" || index.kind === "variable" || index.kind === "symbol") return false;
  return index.kind === "scalar" || holdsScalar(index.x) || holdsScalar(index.y);
}

/** text + amount. */
export function addText(text: string, amount: number): string {
  return amount === 0 ? text : `(i32.add ${text} (i32.const ${amount}))`;
}

/** text * factor, by a shift where the factor is a power of two. */
export function scaledText(text: string, factor: number): string {
  if (factor === 1) return text;
  const shift = Math.log2(factor);
  return factor > 0 && Number.isInteger(shift)
    ? `(i32.shl ${text} (i32.const ${shift}))`
    : `(i32.mul ${text} (i32.const ${factor}))`;
}

/** x / y or x % y of values that are not negative. */
function dividedText(kind: "div" | "rem", x: string, divisor: Index, text: () => string): string {
  const shift = typeof divisor === "number" ? Math.log2(divisor) : NaN;
  if (typeof divisor === "number" && Number.isInteger(shift)) {
    return kind === "div" ? `(i32.shr_u ${x} (i32.const ${shift}))` : `(i32.and ${x} (i32.const ${divisor - 1}))`;
  }
  return `(i32.${kind}_u ${x} ${text()})`;
}

/** Bytes of an element in memory. */
export function widthOf(element: ElementType): number {
  return elementBytes(element);
}
