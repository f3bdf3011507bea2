/** Decides whether a loop can run several iterations at once, in the lanes of vectors, and how. */

import { elementBytes, type ElementType } from "../../../compiler/numeric/element.ts";
import { affineOf, indexVariables, scalarVariables } from "../../loops/index.ts";
import type { Index, Scalar, Statement } from "../../loops/program.ts";

type Loop = Extract<Statement, { kind: "for" }>;

/** Operators by which lanes of a reduction meet. `pmin` and `pmax` are minimum and maximum that pass NaN operands over. */
export type Meeting = "add" | "mul" | "min" | "max" | "and" | "or" | "pmin" | "pmax";

export interface Accumulator {
  readonly variable: string;
  readonly element: ElementType;
  readonly operator: Meeting;
}

/**
 * `values`: four lanes, every value widened to 32 bits. `bytes`: sixteen lanes of one 8-bit element, for minima, maxima and
 * selections. `bits`: as many lanes as fit, elements moved as they are.
 */
export type LaneKind = "values" | "bytes" | "bits";

export interface LanePlan {
  readonly kind: LaneKind;
  readonly lanes: number;
  /** Variables that differ from lane to lane. */
  readonly varying: ReadonlySet<string>;
  readonly accumulators: readonly Accumulator[];
  /** Whether the body is straight code, so that copies of it may follow one another. */
  readonly isStraight: boolean;
}

/** A plan for a loop, or undefined where it must run one iteration at a time. */
export function planLanes(loop: Loop): LanePlan | undefined {
  if (loop.order === "sequential") return undefined;
  const declared = declaredNames(loop.body);
  const accumulators = findAccumulators(loop.body, declared);
  if (accumulators === undefined) return undefined;
  if (loop.order === "independent" && accumulators.length > 0) return undefined;
  const varying = varyingNames(loop, accumulators);
  const check = checkBody(loop, varying, accumulators);
  if (check === undefined || !check.touchesMemory) return undefined;
  const kind = laneKind(check);
  if (kind === undefined) return undefined;
  const lanes = kind === "values" ? 4 : kind === "bytes" ? 16 : 16 / check.widest;
  if (lanes < 2) return undefined;
  return { kind, lanes, varying, accumulators, isStraight: check.isStraight };
}

function declaredNames(statements: readonly Statement[], into = new Set<string>()): Set<string> {
  for (const statement of statements) {
    if (statement.kind === "let") into.add(statement.variable);
    else if (statement.kind === "for") {
      into.add(statement.variable);
      declaredNames(statement.body, into);
    } else if (statement.kind === "if") {
      declaredNames(statement.then, into);
      declaredNames(statement.else, into);
    }
  }
  return into;
}

/** Outer variables that the body assigns, each by one operator; undefined where an assignment is of another form. */
function findAccumulators(
  statements: readonly Statement[],
  declared: ReadonlySet<string>,
): readonly Accumulator[] | undefined {
  const found = new Map<string, Accumulator>();
  const visit = (statement: Statement): boolean => {
    switch (statement.kind) {
      case "assign": {
        if (declared.has(statement.variable)) return true;
        const operator = meetingOf(statement.variable, statement.value);
        if (operator === undefined || found.has(statement.variable)) return false;
        found.set(statement.variable, { variable: statement.variable, element: statement.value.element, operator });
        return true;
      }
      case "for":
        return statement.body.every(visit);
      case "if":
        return [...statement.then, ...statement.else].every(visit);
      default:
        return true;
    }
  };
  return statements.every(visit) ? [...found.values()] : undefined;
}

/** The operator of `v = operator(v, e)` with e free of v. */
export function meetingOf(variable: string, value: Scalar): Meeting | undefined {
  const part = addendOf(variable, value);
  return part?.operator;
}

/** Operator and e of `v = operator(v, e)`. */
export function addendOf(
  variable: string,
  value: Scalar,
): { readonly operator: Meeting; readonly x: Scalar } | undefined {
  const isSelf = (scalar: Scalar) => scalar.kind === "variable" && scalar.name === variable;
  if (value.kind === "binary" && isSelf(value.x) && !scalarVariables(value.y).has(variable)) {
    const { operator, y } = value;
    const meets = operator === "add" || operator === "mul" || operator === "min" || operator === "max" ||
      operator === "and" || operator === "or";
    return meets ? { operator, x: y } : undefined;
  }
  // v < e ? e : v, and v > e ? e : v.
  if (value.kind !== "select" || value.condition.kind !== "compare" || !isSelf(value.y)) return undefined;
  const { operator, x, y } = value.condition;
  const isChoice = isSelf(x) && JSON.stringify(y) === JSON.stringify(value.x) && !scalarVariables(y).has(variable);
  if (!isChoice || value.element !== "f32") return undefined;
  return operator === "lt" ? { operator: "pmax", x: y } : operator === "gt" ? { operator: "pmin", x: y } : undefined;
}

/** The least set of variables that differ between lanes. */
function varyingNames(loop: Loop, accumulators: readonly Accumulator[]): ReadonlySet<string> {
  const varying = new Set<string>([loop.variable, ...accumulators.map((entry) => entry.variable)]);
  const differs = (scalar: Scalar) => [...scalarVariables(scalar)].some((name) => varying.has(name));
  const visit = (statement: Statement): void => {
    switch (statement.kind) {
      case "let":
      case "assign":
        if (differs(statement.value)) varying.add(statement.variable);
        break;
      case "for":
        statement.body.forEach(visit);
        break;
      case "if":
        statement.then.forEach(visit);
        statement.else.forEach(visit);
        break;
      default:
        break;
    }
  };
  for (let before = -1; before !== varying.size;) {
    before = varying.size;
    loop.body.forEach(visit);
  }
  return varying;
}

/** What a body that can run in lanes works with. */
interface BodyCheck {
  readonly elements: ReadonlySet<ElementType>;
  readonly widest: number;
  /** Only loads, variables and stores: bits are moved, never looked at. */
  readonly onlyMoves: boolean;
  /** Operators, for the 8-bit lanes. */
  readonly operators: ReadonlySet<string>;
  readonly touchesMemory: boolean;
  readonly isStraight: boolean;
}

function checkBody(
  loop: Loop,
  varying: ReadonlySet<string>,
  accumulators: readonly Accumulator[],
): BodyCheck | undefined {
  const elements = new Set<ElementType>();
  const operators = new Set<string>();
  let touchesMemory = false;
  let isStrided = false;
  let onlyMoves = accumulators.length === 0;
  let isStraight = true;

  const differs = (scalar: Scalar) => [...scalarVariables(scalar)].some((name) => varying.has(name));
  const isUniformIndex = (index: Index) => ![...indexVariables(index)].some((name) => varying.has(name));

  const checkScalar = (scalar: Scalar): boolean => {
    elements.add(scalar.element);
    if (!differs(scalar)) return true;
    switch (scalar.kind) {
      case "literal":
      case "variable":
        return true;
      case "load": {
        touchesMemory = true;
        const stride = laneStride(scalar.index, loop.variable, varying);
        if (stride !== 1) isStrided = true;
        return stride !== undefined && (stride === 1 || canStride(scalar.element));
      }
      case "index":
        onlyMoves = false;
        return laneStride(scalar.index, loop.variable, varying) !== undefined;
      case "binary":
      case "compare":
        onlyMoves = false;
        operators.add(scalar.kind === "binary" ? scalar.operator : "compare");
        return checkScalar(scalar.x) && checkScalar(scalar.y);
      case "select":
        onlyMoves = false;
        operators.add("select");
        return checkScalar(scalar.condition) && checkScalar(scalar.x) && checkScalar(scalar.y);
      case "unary":
        onlyMoves = false;
        operators.add(scalar.operator);
        return checkScalar(scalar.x);
      case "cast":
      case "reinterpret":
      case "table":
        onlyMoves = false;
        operators.add(scalar.kind);
        return checkScalar(scalar.x);
    }
  };

  const checkStatement = (statement: Statement): boolean => {
    switch (statement.kind) {
      case "let":
      case "assign":
        return !varying.has(statement.variable) || checkScalar(statement.value);
      case "store":
        touchesMemory = true;
        return laneStride(statement.index, loop.variable, varying) === 1 && checkScalar(statement.value);
      case "for":
        isStraight = false;
        return isUniformIndex(statement.from) && isUniformIndex(statement.to) && statement.body.every(checkStatement);
      case "if":
        isStraight = false;
        return !differs(statement.condition) && [...statement.then, ...statement.else].every(checkStatement);
      case "array":
        return false;
    }
  };

  if (!loop.body.every(checkStatement)) return undefined;
  // Lanes that are gathered one by one pay where they spare stores one by one, not where an inner loop has better lanes.
  if (isStrided && (!isStraight || accumulators.length > 0)) return undefined;
  const widest = Math.max(...[...elements].map(elementBytes));
  return { elements, widest, onlyMoves, operators, touchesMemory, isStraight };
}

/** Elements whose lanes may be gathered from places that do not follow one another. */
function canStride(element: ElementType): boolean {
  return element === "f32" || element === "i32" || element === "u32";
}

/** By how many entries an index moves from lane to lane; undefined where it is not a plain multiple. */
export function laneStride(index: Index, variable: string, varying: ReadonlySet<string>): number | undefined {
  let stride = 0;
  for (const { factor, coefficient } of affineOf(index).terms) {
    if (factor.kind === "variable" && factor.name === variable) stride += coefficient;
    else if ([...indexVariables(factor)].some((name) => varying.has(name))) return undefined;
  }
  return stride;
}

const fourLaneElements: ReadonlySet<ElementType> = new Set<ElementType>([
  "bool",
  "i8",
  "u8",
  "i16",
  "u16",
  "i32",
  "u32",
  "f16",
  "bf16",
  "f32",
]);

const byteOperators: ReadonlySet<string> = new Set(["min", "max"]);

function laneKind({ elements, onlyMoves, operators }: BodyCheck): LaneKind | undefined {
  if (onlyMoves && elements.size === 1) return "bits";
  const [element] = elements;
  const isBytes = elements.size === 1 && (element === "i8" || element === "u8");
  if (isBytes && [...operators].every((operator) => byteOperators.has(operator))) return "bytes";
  return [...elements].every((each) => fourLaneElements.has(each)) ? "values" : undefined;
}
