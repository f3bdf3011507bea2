import assert from "node:assert/strict";
import { errorsOf, graphOf, importSpec, numbers, opsOf } from "../../../tests/support/onnx_check.ts";
import { type ModelSpec, type NodeSpec, onnxBytes } from "../../../tests/support/onnx_builder.ts";
import { dataTypes } from "./proto.ts";
import { evaluateGraph } from "../../ir/evaluate/mod.ts";
import { floatTensor, plainTensor } from "../../ir/tensor.ts";
import { importOnnxBytes } from "./import_onnx.ts";

const x = { name: "x", shape: [2, 3] };

function model(nodes: readonly NodeSpec[], more: Partial<ModelSpec> = {}): ModelSpec {
  return { inputs: [x], outputs: ["y"], nodes, ...more };
}

Deno.test("unknown ops are reported all at once, each with its nodes and the nearest name", () => {
  const errors = errorsOf(importSpec(model([
    { op: "Sigmod", inputs: ["x"], outputs: ["a"], name: "first" },
    { op: "Relu", inputs: ["a"], outputs: ["b"] },
    { op: "Frobnicate", inputs: ["b"], outputs: ["c"], domain: "com.acme", name: "second" },
    { op: "Sigmod", inputs: ["c"], outputs: ["y"], name: "third" },
  ])));
  assert.deepEqual(errors.map(({ code, notes }) => [code, notes]), [
    ["Q1020", ["first", "third"]],
    ["Q1020", ["second"]],
  ]);
  assert.match(errors[0].message, /Op Sigmod \(opset 17\) is not supported: 2 nodes/);
  assert.equal(errors[0].help, "The nearest supported op is Sigmoid");
});

Deno.test("a fault in one node does not hide those in others", () => {
  const errors = errorsOf(importSpec(model([
    { op: "Transpose", inputs: ["x"], outputs: ["a"], name: "bad permutation", attributes: { perm: [0, 0] } },
    { op: "Concat", inputs: ["x", "x"], outputs: ["b"], name: "bad axis", attributes: { axis: 5 } },
    { op: "Add", inputs: ["a", "b"], outputs: ["y"], name: "reads both" },
  ])));
  assert.deepEqual(errors.map(({ node }) => node), ["bad permutation", "bad axis"]);
});

Deno.test("unknown attributes are reported with the nearest known one", () => {
  const [fault] = errorsOf(importSpec(model([
    { op: "LeakyRelu", inputs: ["x"], outputs: ["y"], name: "leak", attributes: { alph: { float: 0.1 } } },
  ])));
  assert.deepEqual([fault.code, fault.node, fault.help], ["Q1025", "leak", `Did you mean "alpha"?`]);
});

Deno.test("an attribute of the wrong kind is reported", () => {
  const [fault] = errorsOf(importSpec(model([
    { op: "LeakyRelu", inputs: ["x"], outputs: ["y"], attributes: { alpha: 1 } },
  ])));
  assert.match(fault.message, /Attribute "alpha" is int, wanted float/);
});

Deno.test("nodes that no output needs are not imported", () => {
  const graph = graphOf(model([
    { op: "Frobnicate", inputs: ["x"], outputs: ["unused"] },
    { op: "Relu", inputs: ["x"], outputs: ["y"] },
  ]));
  assert.deepEqual(opsOf(graph), ["map"]);
});

Deno.test("nodes may stand in any order", () => {
  const graph = graphOf(model([
    { op: "Neg", inputs: ["a"], outputs: ["y"], name: "last" },
    { op: "Relu", inputs: ["x"], outputs: ["a"], name: "first" },
  ]));
  assert.deepEqual(graph.nodes.map(({ origin }) => origin), [["first"], ["last"]]);
});

Deno.test("cycles, doubled names and missing inputs are diagnostics", () => {
  const cyclic = errorsOf(importSpec(model([
    { op: "Add", inputs: ["x", "b"], outputs: ["a"], name: "one" },
    { op: "Relu", inputs: ["a"], outputs: ["b"], name: "two" },
    { op: "Neg", inputs: ["b"], outputs: ["y"], name: "three" },
  ])));
  assert.match(cyclic[0].message, /The nodes "two", "one" form a cycle|The nodes "one", "two" form a cycle/);
  const doubled = errorsOf(importSpec(model([
    { op: "Relu", inputs: ["x"], outputs: ["y"], name: "one" },
    { op: "Neg", inputs: ["x"], outputs: ["y"], name: "two" },
  ])));
  assert.match(doubled[0].message, /"y" is made twice, by "one" and "two"/);
  const missing = errorsOf(importSpec(model([{ op: "Add", inputs: ["x", "w"], outputs: ["y"], name: "sum" }])));
  assert.match(missing[0].message, /"w", which sum reads, is neither an input/);
  const shadowing = errorsOf(importSpec(model([{ op: "Relu", inputs: ["x"], outputs: ["x"], name: "self" }], {
    outputs: ["x"],
  })));
  assert.match(shadowing[0].message, /"x" is made by "self" and is an input or initializer too/);
});

Deno.test("a node that reads itself is a cycle", () => {
  const [fault] = errorsOf(importSpec(model([{ op: "Relu", inputs: ["y"], outputs: ["y"], name: "loop" }])));
  assert.match(fault.message, /The nodes "loop" form a cycle/);
});

Deno.test("inputs and outputs of unsupported types are diagnostics", () => {
  const spec = model([{ op: "Identity", inputs: ["x"], outputs: ["y"] }], {
    inputs: [{ name: "x", element: dataTypes.string, shape: [1] }],
  });
  assert.match(errorsOf(importSpec(spec))[0].message, /Input "x" holds string/);
  assert.match(errorsOf(importSpec({ ...spec, inputs: [{ name: "x" }] }))[0].message, /of no declared type/);
});

Deno.test("an output that is declared with another element than its node makes is a diagnostic", () => {
  const spec = model([{ op: "Relu", inputs: ["x"], outputs: ["y"] }], {
    outputs: [{ name: "y", element: "i64", shape: [2, 3] }],
  });
  assert.match(errorsOf(importSpec(spec))[0].message, /declared i64, its node makes f32/);
});

Deno.test("an output that is declared with another shape is a warning", () => {
  const outcome = importSpec(model([{ op: "Relu", inputs: ["x"], outputs: ["y"] }], {
    outputs: [{ name: "y", shape: [2, 4] }],
  }));
  assert.ok(outcome.ok);
  assert.deepEqual(outcome.diagnostics.map(({ code, severity }) => [code, severity]), [["Q1008", "warning"]]);
});

Deno.test("an input with an initializer of its name is a constant", () => {
  const graph = graphOf(model([{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }], {
    inputs: [x, { name: "w", shape: [3] }],
    initializers: { w: floatTensor([3], [1, 2, 3]) },
  }));
  assert.deepEqual(graph.inputs.map(({ name }) => name), ["x"]);
});

Deno.test("opsets outside the known range are reported", () => {
  const nodes = [{ op: "Add", inputs: ["x", "x"], outputs: ["y"] }];
  assert.equal(errorsOf(importSpec(model(nodes, { opset: 6 })))[0].code, "Q1003");
  const newer = importSpec(model(nodes, { opset: 99 }));
  assert.deepEqual([newer.ok, newer.diagnostics[0].code], [true, "Q1004"]);
});

Deno.test("model local functions are inlined with their attributes, optional inputs and nested calls", () => {
  const spec = model([
    { op: "Scaled", inputs: ["x"], outputs: ["y"], domain: "local", name: "call", attributes: { by: { float: 0.5 } } },
  ], {
    functions: [
      {
        name: "Scaled",
        domain: "local",
        inputs: ["a", "limit"],
        outputs: ["r"],
        attributes: ["by"],
        nodes: [
          { op: "Clip", inputs: ["a", "", "limit"], outputs: ["c"], name: "clip" },
          { op: "Inner", inputs: ["c"], outputs: ["r"], domain: "local", attributes: { slope: byReference("by") } },
        ],
      },
      {
        name: "Inner",
        domain: "local",
        inputs: ["v"],
        outputs: ["w"],
        attributes: ["slope"],
        nodes: [{
          op: "LeakyRelu",
          inputs: ["v"],
          outputs: ["w"],
          name: "leak",
          attributes: { alpha: byReference("slope") },
        }],
      },
    ],
  });
  const graph = graphOf(spec);
  const { outputs } = evaluateGraph(graph, { x: floatTensor([2, 3], [-4, 2, -8, 1, 0, -2]) });
  assert.deepEqual(numbers(outputs.y), [-2, 2, -4, 1, 0, -1]);
  assert.ok(graph.nodes.some(({ origin }) => origin.join() === "call/Inner -> r/leak"));
});

function byReference(name: string) {
  return { reference: name, type: "float" } as const;
}

Deno.test("functions that call themselves are a diagnostic", () => {
  const call = (name: string) => ({ op: name, inputs: ["a"], outputs: ["r"], domain: "local" });
  const entry = (name: string, callee: string) => ({
    name,
    domain: "local",
    inputs: ["a"],
    outputs: ["r"],
    nodes: [call(callee)],
  });
  const spec = model([{ op: "F", inputs: ["x"], outputs: ["y"], domain: "local", name: "call" }], {
    functions: [entry("F", "G"), entry("G", "F")],
  });
  assert.match(errorsOf(importSpec(spec))[0].message, /Function "F" calls itself/);
});

Deno.test("shapes that no tensor can have are diagnostics", () => {
  const spec = model([
    { op: "ConstantOfShape", inputs: ["s"], outputs: ["y"], name: "huge" },
  ], { inputs: [], initializers: { s: plainTensor("i64", [3], BigInt64Array.of(65536n, 65536n, 65536n)) } });
  const [fault] = errorsOf(importSpec(spec));
  assert.deepEqual([fault.code, fault.node], ["Q1011", "huge"]);
});

Deno.test("codes of a format without an element may be moved and decoded, not computed with", () => {
  const codes = { dataType: dataTypes.float8e4m3fn, dims: [4], bytes: Uint8Array.of(0x38, 0x40, 0xb8, 0) };
  const spec: ModelSpec = {
    opset: 19,
    outputs: ["y"],
    initializers: { codes, scale: floatTensor([], [2]) },
    nodes: [
      { op: "Reshape", inputs: ["codes", "shape"], outputs: ["moved"] },
      { op: "Constant", inputs: [], outputs: ["shape"], attributes: { value_ints: [2, 2] } },
      { op: "DequantizeLinear", inputs: ["moved", "scale"], outputs: ["y"] },
    ],
  };
  const { outputs } = evaluateGraph(graphOf(spec), {});
  assert.deepEqual(outputs.y, floatTensor([2, 2], [2, 4, -2, 0]));
  const added = { ...spec, nodes: [{ op: "Add", inputs: ["codes", "codes"], outputs: ["y"], name: "sum" }] };
  assert.match(errorsOf(importSpec(added))[0].message, /Add of e4m3fn is not supported/);
});

Deno.test("equal bytes are numbers in one place and codes in another", () => {
  const bytes = Uint8Array.of(0x38, 0x40);
  const spec: ModelSpec = {
    opset: 19,
    outputs: ["a", "b"],
    initializers: {
      codes: { dataType: dataTypes.float8e4m3fn, dims: [2], bytes },
      numbers: plainTensor("u8", [2], bytes.slice()),
      scale: floatTensor([], [1]),
    },
    nodes: [
      { op: "DequantizeLinear", inputs: ["codes", "scale"], outputs: ["a"] },
      { op: "DequantizeLinear", inputs: ["numbers", "scale"], outputs: ["b"] },
    ],
  };
  const { outputs } = evaluateGraph(graphOf(spec), {});
  assert.deepEqual([numbers(outputs.a), numbers(outputs.b)], [[1, 2], [0x38, 0x40]]);
});

Deno.test("two imports of one file give equal graphs", () => {
  const bytes = onnxBytes(model([{ op: "Softmax", inputs: ["x"], outputs: ["y"] }]));
  const [first, second] = [1, 2].map(() => importOnnxBytes(bytes, { bind: {} }));
  assert.ok(first.ok && second.ok);
  assert.deepEqual(first.value.graph.nodes, second.value.graph.nodes);
});

Deno.test("progress is told node by node", () => {
  const bytes = onnxBytes(model([
    { op: "Relu", inputs: ["x"], outputs: ["a"] },
    { op: "Neg", inputs: ["a"], outputs: ["y"] },
  ]));
  const told: string[] = [];
  importOnnxBytes(bytes, { bind: {}, onProgress: ({ stage, done, total }) => told.push(`${stage} ${done}/${total}`) });
  assert.deepEqual(told, ["import 1/2", "import 2/2"]);
});
