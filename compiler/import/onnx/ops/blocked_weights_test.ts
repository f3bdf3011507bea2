import assert from "node:assert/strict";
import type { ModelSpec, NodeSpec } from "../../../../tests/support/onnx_builder.ts";
import { checkAgainstRuntime, errorsOf, graphOf, importSpec } from "../../../../tests/support/onnx_check.ts";
import { normalArray } from "../../../../tests/support/random.ts";
import { floatTensor, plainTensor, type Tensor } from "../../../ir/tensor.ts";
import { typeOf } from "../../../ir/graph.ts";
import { printType } from "../../../ir/types.ts";

const rows = 3;

interface Sizes {
  readonly depth: number;
  readonly columns: number;
  readonly bits: number;
  readonly block: number;
}

function bytes(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, index) => (index * 89 + 31) % 256);
}

function model(
  { depth, columns, bits, block }: Sizes,
  zeros?: Tensor,
  more: Readonly<Record<string, Tensor>> = {},
): ModelSpec {
  const count = Math.ceil(depth / block);
  const initializers: Record<string, Tensor> = {
    w: plainTensor("u8", [columns, count, block * bits / 8], bytes(columns * count * block * bits / 8)),
    s: floatTensor([columns * count], Array.from({ length: columns * count }, (_, index) => 0.01 + index / 500)),
    ...(zeros === undefined ? {} : { z: zeros }),
    ...more,
  };
  const node: NodeSpec = {
    op: "MatMulNBits",
    domain: "com.microsoft",
    inputs: ["x", "w", "s", zeros === undefined ? "" : "z", "", more.bias === undefined ? "" : "bias"],
    outputs: ["y"],
    attributes: { K: depth, N: columns, bits, block_size: block },
  };
  return { inputs: [{ name: "x", shape: [rows, depth] }], outputs: ["y"], initializers, nodes: [node] };
}

/** Sums of `depth` products below 3 * 8 * (largest step) in magnitude, each rounded in f32 in either order. */
function bound({ depth, bits }: Sizes): number {
  return depth * 2 ** -24 * depth * 3 * 2 ** bits * 0.1;
}

const four: Sizes = { depth: 64, columns: 4, bits: 4, block: 16 };

Deno.test("MatMulNBits with symmetric 4-bit blocks agrees with onnxruntime", async () => {
  const x = floatTensor([rows, 64], normalArray(rows * 64, 1));
  const graph = await checkAgainstRuntime(model(four), { x }, { bound: bound(four) });
  const weights = graph.nodes.flatMap(({ op, outputs }) =>
    op === "constant" ? [printType(typeOf(graph, outputs[0]))] : []
  );
  assert.deepEqual(weights, ["q<int4, block[1,16], f32>[4,64]"]);
});

Deno.test("MatMulNBits with packed zero points agrees with onnxruntime", async () => {
  const zeros = plainTensor("u8", [4 * 2], Uint8Array.of(0x37, 0x98, 0xa5, 0x41, 0x0f, 0x76, 0x22, 0xee));
  const x = floatTensor([rows, 64], normalArray(rows * 64, 2));
  const graph = await checkAgainstRuntime(model(four, zeros), { x }, { bound: bound(four) });
  assert.ok(
    graph.nodes.some(({ outputs }) =>
      printType(typeOf(graph, outputs[0])) === "q<uint4, block[1,16], f32, zero>[4,64]"
    ),
  );
});

Deno.test("MatMulNBits with a last block that is cut off agrees with onnxruntime", async () => {
  const sizes = { ...four, depth: 40 };
  const x = floatTensor([rows, 40], normalArray(rows * 40, 3));
  await checkAgainstRuntime(model(sizes), { x }, { bound: bound(sizes) });
});

Deno.test("MatMulNBits of 8 bits with a bias agrees with onnxruntime", async () => {
  const sizes = { ...four, bits: 8, block: 32 };
  const x = floatTensor([rows, 64], normalArray(rows * 64, 4));
  const spec = model(sizes, undefined, { bias: floatTensor([4], [1, -2, 3, -4]) });
  await checkAgainstRuntime(spec, { x }, { bound: bound(sizes) });
});

Deno.test("MatMulNBits of 2 bits takes codes from the low bits up", () => {
  const sizes = { depth: 16, columns: 1, bits: 2, block: 16 };
  const graph = graphOf(model(sizes));
  assert.ok(
    graph.nodes.some(({ outputs }) => printType(typeOf(graph, outputs[0])) === "q<int2, block[1,16], f32>[1,16]"),
  );
});

Deno.test("MatMulNBits with zero points of 8 everywhere is symmetric", () => {
  const graph = graphOf(model(four, plainTensor("u8", [8], new Uint8Array(8).fill(0x88))));
  assert.ok(
    graph.nodes.some(({ outputs }) => printType(typeOf(graph, outputs[0])) === "q<int4, block[1,16], f32>[4,64]"),
  );
});

function changed(spec: ModelSpec, change: (node: NodeSpec) => NodeSpec): ModelSpec {
  return { ...spec, nodes: spec.nodes.map(change) };
}

const faulty: readonly (readonly [string, ModelSpec, RegExp])[] = [
  [
    "3 bits",
    changed(model(four), (node) => ({ ...node, attributes: { ...node.attributes, bits: 3 } })),
    /weights of 3 bits/,
  ],
  [
    "an order of its own",
    changed({
      ...model(four),
      initializers: { ...model(four).initializers, g: plainTensor("i32", [64], new Int32Array(64)) },
    }, (
      node,
    ) => ({ ...node, inputs: ["x", "w", "s", "", "g"] })),
    /\(g_idx\)/,
  ],
  [
    "too few bytes",
    changed(model(four), (node) => ({ ...node, attributes: { ...node.attributes, N: 5 } })),
    /the weights are 128 entries of u8, wanted 160/,
  ],
  [
    "weights known only at run time",
    {
      ...changed(model(four), (node) => ({ ...node, inputs: ["x", "v", "s"] })),
      inputs: [{ name: "x", shape: [rows, 64] }, { name: "v", element: "u8", shape: [4, 4, 8] }],
    },
    /the weights must be constants/,
  ],
];

for (const [what, spec, message] of faulty) {
  Deno.test(`MatMulNBits with ${what} is a diagnostic`, () => {
    assert.match(errorsOf(importSpec(spec))[0].message, message);
  });
}
