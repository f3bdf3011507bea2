import assert from "node:assert/strict";
import fc from "fast-check";
import { codesOf, entriesOf } from "../../../tests/support/naive_tensor.ts";
import { allSamples, randomInputs } from "../../../tests/support/op_samples.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { type Diagnostic, DiagnosticError } from "../../diagnostics.ts";
import { int8 } from "../../numeric/number_format.ts";
import { perToken, type QuantScheme } from "../../numeric/scheme.ts";
import { GraphBuilder } from "../build.ts";
import { binary, input, literal } from "../expression.ts";
import { evaluateShape, symbolic } from "../extent.ts";
import { type Graph, typeOf } from "../graph.ts";
import { parseGraph } from "../parse.ts";
import { printGraph } from "../print.ts";
import { floatTensor, type Tensor, typeOfTensor } from "../tensor.ts";
import { printType, tensorType } from "../types.ts";
import { verify } from "../verify.ts";
import { evaluateGraph, StateMemory } from "./mod.ts";

function parsed(text: string): Graph {
  const outcome = parseGraph(text);
  return outcome.ok ? outcome.value : assert.fail(outcome.diagnostics.map(({ message }) => message).join("\n"));
}

function diagnosticsOf(body: () => unknown): readonly Diagnostic[] {
  try {
    body();
  } catch (error) {
    if (error instanceof DiagnosticError) return error.diagnostics;
    throw error;
  }
  return assert.fail("no diagnostics");
}

Deno.test("every op's sample yields tensors of the types that its graph records", () => {
  for (const { name, graph, runs } of allSamples()) {
    const states = new StateMemory(graph.states, graph.symbols);
    runs.forEach((symbols, index) => {
      const past = states.past;
      const values = { ...symbols, past, total: past + (symbols.seq ?? 0) };
      evaluateGraph(graph, randomInputs(graph, index, symbols), {
        states,
        observe(value, tensor) {
          const type = typeOf(graph, value);
          const shape = evaluateShape(type.shape, values);
          assert.equal(printType(typeOfTensor(tensor)), printType({ ...type, shape }), `${name} %${value}`);
        },
      });
    });
  }
});

Deno.test("evaluation changes neither inputs nor constants", () => {
  for (const { name, graph, runs } of allSamples()) {
    const inputs = randomInputs(graph, 1, runs[0]);
    evaluateGraph(graph, inputs);
    assert.deepEqual(inputs, randomInputs(graph, 1, runs[0]), name);
    for (const node of graph.nodes) {
      if (node.op !== "constant") continue;
      const { hash } = node.attributes;
      assert.equal(graph.constants.add(graph.constants.get(hash)), hash, name);
    }
  }
});

const mlp = `graph @mlp (%x as "input": f32[batch,2]) -> (%y as "scores", %x as "echo") {
  symbol batch = 1..8
  %w = const f32[2,2] [1,2,3,4]
  %h = matmul %x, %w
  %y = map %h {expression=max($0, 0)}
}`;

Deno.test("inputs and outputs carry the source model's names; symbols come from shapes", () => {
  const seen: string[] = [];
  const x = floatTensor([3, 2], [1, 0, 0, 1, -1, 0]);
  const { outputs } = evaluateGraph(parsed(mlp), { input: x }, { observe: (value) => seen.push(value) });
  assert.deepEqual(Object.keys(outputs), ["scores", "echo"]);
  assert.deepEqual(entriesOf(outputs.scores), [1, 2, 3, 4, 0, 0]);
  assert.equal(outputs.echo, x);
  assert.deepEqual(seen, ["x", "w", "h", "y"]);
});

Deno.test("wrong inputs are diagnostics, all at once", () => {
  const graph = parsed(mlp);
  const x = floatTensor([1, 2], [1, 2]);
  const codes = (inputs: Record<string, Tensor>) =>
    diagnosticsOf(() => evaluateGraph(graph, inputs)).map(({ code }) => code);
  assert.deepEqual(codes({}), ["Q0101"]);
  assert.deepEqual(codes({ inputs: x }), ["Q0101", "Q0102"]);
  assert.deepEqual(codes({ input: floatTensor([1, 3], [1, 2, 3]) }), ["Q0103"]);
  assert.deepEqual(codes({ input: floatTensor([2], [1, 2]) }), ["Q0103"]);
  assert.deepEqual(codes({ input: { ...x, shape: [2, 2] } }), ["Q0103"]);
  assert.deepEqual(codes({ input: randomTensor(tensorType("f64", [1, 2]), 1) }), ["Q0103"]);
  assert.deepEqual(codes({ input: randomTensor(tensorType("f32", [9, 2]), 1) }), ["Q0105"]);
  const [near] = diagnosticsOf(() => evaluateGraph(graph, { input: x, inputs: x }));
  assert.match(near.help ?? "", /"input"/);
});

Deno.test("two inputs must agree on a symbol; affine extents are solved", () => {
  const graph = parsed(`graph @g (%a: f32[n], %b: f32[2*n+1]) -> (%a, %b) {
  symbol n = 0..100
}`);
  const of = (a: number, b: number) => ({
    a: randomTensor(tensorType("f32", [a]), 1),
    b: randomTensor(tensorType("f32", [b]), 1),
  });
  assert.equal(Object.keys(evaluateGraph(graph, of(3, 7)).outputs).length, 2);
  assert.equal(diagnosticsOf(() => evaluateGraph(graph, of(3, 8)))[0].code, "Q0103");
});

Deno.test("a symbol that no shape holds must be given", () => {
  const graph = parsed(`graph @g (%a: f32[1]) -> (%b) {
  symbol n = 1..5
  %b = expand %a {shape=[n]}
}`);
  const a = floatTensor([1], [2]);
  assert.equal(diagnosticsOf(() => evaluateGraph(graph, { a }))[0].code, "Q0104");
  assert.deepEqual(entriesOf(evaluateGraph(graph, { a }, { symbols: { n: 3 } }).outputs.b), [2, 2, 2]);
});

const width = 4;

/** A decoder with one attention layer over a cache; with `scheme` the cache is quantized. */
function decoder(scheme?: QuantScheme): Graph {
  const builder = new GraphBuilder("decoder");
  builder.symbol("seq", { min: 1, max: 8 });
  builder.symbol("past", { min: 0, max: 7 });
  builder.symbol("total", { min: 1, max: 8 });
  const cacheType = tensorType("f32", [1, 8, 1, width]);
  const type = scheme === undefined ? cacheType : { ...cacheType, encoding: { kind: "quantized" as const, scheme } };
  for (const name of ["keys", "values"]) builder.state({ name, type, axis: 1 });
  const x = builder.input("x", tensorType("f32", [1, symbolic("seq"), 1, width]));
  const tables = ["cos", "sin"].map((name, index) =>
    builder.constant(randomTensor(tensorType("f32", [8, width / 2]), index), { name })
  );
  const turned = builder.add("rope", [x, ...tables], { extent: width, interleaved: false, fromPast: true });
  const held = (value: string) => (scheme === undefined ? value : builder.add("quantize", [value], { scheme }));
  const keys = builder.add("append", [held(turned)], { state: "keys", axis: 1 });
  const values = builder.add("append", [held(x)], { state: "values", axis: 1 });
  const attributes = { scale: 0.5, causal: true, softcap: 0, window: 0 };
  builder.output("y", builder.add("attention", [turned, keys, values], attributes));
  return builder.finish(scheme === undefined ? "float" : "quant");
}

function rows(tensor: Tensor, from: number, to: number): Tensor {
  return floatTensor([1, to - from, 1, width], entriesOf(tensor).slice(from * width, to * width));
}

const dynamicInt8: QuantScheme = { format: int8, block: perToken(4), step: "f32", zeroPoint: false, range: "dynamic" };

for (const [name, scheme] of [["plain", undefined], ["quantized", dynamicInt8]] as const) {
  Deno.test(`decoding with a ${name} cache equals one run over all positions, however the positions are cut`, () => {
    const graph = decoder(scheme);
    const x = randomTensor(tensorType("f32", [1, 8, 1, width]), 9);
    const whole = entriesOf(evaluateGraph(graph, { x }).outputs.y);
    for (const cuts of [[0, 8], [0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 5, 6, 8], [0, 3, 8]]) {
      const states = new StateMemory(graph.states, graph.symbols);
      const parts = cuts.slice(1).flatMap((end, index) =>
        entriesOf(evaluateGraph(graph, { x: rows(x, cuts[index], end) }, { states }).outputs.y)
      );
      assert.deepEqual(parts, whole, `cut at ${cuts}`);
      assert.equal(states.past, 8);
    }
  });
}

Deno.test("rewinding cuts the cache back; reset empties it", () => {
  const graph = decoder();
  const x = randomTensor(tensorType("f32", [1, 8, 1, width]), 9);
  const states = new StateMemory(graph.states, graph.symbols);
  const first = evaluateGraph(graph, { x: rows(x, 0, 4) }, { states }).outputs.y;
  const next = evaluateGraph(graph, { x: rows(x, 4, 6) }, { states }).outputs.y;
  states.rewind(4);
  assert.deepEqual(evaluateGraph(graph, { x: rows(x, 4, 6) }, { states }).outputs.y, next);
  states.reset();
  assert.deepEqual(evaluateGraph(graph, { x: rows(x, 0, 4) }, { states }).outputs.y, first);
  assert.throws(() => states.rewind(5), RangeError);
  assert.throws(() => states.rewind(-1), RangeError);
});

Deno.test("a snapshot keeps what it holds while the memory goes on", () => {
  const graph = decoder();
  const x = randomTensor(tensorType("f32", [1, 8, 1, width]), 9);
  const states = new StateMemory(graph.states, graph.symbols);
  evaluateGraph(graph, { x: rows(x, 0, 4) }, { states });
  const kept = states.snapshot();
  const next = evaluateGraph(graph, { x: rows(x, 4, 6) }, { states }).outputs.y;
  evaluateGraph(graph, { x: rows(x, 0, 1) }, { states });
  assert.deepEqual(evaluateGraph(graph, { x: rows(x, 4, 6) }, { states: kept }).outputs.y, next);
});

Deno.test("a context that is full is a diagnostic, and the states stay as they were", () => {
  const graph = decoder();
  const x = randomTensor(tensorType("f32", [1, 8, 1, width]), 9);
  const states = new StateMemory(graph.states, graph.symbols);
  evaluateGraph(graph, { x: rows(x, 0, 6) }, { states });
  assert.equal(diagnosticsOf(() => evaluateGraph(graph, { x: rows(x, 0, 3) }, { states }))[0].code, "Q0105");
  assert.equal(states.past, 6);
});

Deno.test("readState sees the value from before the run, writeState's value comes after it", () => {
  const builder = new GraphBuilder("counter");
  builder.state({ name: "count", type: tensorType("f32", [1]), axis: -1 });
  const old = builder.add("readState", [], { state: "count" });
  const next = builder.map(binary("add", input(0), literal(1)), [old]);
  builder.output("written", builder.add("writeState", [next], { state: "count" }));
  builder.output("old", builder.add("readState", [], { state: "count" }));
  const graph = builder.finish();
  const { states, outputs } = evaluateGraph(graph, {});
  assert.deepEqual([entriesOf(outputs.written), entriesOf(outputs.old)], [[1], [0]]);
  const second = evaluateGraph(graph, {}, { states });
  assert.deepEqual([entriesOf(second.outputs.written), entriesOf(second.outputs.old)], [[2], [1]]);
  assert.throws(() => {
    states.advance(2);
    states.rewind(1);
  }, RangeError);
});

Deno.test("the quantized cache keeps codes and steps of every position", () => {
  const graph = decoder(dynamicInt8);
  const x = randomTensor(tensorType("f32", [1, 8, 1, width]), 9);
  const { states } = evaluateGraph(graph, { x: rows(x, 0, 3) });
  const held = states.get("values");
  assert(held.kind === "quantized");
  assert.equal(held.steps.data.filter((step) => step !== 0).length, 3);
  assert(codesOf(held).slice(0, 3 * width).some((code) => code === 127 || code === -127));
  assert(codesOf(held).slice(3 * width).every((code) => code === 0));
});

/** Places of whole numbers in node lines, behind which a mutation puts another. */
function numberPlaces(text: string): { readonly at: number; readonly length: number }[] {
  return [...text.matchAll(/(?<=[[=,(: ])-?\d+(?=[\],}) ])/g)]
    .filter(({ index }) => !text.slice(text.lastIndexOf("\n", index), index).includes("const"))
    .map(({ index, 0: digits }) => ({ at: index, length: digits.length }));
}

Deno.test("a graph that verify accepts can be evaluated, whatever its numbers; the rest is refused", () => {
  // Without recorded types the type rules decide; with them most mutants are refused for the difference alone.
  const sources = allSamples().map(({ graph, runs }) => {
    const lines = printGraph(graph, { constants: "literal" }).split("\n");
    const untyped = lines.map((line) => (line.includes("const") ? line : line.replace(/^( {2}%.*) : .*$/, "$1")));
    return { text: untyped.join("\n"), symbols: runs[0] };
  });
  const changes = fc.array(fc.tuple(fc.nat(), fc.integer({ min: -1, max: 7 })), { minLength: 1, maxLength: 2 });
  let evaluated = 0;
  fc.assert(
    fc.property(fc.constantFrom(...sources), changes, ({ text, symbols }, edits) => {
      let mutated = text;
      for (const [place, number] of edits) {
        const places = numberPlaces(mutated);
        if (places.length === 0) continue;
        const { at, length } = places[place % places.length];
        mutated = mutated.slice(0, at) + number + mutated.slice(at + length);
      }
      const outcome = parseGraph(mutated);
      if (!outcome.ok || verify(outcome.value).length > 0) return;
      try {
        evaluateGraph(outcome.value, randomInputs(outcome.value, 1, symbols));
        evaluated++;
      } catch (error) {
        assert(error instanceof DiagnosticError, `${error}\n${mutated}`);
      }
    }),
    { numRuns: 3000 },
  );
  assert(evaluated > 300, `only ${evaluated} mutants were evaluated`);
});
