/** The state of printing one function: its locals, the math functions it calls, and the loops around the present line. */

import { elementBytes, type ElementType } from "../../../compiler/numeric/element.ts";
import { type AffineIndex, affineOf, indexOfAffine, indexVariables } from "../../loops/index.ts";
import type { Index, Scalar } from "../../loops/program.ts";
import type { WasmType } from "./types.ts";
import { InvariantError } from "../../../compiler/diagnostics.ts";

/** A loop being printed. Addresses that do not change inside it are computed once before it. */
export interface LoopScope {
  /** Variables that change inside the loop, its own included. */
  readonly changing: ReadonlySet<string>;
  readonly pointers: Map<string, Pointer>;
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
    let name = `each_${stem}`;
    for (let suffix = 2; this.#labels.has(name); suffix++) name = `each_${stem}_${suffix}`;
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

  /** Prints inside a loop; `pointers` of the scope are then to be set before it, in the scope around it. */
  inside<T>(changing: ReadonlySet<string>, body: () => T): { readonly result: T; readonly setup: readonly string[] } {
    const scope: LoopScope = { changing, pointers: new Map() };
    this.#scopes.push(scope);
    const result = body();
    this.#scopes.pop();
    const setup = [...scope.pointers.values()].map((pointer) => {
      const { text, offset } = this.address(pointer.buffer, indexOfAffine(pointer.affine), pointer.width);
      return `(local.set $${pointer.local} ${addText(text, offset)})`;
    });
    return { result, setup };
  }

  /** Address of buffer[index]. */
  address(buffer: string, index: Index, width: number): Address {
    const affine = affineOf(index);
    const scope = this.#scopes.at(-1);
    const isFixed = (factor: Exclude<Index, number>) => scope !== undefined && !changes(factor, scope.changing);
    const fixed = affine.terms.filter(({ factor }) => isFixed(factor));
    const moving = affine.terms.filter(({ factor }) => !isFixed(factor));
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
    const key = JSON.stringify([buffer, affine], (_, value) => (typeof value === "bigint" ? String(value) : value));
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

function changes(index: Index, changing: ReadonlySet<string>): boolean {
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
