/** Turns the f64 functions of the WebAssembly math library into WGSL, so that both targets compute by the same formulas. */

import { InvariantError } from "../../../compiler/diagnostics.ts";

type Form = string | readonly Form[];

/** Types of a function's locals, and the labels around the present line. */
interface Scope {
  readonly types: ReadonlyMap<string, string>;
  readonly loops: readonly string[];
  /** The call that sums a polynomial of the function. */
  readonly polynomial: (of: Polynomial) => string;
}

/** Σ coefficients[n] x^n, from the innermost bracket. */
interface Polynomial {
  readonly x: string;
  readonly coefficients: readonly number[];
}

/** Shorter polynomials stay as they are. */
const fewestLoopTerms = 4;

/** WGSL of one `(func $name ...)`. */
export function wgslFunction(wat: string): string {
  const comments = wat.split("\n").filter((line) => line.startsWith(";;")).map((line) => `//${line.slice(2)}`);
  const [form] = readForms(wat);
  if (typeof form === "string") throw new InvariantError("A math function is no list");
  const [, name, ...rest] = form;
  const declared = (kind: string) => rest.filter((part) => head(part) === kind).map(list);
  const parameters = declared("param");
  const locals = declared("local");
  const result = wgslType(String(declared("result")[0][1]));
  const types = new Map([...parameters, ...locals].map(([, local, type]) => [String(local), String(type)]));
  const body = rest.filter((part) => !["param", "local", "result"].includes(head(part)));
  const loops: string[] = [];
  const polynomial = ({ x, coefficients }: Polynomial): string => {
    const own = `${nameOf(name)}_polynomial${loops.length === 0 ? "" : loops.length + 1}`;
    loops.push(polynomialFunction(own, coefficients));
    return `${own}(${x})`;
  };
  const scope: Scope = { types, loops: [], polynomial };
  const last = body[body.length - 1];
  const lines = [
    ...parameters.map(([, local]) => `var ${nameOf(local)} = ${nameOf(local)}_in;`),
    ...locals.map(([, local, type]) => `var ${nameOf(local)}: ${wgslType(String(type))};`),
    ...body.slice(0, -1).flatMap((part) => statement(part, scope)),
    `return ${value(last, scope)};`,
  ];
  const taken = parameters.map(([, local, type]) => `${nameOf(local)}_in: ${wgslType(String(type))}`).join(", ");
  return [
    ...loops,
    ...comments,
    `fn ${nameOf(name)}(${taken}) -> ${result} {`,
    ...lines.map((line) => `  ${line}`),
    "}",
  ].join("\n");
}

/** A loop, not nested calls: drivers write every call out, and a sum in f64 takes hundreds of instructions. */
function polynomialFunction(name: string, coefficients: readonly number[]): string {
  const count = coefficients.length;
  return [
    "// The polynomial of these coefficients, from its innermost bracket.",
    `fn ${name}(x: vec2<u32>) -> vec2<u32> {`,
    `  var coefficients = array<vec2<u32>, ${count}>(`,
    ...coefficients.map((coefficient) => `    ${f64Literal(coefficient)},`),
    "  );",
    `  var sum = coefficients[${count - 1}];`,
    `  for (var n = ${count - 2}; n >= 0; n--) { sum = add_f64(coefficients[n], mul_f64(x, sum)); }`,
    "  return sum;",
    "}",
    "",
  ].join("\n");
}

/** Reads (add c0 (mul x (add c1 (mul x ...)))), as `polynomial` of the WebAssembly library writes it. */
function polynomialOf(form: Form): Polynomial | undefined {
  const coefficients: number[] = [];
  let x: string | undefined;
  let rest = form;
  while (head(rest) === "f64.add") {
    const [, coefficient, product] = list(rest);
    if (head(coefficient) !== "f64.const" || head(product) !== "f64.mul") return undefined;
    const [, factor, inner] = list(product);
    if (head(factor) !== "local.get" || (x !== undefined && nameOf(list(factor)[1]) !== x)) return undefined;
    x = nameOf(list(factor)[1]);
    coefficients.push(constantOf(String(list(coefficient)[1])));
    rest = inner;
  }
  if (x === undefined || head(rest) !== "f64.const") return undefined;
  coefficients.push(constantOf(String(list(rest)[1])));
  return coefficients.length < fewestLoopTerms ? undefined : { x, coefficients };
}

function readForms(text: string): Form[] {
  const tokens = text.replace(/;;[^\n]*/g, "").match(/[()]|[^\s()]+/g) ?? [];
  let at = 0;
  const read = (): Form => {
    const token = tokens[at++];
    if (token !== "(") return token;
    const items: Form[] = [];
    while (tokens[at] !== ")") items.push(read());
    at++;
    return items;
  };
  const forms: Form[] = [];
  while (at < tokens.length) forms.push(read());
  return forms;
}

function list(form: Form): readonly Form[] {
  if (typeof form === "string") throw new InvariantError(`${form} is no list`);
  return form;
}

function head(form: Form): string {
  return typeof form === "string" ? form : String(form[0]);
}

function nameOf(form: Form): string {
  return String(form).slice(1);
}

function wgslType(type: string): string {
  return type === "i32" ? "i32" : type === "f32" ? "f32" : "vec2<u32>";
}

function statement(form: Form, scope: Scope): string[] {
  const [kind, ...parts] = list(form);
  const inner = (forms: readonly Form[], loops = scope.loops) =>
    forms.flatMap((part) => statement(part, { ...scope, loops })).map((line) => `  ${line}`);
  switch (kind) {
    case "local.set":
      return [`${nameOf(parts[0])} = ${value(parts[1], scope)};`];
    case "return":
      return [`return ${value(parts[0], scope)};`];
    case "if": {
      const [test, then, otherwise] = parts;
      const tail = otherwise === undefined ? [] : ["} else {", ...inner(list(otherwise).slice(1))];
      return [`if (${condition(test, scope)}) {`, ...inner(list(then).slice(1)), ...tail, "}"];
    }
    case "block":
      return parts.slice(1).flatMap((part) => statement(part, scope));
    case "loop": {
      const own = String(parts[0]);
      const body = parts.slice(1, -1);
      const end = list(parts[parts.length - 1]);
      const leave = end[0] === "br" ? [] : [`  if (!(${condition(end[2], scope)})) { break; }`];
      if (end[1] !== own) throw new InvariantError("A loop does not end with a jump to its start");
      return ["loop {", ...inner(body, [...scope.loops, own]), ...leave, "}"];
    }
    case "br_if":
      return [
        `if (${condition(parts[1], scope)}) { ${scope.loops.includes(String(parts[0])) ? "continue" : "break"}; }`,
      ];
    default:
      throw new InvariantError(`Math functions have no statement ${String(kind)}`);
  }
}

const comparisons: Readonly<Record<string, string>> = {
  eq: "==",
  ne: "!=",
  lt_s: "<",
  gt_s: ">",
  le_s: "<=",
  ge_s: ">=",
};

/** A test as a bool. */
function condition(form: Form, scope: Scope): string {
  const [operator, ...parts] = list(form);
  const [type, name] = String(operator).split(".");
  const operand = (index: number) => value(parts[index], scope);
  if (type === "f64" && name in { eq: 0, ne: 0, lt: 0, gt: 0, le: 0, ge: 0 }) {
    return compareF64(name, operand(0), operand(1));
  }
  if (type === "i64") {
    if (name === "eqz") return `eq_u64(${operand(0)}, vec2<u32>(0u))`;
    if (name === "lt_u") return `lt_u64(${operand(0)}, ${operand(1)})`;
    if (name === "gt_u") return `lt_u64(${operand(1)}, ${operand(0)})`;
    if (name === "ge_u") return `!lt_u64(${operand(0)}, ${operand(1)})`;
  }
  if (type === "i32") {
    if (name === "eqz") return `!(${condition(parts[0], scope)})`;
    if (name === "lt_u") return `(u32(${operand(0)}) < u32(${operand(1)}))`;
    if ((name === "and" || name === "or") && parts.every(isTest)) {
      return `(${condition(parts[0], scope)} ${name === "and" ? "&&" : "||"} ${condition(parts[1], scope)})`;
    }
    if ((name === "eq" || name === "ne") && parts.every(isTest)) {
      return `(${condition(parts[0], scope)} ${comparisons[name]} ${condition(parts[1], scope)})`;
    }
    if (name in comparisons) return `(${operand(0)} ${comparisons[name]} ${operand(1)})`;
  }
  return `(${value(form, scope)} != 0)`;
}

/** Whether a form's value is 0 or 1 by its operator. */
function isTest(form: Form): boolean {
  const name = head(form).split(".")[1] ?? "";
  if (name === "and" || name === "or") return list(form).slice(1).every(isTest);
  return /^(eq|ne|eqz|[lg][te](_[su])?)$/.test(name);
}

function compareF64(name: string, x: string, y: string): string {
  switch (name) {
    case "eq":
      return `eq_f64(${x}, ${y})`;
    case "ne":
      return `!eq_f64(${x}, ${y})`;
    case "lt":
      return `lt_f64(${x}, ${y})`;
    case "gt":
      return `lt_f64(${y}, ${x})`;
    case "le":
      return `le_f64(${x}, ${y})`;
    default:
      return `le_f64(${y}, ${x})`;
  }
}

/** WGSL functions of operators whose operands are taken as they stand. */
const functions: Readonly<Record<string, string>> = {
  "f64.nearest": "round_f64",
  "i32.trunc_sat_f64_s": "i32_of_f64",
  "i32.trunc_sat_f64_u": "i32_of_f64",
  "i64.trunc_sat_f64_s": "i64_of_f64",
  "f64.convert_i64_s": "f64_of_i64",
  "f64.convert_i64_u": "f64_of_u64",
  "f64.convert_i32_u": "f64_of_i32",
  "i64.extend_i32_s": "i64_of_i32",
  "i64.add": "add_u64",
  "i64.sub": "sub_u64",
  "i64.rem_u": "rem_u64",
  "i64.shl": "shl_u64",
  "i64.shr_u": "shr_u64",
  "i64.shr_s": "shr_i64",
};

const operators: Readonly<Record<string, string>> = {
  "i32.add": "+",
  "i32.sub": "-",
  "i32.mul": "*",
  "i32.and": "&",
  "i32.or": "|",
  "i64.and": "&",
  "i64.or": "|",
};

function value(form: Form, scope: Scope): string {
  const [operator, ...parts] = list(form);
  const name = String(operator);
  const operand = (index: number) => value(parts[index], scope);
  const operands = () => parts.map((part) => value(part, scope)).join(", ");
  const polynomial = polynomialOf(form);
  if (polynomial !== undefined) return scope.polynomial(polynomial);
  switch (name) {
    case "local.get":
      return nameOf(parts[0]);
    case "call":
      return `${nameOf(parts[0])}(${parts.slice(1).map((part) => value(part, scope)).join(", ")})`;
    case "f64.const":
      return f64Literal(constantOf(String(parts[0])));
    case "i64.const":
      return wordsText(BigInt.asUintN(64, BigInt(String(parts[0]))));
    case "i32.const":
      return `${Number(parts[0])}`.replace(/^-.*/, "($&)");
    case "select":
      return `select(${operand(1)}, ${operand(0)}, ${condition(parts[2], scope)})`;
    case "if": {
      const [, test, then, otherwise] = parts;
      const branch = (part: Form) => value(list(part)[1], scope);
      return `select(${branch(otherwise)}, ${branch(then)}, ${condition(test, scope)})`;
    }
    case "f64.reinterpret_i64":
    case "i64.reinterpret_f64":
      return operand(0);
    case "i32.wrap_i64":
      return `bitcast<i32>(${operand(0)}.x)`;
    case "i32.div_s":
      return `(${operand(0)} / ${operand(1)})`;
  }
  if (name in operators && !isTest(form)) return `(${operand(0)} ${operators[name]} ${operand(1)})`;
  if (isTest(form)) return `select(0, 1, ${condition(form, scope)})`;
  if (name in functions) return `${functions[name]}(${operands()})`;
  const [type, own] = name.split(".");
  if (type === "f64") return `${own}_f64(${operands()})`;
  throw new InvariantError(`Math functions have no operator ${name}`);
}

function constantOf(text: string): number {
  const power = /^0x1p(-?\d+)$/.exec(text);
  if (power !== null) return 2 ** Number(power[1]);
  if (text === "inf" || text === "-inf") return text === "inf" ? Infinity : -Infinity;
  return text === "nan" ? NaN : Number(text);
}

/** The two words of a double. */
export function f64Literal(value: number): string {
  return wordsText(new BigUint64Array(Float64Array.of(value).buffer)[0]);
}

/** A 64-bit literal, low word first. */
export function wordsText(bits: bigint): string {
  const word = (part: bigint) => (part < 10n ? `${part}u` : `0x${part.toString(16)}u`);
  return `vec2<u32>(${word(bits & 0xffffffffn)}, ${word(bits >> 32n)})`;
}
