import assert from "node:assert/strict";
import type { ModelSpec, NodeSpec } from "../../../../tests/support/onnx_builder.ts";
import { checkAgainstRuntime, errorsOf, graphOf, importSpec, opsOf } from "../../../../tests/support/onnx_check.ts";
import { floatTensor, plainTensor, type Tensor } from "../../../ir/tensor.ts";

const x = { name: "x", shape: [3] };
const entries = floatTensor([3], [1, -2, 3]);

function bool(value: boolean): Tensor {
  return plainTensor("bool", [], Uint8Array.of(value ? 1 : 0));
}

function count(value: number): Tensor {
  return plainTensor("i64", [], BigInt64Array.of(BigInt(value)));
}

function branch(
  op: string,
  output: string,
): { readonly nodes: readonly NodeSpec[]; readonly outputs: readonly string[] } {
  return { nodes: [{ op, inputs: ["x"], outputs: [output] }], outputs: [output] };
}

const choice: NodeSpec = {
  op: "If",
  inputs: ["flag"],
  outputs: ["y"],
  name: "choice",
  attributes: { then_branch: branch("Neg", "a"), else_branch: branch("Abs", "b") },
};

Deno.test("If with a known condition is its branch", async () => {
  const spec: ModelSpec = { inputs: [x], outputs: ["y"], initializers: { flag: bool(true) }, nodes: [choice] };
  const graph = await checkAgainstRuntime(spec, { x: entries });
  assert.equal(opsOf(graph).length, 1);
});

Deno.test("the branch that a known condition drops may hold anything", () => {
  const dropped = { nodes: [{ op: "Frobnicate", inputs: ["x"], outputs: ["b"], domain: "com.acme" }], outputs: ["b"] };
  const node = { ...choice, attributes: { ...choice.attributes, else_branch: dropped } };
  const spec: ModelSpec = { inputs: [x], outputs: ["y"], initializers: { flag: bool(true) }, nodes: [node] };
  assert.ok(importSpec(spec).ok);
});

Deno.test("If with a run-time condition selects between both branches", async () => {
  const spec: ModelSpec = {
    inputs: [x, { name: "flag", element: "bool", shape: [] }],
    outputs: ["y"],
    nodes: [choice],
  };
  for (const flag of [true, false]) await checkAgainstRuntime(spec, { x: entries, flag: bool(flag) });
});

Deno.test("an input that decides the branch may be fixed by --bind", () => {
  const spec: ModelSpec = {
    inputs: [x, { name: "flag", element: "bool", shape: [1] }],
    outputs: ["y"],
    nodes: [choice],
  };
  const graph = graphOf(spec, { flag: 1 });
  assert.deepEqual([graph.inputs.map(({ name }) => name), opsOf(graph)], [["x"], ["map"]]);
  assert.equal(errorsOf(importSpec(spec, { flag: 2 }))[0].code, "Q1042");
});

Deno.test("If between different shapes with a run-time condition is a diagnostic", () => {
  const other = { nodes: [{ op: "Unsqueeze", inputs: ["x", "zero"], outputs: ["b"] }], outputs: ["b"] };
  const node = { ...choice, attributes: { ...choice.attributes, else_branch: other } };
  const spec: ModelSpec = {
    inputs: [x, { name: "flag", element: "bool", shape: [] }],
    outputs: ["y"],
    initializers: { zero: plainTensor("i64", [1], BigInt64Array.of(0n)) },
    nodes: [node],
  };
  const [fault] = errorsOf(importSpec(spec));
  assert.match(fault.message, /the branches give f32\[3\] and f32\[1,3\]/);
});

/** Doubles the carried value while the counter is below `limit`, and stacks what it was. */
function doubling(condition: readonly NodeSpec[]): NodeSpec {
  return {
    op: "Loop",
    inputs: ["rounds", "go", "x"],
    outputs: ["y", "stack"],
    name: "loop",
    attributes: {
      body: {
        inputs: [
          { name: "i", element: "i64", shape: [] },
          { name: "c", element: "bool", shape: [] },
          { name: "v", shape: [3] },
        ],
        nodes: [
          { op: "Add", inputs: ["v", "v"], outputs: ["d"] },
          { op: "Identity", inputs: ["v"], outputs: ["was"] },
          ...condition,
        ],
        outputs: [{ name: "again", element: "bool", shape: [] }, { name: "d", shape: [3] }, {
          name: "was",
          shape: [3],
        }],
      },
    },
  };
}

Deno.test("Loop of a known length is written out", async () => {
  const spec: ModelSpec = {
    inputs: [x],
    outputs: ["y", "stack"],
    initializers: { rounds: count(3), go: bool(true) },
    nodes: [doubling([{ op: "Identity", inputs: ["c"], outputs: ["again"] }])],
  };
  await checkAgainstRuntime(spec, { x: entries });
});

Deno.test("Loop ends when its condition folds to false", async () => {
  const spec: ModelSpec = {
    inputs: [x],
    outputs: ["y", "stack"],
    initializers: { rounds: count(9), go: bool(true), limit: count(2) },
    nodes: [doubling([{ op: "Less", inputs: ["i", "limit"], outputs: ["again"] }])],
  };
  const graph = await checkAgainstRuntime(spec, { x: entries });
  assert.equal(opsOf(graph).filter((op) => op === "map").length, 3);
});

Deno.test("Loop of a length known only at run time is a diagnostic", () => {
  const spec: ModelSpec = {
    inputs: [x, { name: "rounds", element: "i64", shape: [] }],
    outputs: ["y", "stack"],
    initializers: { go: bool(true) },
    nodes: [doubling([{ op: "Identity", inputs: ["c"], outputs: ["again"] }])],
  };
  const [fault] = errorsOf(importSpec(spec));
  assert.match(fault.message, /input 0 \("rounds"\) must be known at compile time/);
});

Deno.test("a loop that would not end is a diagnostic", () => {
  const spec: ModelSpec = {
    inputs: [x],
    outputs: ["y", "stack"],
    initializers: { rounds: count(2 ** 40), go: bool(true) },
    nodes: [doubling([{ op: "Identity", inputs: ["c"], outputs: ["again"] }])],
  };
  assert.match(errorsOf(importSpec(spec))[0].message, /the loop runs more than 1024 rounds/);
});

Deno.test("Scan over rows, backwards, with stacked outputs along an axis", async () => {
  const spec: ModelSpec = {
    inputs: [x, { name: "rows", shape: [3, 4] }],
    outputs: ["y", "stack"],
    nodes: [{
      op: "Scan",
      inputs: ["x", "rows"],
      outputs: ["y", "stack"],
      attributes: {
        num_scan_inputs: 1,
        scan_input_axes: [1],
        scan_input_directions: [1],
        scan_output_axes: [-1],
        scan_output_directions: [1],
        body: {
          inputs: [{ name: "state", shape: [3] }, { name: "row", shape: [3] }],
          nodes: [
            { op: "Add", inputs: ["state", "row"], outputs: ["sum"] },
            { op: "Mul", inputs: ["sum", "row"], outputs: ["out"] },
          ],
          outputs: [{ name: "sum", shape: [3] }, { name: "out", shape: [3] }],
        },
      },
    }],
  };
  const rows = floatTensor([3, 4], Array.from({ length: 12 }, (_, index) => index - 4));
  await checkAgainstRuntime(spec, { x: entries, rows });
});
