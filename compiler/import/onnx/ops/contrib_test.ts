import type { ModelSpec, NodeSpec } from "../../../../tests/support/onnx_builder.ts";
import { checkAgainstRuntime } from "../../../../tests/support/onnx_check.ts";
import { normalArray } from "../../../../tests/support/random.ts";
import { floatTensor, plainTensor, type Tensor } from "../../../ir/tensor.ts";

function noise(seed: number, ...shape: readonly number[]): Tensor {
  return floatTensor(shape, normalArray(shape.reduce((product, extent) => product * extent, 1), seed));
}

function model(node: Omit<NodeSpec, "domain" | "outputs">, outputs: readonly string[] = ["y"]): ModelSpec {
  return {
    inputs: [{ name: "x", shape: [2, 3, 8] }, { name: "z", shape: [2, 3, 8] }],
    outputs: outputs.filter((name) => name !== ""),
    initializers: { gain: noise(5, 8), bias: noise(6, 8), offset: noise(7, 8) },
    nodes: [
      { ...node, domain: "com.microsoft", outputs },
    ],
  };
}

const inputs = { x: noise(1, 2, 3, 8), z: noise(2, 2, 3, 8) };

/** Values stay below 16; a formula of at most 64 roundings in f32, exp and erf to 8 ulp among them. */
const bound = 64 * 16 * 2 ** -24;

const cases: readonly (readonly [string, ModelSpec])[] = [
  [
    "FusedMatMul",
    model({ op: "FusedMatMul", inputs: ["x", "z"], attributes: { alpha: { float: 0.3 }, transB: 1 } }),
  ],
  [
    "FusedMatMul with a transposed left operand",
    model({ op: "FusedMatMul", inputs: ["x", "z"], attributes: { transA: 1 } }),
  ],
  ["Gelu", model({ op: "Gelu", inputs: ["x"] })],
  ["FastGelu", model({ op: "FastGelu", inputs: ["x", "bias"] })],
  ["BiasGelu", model({ op: "BiasGelu", inputs: ["x", "bias"] })],
  ["QuickGelu", model({ op: "QuickGelu", inputs: ["x"], attributes: { alpha: { float: 1.5 } } })],
  [
    "SkipLayerNormalization with the sum as an output",
    model({ op: "SkipLayerNormalization", inputs: ["x", "z", "gain", "bias", "offset"] }, ["y", "", "", "sum"]),
  ],
  [
    "SkipSimplifiedLayerNormalization",
    model({
      op: "SkipSimplifiedLayerNormalization",
      inputs: ["x", "z", "gain", "offset"],
      attributes: { epsilon: { float: 1e-6 } },
    }),
  ],
];

for (const [name, spec] of cases) {
  Deno.test(`${name} agrees with onnxruntime`, async () => {
    await checkAgainstRuntime(spec, inputs, { bound });
  });
}

/** Angles of positions 0..9 for heads of 8. */
function tables(): Readonly<Record<string, Tensor>> {
  const angles = Array.from({ length: 40 }, (_, index) => Math.floor(index / 4) / 10 ** (index % 4));
  return {
    cos: floatTensor([10, 4], angles.map(Math.cos)),
    sin: floatTensor([10, 4], angles.map(Math.sin)),
  };
}

for (const interleaved of [0, 1]) {
  for (const positions of [[3], [0, 1, 2, 5, 4, 3]]) {
    const kind = `${interleaved === 1 ? "interleaved, " : ""}${
      positions.length === 1 ? "from an offset" : "by positions"
    }`;
    Deno.test(`RotaryEmbedding ${kind} agrees with onnxruntime`, async () => {
      const shape = positions.length === 1 ? [1] : [2, 3];
      const spec: ModelSpec = {
        inputs: [{ name: "x", shape: [2, 3, 16] }, { name: "p", element: "i64", shape }],
        outputs: ["y"],
        initializers: tables(),
        nodes: [{
          op: "RotaryEmbedding",
          domain: "com.microsoft",
          inputs: ["x", "p", "cos", "sin"],
          outputs: ["y"],
          attributes: { interleaved },
        }],
      };
      const p = plainTensor("i64", shape, BigInt64Array.from(positions, BigInt));
      await checkAgainstRuntime(spec, { x: noise(8, 2, 3, 16), p }, { bound });
    });
  }
}
