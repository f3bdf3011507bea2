import assert from "node:assert/strict";
import type { ModelSpec, NodeSpec } from "../../../../tests/support/onnx_builder.ts";
import { checkAgainstRuntime, errorsOf, graphOf, importSpec, opsOf } from "../../../../tests/support/onnx_check.ts";
import { printType } from "../../../ir/types.ts";
import { floatTensor, plainTensor, type Tensor } from "../../../ir/tensor.ts";
import { typeOf } from "../../../ir/graph.ts";

function ints(...values: readonly number[]): Tensor {
  return plainTensor("i64", [values.length], BigInt64Array.from(values, BigInt));
}

function ramp(...shape: readonly number[]): Tensor {
  const size = shape.reduce((product, extent) => product * extent, 1);
  return floatTensor(shape, Array.from({ length: size }, (_, index) => index - 5));
}

/** A node over `x` with constant further inputs. */
function nodeModel(
  shape: readonly number[],
  node: Omit<NodeSpec, "inputs" | "outputs"> & { readonly outputs?: readonly string[] },
  constants: readonly (Tensor | undefined)[] = [],
  opset = 17,
): ModelSpec {
  const outputs = node.outputs ?? ["y"];
  const names = constants.map((tensor, index) => (tensor === undefined ? "" : `c${index}`));
  return {
    opset,
    inputs: [{ name: "x", shape }],
    outputs,
    initializers: Object.fromEntries(
      constants.flatMap((tensor, index) => (tensor === undefined ? [] : [[`c${index}`, tensor]])),
    ),
    nodes: [{ ...node, inputs: ["x", ...names], outputs }],
  };
}

const cases: readonly (readonly [string, readonly number[], ModelSpec])[] = [
  ["Reshape with 0 and -1", [2, 3, 4], nodeModel([2, 3, 4], { op: "Reshape" }, [ints(0, -1, 2)])],
  ["Reshape with allowzero", [0, 3], nodeModel([0, 3], { op: "Reshape", attributes: { allowzero: 1 } }, [ints(3, 0)])],
  ["Squeeze of every axis of extent 1", [1, 3, 1], nodeModel([1, 3, 1], { op: "Squeeze" })],
  ["Squeeze by an attribute", [1, 3, 1], nodeModel([1, 3, 1], { op: "Squeeze", attributes: { axes: [-1] } }, [], 11)],
  ["Unsqueeze at both ends", [3, 2], nodeModel([3, 2], { op: "Unsqueeze" }, [ints(0, -1)])],
  ["Unsqueeze by an attribute", [3], nodeModel([3], { op: "Unsqueeze", attributes: { axes: [0, 2] } }, [], 11)],
  ["Flatten at axis 0", [2, 3], nodeModel([2, 3], { op: "Flatten", attributes: { axis: 0 } })],
  ["Flatten at a negative axis", [2, 3, 4], nodeModel([2, 3, 4], { op: "Flatten", attributes: { axis: -1 } })],
  ["Expand that also keeps an axis", [3, 1], nodeModel([3, 1], { op: "Expand" }, [ints(2, 1, 6)])],
  ["Transpose without perm", [2, 3, 4], nodeModel([2, 3, 4], { op: "Transpose" })],
  [
    "Slice with negative steps and bounds past the ends",
    [5, 6],
    nodeModel([5, 6], { op: "Slice" }, [ints(4, -2), ints(-100, 100), ints(0, 1), ints(-2, 1)]),
  ],
  ["Slice to nothing", [5], nodeModel([5], { op: "Slice" }, [ints(3), ints(1)])],
  [
    "Slice to the largest integer",
    [5],
    nodeModel([5], { op: "Slice" }, [
      ints(1),
      plainTensor("i64", [1], BigInt64Array.of(2n ** 63n - 1n)),
    ]),
  ],
  [
    "Slice by attributes",
    [4, 4],
    nodeModel([4, 4], { op: "Slice", attributes: { starts: [1], ends: [-1], axes: [1] } }, [], 9),
  ],
  [
    "Split into parts",
    [2, 7],
    nodeModel([2, 7], { op: "Split", outputs: ["a", "b"], attributes: { axis: 1 } }, [ints(3, 4)]),
  ],
  [
    "Split into equal parts",
    [6],
    nodeModel([6], { op: "Split", outputs: ["a", "b", "c"] }),
  ],
  [
    "Split with a smaller last part",
    [7],
    nodeModel([7], { op: "Split", outputs: ["a", "b", "c"], attributes: { num_outputs: 3 } }, [], 18),
  ],
  ["Shape of a part of the axes", [2, 3, 4], nodeModel([2, 3, 4], { op: "Shape", attributes: { start: 1, end: -1 } })],
  ["Size", [2, 3, 4], nodeModel([2, 3, 4], { op: "Size" })],
];

for (const [name, shape, spec] of cases) {
  Deno.test(`${name} agrees with onnxruntime`, async () => {
    await checkAgainstRuntime(spec, { x: ramp(...shape) });
  });
}

Deno.test("Concat agrees with onnxruntime", async () => {
  const spec: ModelSpec = {
    inputs: [{ name: "x", shape: [2, 3] }, { name: "z", shape: [2, 1] }],
    outputs: ["y"],
    nodes: [{ op: "Concat", inputs: ["x", "z", "x"], outputs: ["y"], attributes: { axis: -1 } }],
  };
  await checkAgainstRuntime(spec, { x: ramp(2, 3), z: ramp(2, 1) });
});

Deno.test("constants of every kind agree with onnxruntime", async () => {
  const constant = (output: string, attributes: NodeSpec["attributes"]): NodeSpec => ({
    op: "Constant",
    inputs: [],
    outputs: [output],
    attributes,
  });
  const spec: ModelSpec = {
    inputs: [{ name: "x", shape: [] }],
    outputs: ["f", "fs", "i", "is", "t", "filled", "y"],
    initializers: { shape: ints(2, 2), two: plainTensor("i64", [1], BigInt64Array.of(2n)) },
    nodes: [
      constant("f", { value_float: { float: 1.5 } }),
      constant("fs", { value_floats: { floats: [1, -2] } }),
      constant("i", { value_int: -7 }),
      constant("is", { value_ints: [1, 2, 3] }),
      constant("t", { value: ramp(2, 2) }),
      { op: "ConstantOfShape", inputs: ["shape"], outputs: ["filled"], attributes: { value: ints(9) } },
      { op: "Identity", inputs: ["x"], outputs: ["y"] },
    ],
  };
  await checkAgainstRuntime(spec, { x: ramp() });
});

Deno.test("Range of constants and of run-time starts agrees with onnxruntime", async () => {
  const scalar = (value: number) => plainTensor("i64", [], BigInt64Array.of(BigInt(value)));
  const spec: ModelSpec = {
    inputs: [{ name: "x", shape: [] }],
    outputs: ["a", "b", "y"],
    initializers: {
      one: scalar(1),
      ten: scalar(10),
      three: scalar(3),
      from: floatTensor([], [2]),
      to: floatTensor([], [-1]),
      by: floatTensor([], [-0.5]),
    },
    nodes: [
      { op: "Range", inputs: ["one", "ten", "three"], outputs: ["a"] },
      { op: "Range", inputs: ["from", "to", "by"], outputs: ["b"] },
      { op: "Identity", inputs: ["x"], outputs: ["y"] },
    ],
  };
  await checkAgainstRuntime(spec, { x: ramp() });
});

/** The shape arithmetic that exporters write for a view of [N, t, 8] as [N, t, 2, 4]. */
const exporterChain: ModelSpec = {
  inputs: [{ name: "x", shape: ["N", "t", 8] }],
  outputs: ["y", "places", "mask"],
  initializers: {
    zero: ints(0),
    one: ints(1),
    tail: ints(2, -1),
    origin: plainTensor("i64", [], BigInt64Array.of(0n)),
    step: plainTensor("i64", [], BigInt64Array.of(1n)),
    two: plainTensor("i64", [1], BigInt64Array.of(2n)),
  },
  nodes: [
    { op: "Shape", inputs: ["x"], outputs: ["s"] },
    { op: "Gather", inputs: ["s", "origin"], outputs: ["n"] },
    { op: "Gather", inputs: ["s", "step"], outputs: ["t"] },
    { op: "Unsqueeze", inputs: ["n", "zero"], outputs: ["n1"] },
    { op: "Unsqueeze", inputs: ["t", "zero"], outputs: ["t1"] },
    { op: "Concat", inputs: ["n1", "t1", "tail"], outputs: ["wanted"], attributes: { axis: 0 } },
    { op: "Reshape", inputs: ["x", "wanted"], outputs: ["y"] },
    { op: "Range", inputs: ["origin", "t", "step"], outputs: ["places"] },
    { op: "Mul", inputs: ["t1", "two"], outputs: ["double"] },
    { op: "Div", inputs: ["double", "two"], outputs: ["half"] },
    { op: "Concat", inputs: ["one", "half"], outputs: ["maskShape"], attributes: { axis: 0 } },
    { op: "ConstantOfShape", inputs: ["maskShape"], outputs: ["mask"] },
  ],
};

Deno.test("exporters' shape chains vanish once the symbols are numbers", async () => {
  const graph = await checkAgainstRuntime(exporterChain, { x: ramp(1, 3, 8) }, { bind: { t: 3 } });
  assert.deepEqual(opsOf(graph), ["reshape"]);
});

Deno.test("exporters' shape chains keep a symbol through reshape, range and fill", async () => {
  const graph = await checkAgainstRuntime(exporterChain, { x: ramp(1, 3, 8) }, { bind: { t: { min: 1, max: 9 } } });
  const [y, places, mask] = graph.outputs.map(({ value }) => printType(typeOf(graph, value)));
  assert.deepEqual([y, places, mask], ["f32[1,seq,2,4]", "i64[seq]", "f32[1,seq]"]);
});

Deno.test("the sizes that shape arithmetic computes are values where they are needed as such", async () => {
  const spec: ModelSpec = {
    inputs: [{ name: "x", shape: ["t", 4] }],
    outputs: ["y"],
    nodes: [
      { op: "Size", inputs: ["x"], outputs: ["n"] },
      { op: "Cast", inputs: ["n"], outputs: ["f"], attributes: { to: 1 } },
      { op: "Div", inputs: ["x", "f"], outputs: ["y"] },
    ],
  };
  await checkAgainstRuntime(spec, { x: ramp(4, 4) }, { bind: { t: { min: 1, max: 8 } } });
});

Deno.test("comparisons and choices of sizes that hold for the whole range are decided", () => {
  const spec: ModelSpec = {
    inputs: [{ name: "x", shape: ["t", 4] }],
    outputs: ["y"],
    initializers: { minus: ints(-1), four: ints(4), zero: ints(0), one: ints(1) },
    nodes: [
      { op: "Shape", inputs: ["x"], outputs: ["s"] },
      { op: "Slice", inputs: ["s", "zero", "one"], outputs: ["t"] },
      { op: "Equal", inputs: ["t", "minus"], outputs: ["never"] },
      { op: "Where", inputs: ["never", "four", "t"], outputs: ["rows"] },
      { op: "Concat", inputs: ["rows", "four"], outputs: ["shape"], attributes: { axis: 0 } },
      { op: "Reshape", inputs: ["x", "shape"], outputs: ["y"] },
    ],
  };
  assert.deepEqual(opsOf(graphOf(spec, { t: { min: 1, max: 8 } })), []);
});

const faulty: readonly (readonly [string, ModelSpec, RegExp])[] = [
  ["two -1", nodeModel([4], { op: "Reshape" }, [ints(-1, -1)]), /has -1 more than once/],
  ["an extent below -1", nodeModel([4], { op: "Reshape" }, [ints(-2, 2)]), /the extent -2/],
  [
    "a size that does not divide",
    nodeModel([5], { op: "Reshape" }, [ints(2, -1)]),
    /\[5\] does not divide into \[2,-1\]/,
  ],
  ["another size", nodeModel([5], { op: "Reshape" }, [ints(2, 2)]), /cannot reshape f32\[5\] to \[2,2\]/],
  ["a step of 0", nodeModel([5], { op: "Slice" }, [ints(0), ints(5), ints(0), ints(0)]), /the step is 0/],
  ["an axis outside", nodeModel([5], { op: "Slice" }, [ints(0), ints(5), ints(1)]), /axis 1 is outside/],
  ["an axis sliced twice", nodeModel([5], { op: "Slice" }, [ints(0, 0), ints(5, 5), ints(0, -1)]), /sliced twice/],
  ["an extent that is not 1", nodeModel([2], { op: "Squeeze" }, [ints(0)]), /axis 0 has extent 2/],
  ["an axis named twice", nodeModel([2], { op: "Unsqueeze" }, [ints(0, 0)]), /name one axis twice/],
  [
    "parts that do not add up",
    nodeModel([5], { op: "Split", outputs: ["a", "b"] }, [ints(2, 2)]),
    /parts of \[2,2\] do not add up to 5/,
  ],
];

for (const [what, spec, message] of faulty) {
  Deno.test(`${spec.nodes[0].op} with ${what} is a diagnostic`, () => {
    assert.match(errorsOf(importSpec(spec))[0].message, message);
  });
}
