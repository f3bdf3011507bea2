/** Compiles an expression to steps over registers: each step is one tight loop over a run of entries. */

import { type ElementType, integerRange, isFloat, isWide } from "../../numeric/element.ts";
import { type Expression, expressionElement } from "../expression.ts";
import {
  binaryOperator,
  comparison,
  needsRounding,
  type Register,
  roundRegister,
  saturateRegister,
  selectNumbers,
  unaryOperator,
} from "./number_operators.ts";
import type { WideArray } from "./numbers.ts";
import { narrow, wideBinary, wideComparison, widen, wideUnary } from "./wide_operators.ts";
import { InvariantError } from "../../diagnostics.ts";

/** Entries that one step handles: registers of this many doubles stay in the first-level cache. */
export const runLength = 1024;

/** A register of doubles, or of 64-bit integers for u64 and i64. */
export type Cell =
  | { readonly kind: "number"; readonly element: ElementType; readonly values: Register }
  | { readonly kind: "wide"; readonly element: ElementType; readonly values: WideArray };

export interface Program {
  /** One cell per operand, to be filled before `run`; undefined where the expression does not read it. */
  readonly inputs: readonly (Cell | undefined)[];
  readonly result: Cell;
  /** Computes the first `count` entries of `result` from those of `inputs`. */
  readonly run: (count: number) => void;
}

const programs = new WeakMap<Expression, Map<string, Program>>();

/** The program of a well-typed expression. Programs are shared: fill, run and read before asking again. */
export function expressionProgram(expression: Expression, elements: readonly ElementType[]): Program {
  let known = programs.get(expression);
  if (known === undefined) programs.set(expression, known = new Map());
  const key = elements.join();
  let program = known.get(key);
  if (program === undefined) known.set(key, program = compile(expression, elements));
  return program;
}

function makeCell(element: ElementType): Cell {
  return isWide(element)
    ? {
      kind: "wide",
      element,
      values: element === "u64" ? new BigUint64Array(runLength) : new BigInt64Array(runLength),
    }
    : { kind: "number", element, values: new Float64Array(runLength) };
}

type Step = (count: number) => void;

function compile(expression: Expression, elements: readonly ElementType[]): Program {
  const typed = expressionElement(expression, elements);
  if (!typed.ok) throw new InvariantError(`Ill-typed expression: ${typed.reason}`);
  const inputs = new Array<Cell | undefined>(elements.length).fill(undefined);
  const steps: Step[] = [];
  const done = new Map<Expression, Cell>();
  const visit = (node: Expression): Cell => {
    const known = done.get(node);
    if (known !== undefined) return known;
    const cell = node.kind === "input" ? inputs[node.index] ??= makeCell(elements[node.index]) : compute(node);
    done.set(node, cell);
    return cell;
  };
  const compute = (node: Exclude<Expression, { kind: "input" }>): Cell => {
    switch (node.kind) {
      case "literal":
        return literalCell(node.element, node.value);
      case "unary": {
        const x = visit(node.x);
        const out = makeCell(node.operator === "isNaN" || node.operator === "isInf" ? "bool" : x.element);
        steps.push(unaryStep(node.operator, out, x));
        return out;
      }
      case "binary": {
        const x = visit(node.x);
        const y = visit(node.y);
        const out = makeCell(x.element);
        steps.push(binaryStep(node.operator, out, x, y));
        return out;
      }
      case "compare": {
        const x = visit(node.x);
        const y = visit(node.y);
        const out = makeCell("bool");
        steps.push(compareStep(node.operator, out, x, y));
        return out;
      }
      case "select": {
        const condition = visit(node.condition);
        const x = visit(node.x);
        const y = visit(node.y);
        const out = makeCell(x.element);
        steps.push(selectStep(out, condition, x, y));
        return out;
      }
      case "cast": {
        const x = visit(node.x);
        if (x.element === node.element) return x;
        const out = makeCell(node.element);
        steps.push(castStep(out, x));
        return out;
      }
    }
  };
  const result = visit(expression);
  return {
    inputs,
    result,
    run(count) {
      for (const step of steps) step(count);
    },
  };
}

function literalCell(element: ElementType, value: number | bigint): Cell {
  const cell = makeCell(element);
  if (cell.kind === "wide") {
    cell.values.fill(typeof value === "bigint" ? value : BigInt(Math.trunc(value)));
  } else {
    cell.values.fill(Number(value));
    roundRegister(element, cell.values, runLength);
  }
  return cell;
}

function numbers(cell: Cell): Register {
  if (cell.kind === "number") return cell.values;
  throw new InvariantError(`A register of ${cell.element} stands where numbers belong`);
}

function wides(cell: Cell): WideArray {
  if (cell.kind === "wide") return cell.values;
  throw new InvariantError(`A register of ${cell.element} stands where 64-bit integers belong`);
}

function unaryStep(operator: Extract<Expression, { kind: "unary" }>["operator"], out: Cell, x: Cell): Step {
  if (x.kind === "wide") {
    const scalar = wideUnary(operator);
    const to = wides(out);
    const from = x.values;
    return (count) => {
      for (let index = 0; index < count; index++) to[index] = scalar(from[index]);
    };
  }
  const loop = unaryOperator(operator, x.element);
  const to = numbers(out);
  const from = x.values;
  return rounded(out, needsRounding(operator, x.element), (count) => loop(to, from, count));
}

function binaryStep(operator: Extract<Expression, { kind: "binary" }>["operator"], out: Cell, x: Cell, y: Cell): Step {
  if (x.kind === "wide") {
    const scalar = wideBinary(operator);
    const to = wides(out);
    const left = x.values;
    const right = wides(y);
    return (count) => {
      for (let index = 0; index < count; index++) to[index] = scalar(left[index], right[index]);
    };
  }
  const loop = binaryOperator(operator, x.element);
  const to = numbers(out);
  const left = x.values;
  const right = numbers(y);
  return rounded(out, needsRounding(operator, x.element), (count) => loop(to, left, right, count));
}

function compareStep(
  operator: Extract<Expression, { kind: "compare" }>["operator"],
  out: Cell,
  x: Cell,
  y: Cell,
): Step {
  const to = numbers(out);
  if (x.kind === "wide") {
    const scalar = wideComparison[operator];
    const left = x.values;
    const right = wides(y);
    return (count) => {
      for (let index = 0; index < count; index++) to[index] = scalar(left[index], right[index]) ? 1 : 0;
    };
  }
  const loop = comparison[operator];
  const left = x.values;
  const right = numbers(y);
  return (count) => loop(to, left, right, count);
}

function selectStep(out: Cell, condition: Cell, x: Cell, y: Cell): Step {
  const test = numbers(condition);
  if (x.kind === "wide") {
    const to = wides(out);
    const left = x.values;
    const right = wides(y);
    return (count) => {
      for (let index = 0; index < count; index++) to[index] = test[index] !== 0 ? left[index] : right[index];
    };
  }
  const to = numbers(out);
  const left = x.values;
  const right = numbers(y);
  return (count) => selectNumbers(to, test, left, right, count);
}

function castStep(out: Cell, x: Cell): Step {
  if (out.kind === "wide") {
    const to = out.values;
    if (x.kind === "number") {
      const from = x.values;
      return (count) => widen(to, from, x.element, out.element, count);
    }
    const from = x.values;
    return (count) => {
      for (let index = 0; index < count; index++) to[index] = from[index];
    };
  }
  const to = out.values;
  if (x.kind === "wide") {
    const from = x.values;
    return rounded(out, true, (count) => narrow(to, from, out.element, count));
  }
  const from = x.values;
  const copy = (count: number) => to.set(count === runLength ? from : from.subarray(0, count));
  if (!isFloat(x.element) || isFloat(out.element) || out.element === "bool") return rounded(out, true, copy);
  const range = integerRange(out.element);
  const min = Number(range.min);
  const max = Number(range.max);
  return (count) => {
    copy(count);
    saturateRegister(min, max, to, count);
  };
}

function rounded(out: Cell, rounds: boolean, step: Step): Step {
  if (!rounds || out.kind === "wide") return step;
  const { element, values } = out;
  return (count) => {
    step(count);
    roundRegister(element, values, count);
  };
}
