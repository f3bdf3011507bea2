import assert from "node:assert/strict";
import fc from "fast-check";
import { allSamples } from "../../tests/support/op_samples.ts";
import { type ElementType, elementTypes, isWide } from "../numeric/element.ts";
import { GraphBuilder } from "./build.ts";
import {
  binaryOperators,
  comparisonOperators,
  type Expression,
  expressionElement,
  unaryOperators,
} from "./expression.ts";
import { ConstantStore } from "./constants.ts";
import { parseExpression, printExpression } from "./expression_text.ts";
import type { Graph } from "./graph.ts";
import { parseGraph } from "./parse.ts";
import { printGraph } from "./print.ts";
import { plainTensor } from "./tensor.ts";
import { TextCursor } from "./text_cursor.ts";
import { parseType, printType, tensorType } from "./types.ts";

/** All of a graph but the store, and the constants that it uses. */
function structure(graph: Graph): unknown {
  const { constants, ...rest } = graph;
  const used = graph.nodes.flatMap((node) => (node.op === "constant" ? [constants.get(node.attributes.hash)] : []));
  return { ...rest, used };
}

function parsed(text: string): Graph {
  const outcome = parseGraph(text);
  if (!outcome.ok) assert.fail(`${outcome.diagnostics.map(({ message, node }) => `${node}: ${message}`)}\n${text}`);
  return outcome.value;
}

function faultsOf(text: string): readonly string[] {
  const outcome = parseGraph(text);
  return outcome.ok ? [] : outcome.diagnostics.map(({ message, node }) => `${node}: ${message}`);
}

Deno.test("parse(print(graph)) equals the graph for a sample of every op", () => {
  for (const { name, graph } of allSamples()) {
    const text = printGraph(graph, { constants: "literal" });
    assert.deepEqual(structure(parsed(text)), structure(graph), name);
    assert.equal(printGraph(parsed(text), { constants: "literal" }), text, name);
  }
});

Deno.test("constants by hash are found in the store that is given", () => {
  for (const { name, graph } of allSamples()) {
    const outcome = parseGraph(printGraph(graph), { constants: graph.constants });
    assert(outcome.ok, name);
    assert.deepEqual(structure(outcome.value), structure(graph), name);
  }
});

const elements = fc.constantFrom<ElementType>(...elementTypes);
const numbers = fc.oneof(
  fc.double(),
  fc.float(),
  fc.integer(),
  fc.constantFrom(-0, Infinity, -Infinity, NaN, 1e21, 5e-324),
);

const expressions: fc.Arbitrary<Expression> = fc.letrec<{ expression: Expression }>((tie) => ({
  expression: fc.oneof(
    { maxDepth: 6, withCrossShrink: true },
    fc.nat({ max: 4 }).map((index): Expression => ({ kind: "input", index })),
    fc.tuple(elements, fc.oneof(numbers, fc.bigInt())).map(([element, value]): Expression => ({
      kind: "literal",
      element,
      value,
    })),
    fc.tuple(fc.constantFrom(...unaryOperators), tie("expression")).map(([operator, x]): Expression => ({
      kind: "unary",
      operator,
      x,
    })),
    fc.tuple(fc.constantFrom(...binaryOperators), tie("expression"), tie("expression")).map((
      [operator, x, y],
    ): Expression => ({ kind: "binary", operator, x, y })),
    fc.tuple(fc.constantFrom(...comparisonOperators), tie("expression"), tie("expression")).map((
      [operator, x, y],
    ): Expression => ({ kind: "compare", operator, x, y })),
    fc.tuple(tie("expression"), tie("expression"), tie("expression")).map(([condition, x, y]): Expression => ({
      kind: "select",
      condition,
      x,
      y,
    })),
    fc.tuple(elements, tie("expression")).map(([element, x]): Expression => ({ kind: "cast", element, x })),
  ),
})).expression;

Deno.test("parse(print(expression)) equals the expression", () => {
  fc.assert(fc.property(expressions, (expression) => {
    const text = printExpression(expression);
    assert.deepEqual(parseExpression(new TextCursor(text)), expression, text);
  }));
});

const names = fc.oneof(
  fc.string({ minLength: 1, unit: "grapheme" }),
  fc.constantFrom("a b", '"', "%", "\\", "x;y", "1"),
);

/** Graphs of elementwise nodes with odd names, origins, constants of every element, and symbols. */
const graphs: fc.Arbitrary<Graph> = fc.record({
  name: names,
  inputs: fc.uniqueArray(names, { minLength: 1, maxLength: 3 }),
  origins: fc.array(names, { maxLength: 2 }),
  bodies: fc.array(expressions, { maxLength: 4 }),
  constants: fc.array(fc.tuple(elements, fc.array(numbers, { minLength: 1, maxLength: 5 })), { maxLength: 4 }),
}).map(({ name, inputs, origins, bodies, constants }) => {
  const builder = new GraphBuilder(name);
  builder.symbol("seq", { min: 1, max: 9 });
  const values = inputs.map((input) =>
    builder.input(input, tensorType("f32", [{ symbol: "seq", factor: 2, offset: -1 }, 1]))
  );
  for (const [element, entries] of constants) {
    values.push(builder.constant(tensorOf(element, entries), { origin: origins }));
  }
  for (const expression of bodies) {
    const operands = values.slice(0, 5);
    if (!expressionElement(expression, operands.map((value) => builder.typeOf(value).element)).ok) continue;
    // Constants of other lengths do not broadcast together, so only inputs are read.
    const readable = operands.slice(0, inputs.length);
    if (!expressionElement(expression, readable.map(() => "f32")).ok) continue;
    values.push(builder.map(expression, readable, { origin: origins }));
  }
  values.forEach((value, index) => builder.output(`${name}${index}`, value));
  return builder.finish();
});

function tensorOf(element: ElementType, entries: readonly number[]) {
  const whole = entries.map((entry) => (Number.isFinite(entry) ? Math.trunc(entry) % 100 : 1));
  if (isWide(element)) {
    const signed = whole.map((entry) => BigInt(element === "u64" ? Math.abs(entry) : entry));
    return element === "u64"
      ? plainTensor("u64", [signed.length], BigUint64Array.from(signed))
      : plainTensor("i64", [signed.length], BigInt64Array.from(signed));
  }
  switch (element) {
    case "f32":
      return plainTensor("f32", [entries.length], Float32Array.from(entries));
    case "f64":
      return plainTensor("f64", [entries.length], Float64Array.from(entries));
    case "f16":
      return plainTensor("f16", [entries.length], Float16Array.from(entries));
    case "bool":
      return plainTensor("bool", [entries.length], Uint8Array.from(whole, (entry) => entry & 1));
    case "i8":
      return plainTensor("i8", [entries.length], Int8Array.from(whole));
    default:
      return plainTensor("i32", [entries.length], Int32Array.from(whole));
  }
}

Deno.test("parse(print(graph)) equals the graph for random names, origins, constants and expressions", () => {
  fc.assert(fc.property(graphs, (graph) => {
    const text = printGraph(graph, { constants: "literal" });
    assert.deepEqual(structure(parsed(text)), structure(graph), text);
  }));
});

Deno.test("print shows every difference between two expressions", () => {
  fc.assert(fc.property(expressions, expressions, (a, b) => {
    fc.pre(JSON.stringify(a, bigints) !== JSON.stringify(b, bigints));
    assert.notEqual(printExpression(a), printExpression(b));
  }));
});

function bigints(_: string, value: unknown): unknown {
  if (typeof value === "bigint") return `${value}n`;
  return typeof value === "number" && (Object.is(value, -0) || !Number.isFinite(value))
    ? `${1 / value}${value}`
    : value;
}

Deno.test("parseType is the inverse of printType for every type in the samples", () => {
  for (const { graph } of allSamples()) {
    for (const type of graph.types.values()) assert.deepEqual(parseType(printType(type)), type, printType(type));
  }
  const packed = "f16:q<int4, block[1,32], f16, zero>@panel(rows=8,depth=32)[8,64]";
  const type = parseType(packed);
  assert(type !== undefined);
  assert.equal(printType(type), packed);
});

Deno.test("types are inferred where the text leaves them out", () => {
  const graph = parsed("graph @g (%x: f32[2,3]) -> (%y) {\n  %y = transpose %x {permutation=[1,0]}\n}");
  assert.deepEqual(graph.types.get("y"), tensorType("f32", [3, 2]));
});

Deno.test("literals: splat, iota and random stand for whole tensors", () => {
  const graph = parsed(`graph @g () -> (%a, %b, %c, %d) {
    %a = const f32[2,2] splat(-1.5)   ; a comment
    %b = const i64[3] iota
    %c = const u8[64] random(3)
    %d = const u8[64] random(3)
  }`);
  const data = graph.nodes.map((node) =>
    node.op === "constant" ? graph.constants.get(node.attributes.hash) : assert.fail()
  );
  assert.deepEqual(data[0], plainTensor("f32", [2, 2], Float32Array.of(-1.5, -1.5, -1.5, -1.5)));
  assert.deepEqual(data[1], plainTensor("i64", [3], BigInt64Array.of(0n, 1n, 2n)));
  assert.deepEqual(data[2], data[3]);
  assert(data[2].kind === "plain" && new Set<number | bigint>(data[2].data).size > 16);
});

Deno.test("faults say line, column and what is wanted, one per faulty statement", () => {
  const text = `graph @g level=float (%x: f32[2,3]) -> (%y) {
  %a = transposed %x {permutation=[1,0]} : f32[3,2]
  %b = reduce %x {kind=mean, axes=[0]} : f32[3]
  %c = map %x {expression=ad($0, 1)} : f32[2,3]
  %d = softmax %x : f32[2,3]
  %e = softmax %x {axis=0, axis=1} : f32[2,3]
  %f = softmax %x {axes=0} : f32[2,3]
  %y = const f32[2] [1,2,3]
}
`;
  assert.deepEqual(faultsOf(text), [
    'line 2, column 8: "transposed" is not an op; did you mean "transpose"?',
    'line 3, column 24: "mean" is not one of sum, prod, max, min',
    'line 4, column 27: "ad" is not an operator; did you mean "add"?',
    'line 5, column 19: softmax needs the attribute "axis"',
    'line 6, column 28: attribute "axis" is given twice',
    'line 7, column 20: softmax has no attribute "axes"; it has axis',
    "line 8, column 21: the shape [2] has 2 entries, got 3",
  ]);
});

Deno.test("a text that is no graph gives one diagnostic", () => {
  assert.deepEqual(faultsOf(""), ['line 1, column 1: expected "graph"']);
  assert.equal(faultsOf("graph @g (%x: f33[2]) -> (%x) {}").length, 1);
  assert.equal(faultsOf("graph @g () -> () {").length, 1);
  assert.equal(faultsOf("graph @g () -> () {} graph").length, 1);
});

Deno.test("nesting and sizes that would exhaust memory are faults", () => {
  const deep = "neg(".repeat(5000) + "$0" + ")".repeat(5000);
  assert.match(faultsOf(`graph @g (%x: f32[2]) -> (%y) {\n%y = map %x {expression=${deep}}\n}`)[0], /nested/);
  assert.match(faultsOf("graph @g () -> (%y) {\n%y = const f32[99999,99999] splat(0)\n}")[0], /entries/);
});

Deno.test("mutated texts give diagnostics or graphs, never exceptions", () => {
  const texts = allSamples().map(({ graph }) => printGraph(graph, { constants: "literal" }));
  const snippets = fc.constantFrom(
    "",
    "%",
    "$0",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ",",
    "=",
    ":",
    "-1",
    "1e999",
    "f32",
    "q<",
    '"',
    ";",
    "\n",
    "inf",
  );
  const edits = fc.array(fc.record({ at: fc.nat(), length: fc.nat({ max: 6 }), put: snippets }), {
    minLength: 1,
    maxLength: 3,
  });
  fc.assert(
    fc.property(fc.constantFrom(...texts), edits, (text, changes) => {
      const mutated = changes.reduce((whole, { at, length, put }) => {
        const start = at % (whole.length + 1);
        return whole.slice(0, start) + put + whole.slice(start + length);
      }, text);
      const outcome = parseGraph(mutated, { constants: new ConstantStore() });
      if (!outcome.ok) {
        for (const { code, node } of outcome.diagnostics) assert.match(`${code} ${node}`, /^Q0150 line \d+/);
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("float literals are as short as they can be and exact", () => {
  fc.assert(fc.property(fc.float({ noNaN: true }), (value) => {
    const builder = new GraphBuilder("g");
    builder.output("y", builder.constant(plainTensor("f32", [], Float32Array.of(value))));
    const text = printGraph(builder.finish(), { constants: "literal" });
    assert.deepEqual(structure(parsed(text)), structure(builder.finish()));
  }));
});
