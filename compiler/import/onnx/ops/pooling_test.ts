import { equal, ok } from "node:assert/strict";
import fc from "fast-check";
import {
  assertLikeRuntime,
  importNodeModel,
  type NodeModel,
  normalTensor,
} from "../../../../tests/support/onnx_model.ts";

/** Windows of up to 9 terms: f32 sums of two orders differ by at most 9 roundings of the sum of magnitudes. */
const windowBound = { relative: 16 * 2 ** -24, absolute: 0 };

const axis = fc.record({
  extent: fc.integer({ min: 3, max: 9 }),
  kernel: fc.integer({ min: 1, max: 3 }),
  stride: fc.integer({ min: 1, max: 3 }),
  begin: fc.integer({ min: 0, max: 2 }),
  end: fc.integer({ min: 0, max: 2 }),
});

const geometry = fc.record({
  axes: fc.array(axis, { minLength: 1, maxLength: 3 }),
  ceil: fc.boolean(),
  countPadding: fc.boolean(),
  seed: fc.nat(1000),
}).filter(({ axes }) =>
  // Padding must be smaller than the kernel: onnxruntime refuses more.
  axes.every(({ kernel, begin, end }) => begin < kernel && end < kernel)
);

type Geometry = typeof geometry extends fc.Arbitrary<infer T> ? T : never;

function poolModel(op: string, { axes, ceil, countPadding, seed }: Geometry): NodeModel {
  return {
    op,
    opset: 18,
    attributes: {
      kernel_shape: axes.map(({ kernel }) => kernel),
      strides: axes.map(({ stride }) => stride),
      pads: [...axes.map(({ begin }) => begin), ...axes.map(({ end }) => end)],
      ceil_mode: ceil ? 1 : 0,
      ...(op === "AveragePool" ? { count_include_pad: countPadding ? 1 : 0 } : {}),
    },
    inputs: [normalTensor([1, 2, ...axes.map(({ extent }) => extent)], seed)],
  };
}

for (const op of ["MaxPool", "AveragePool", "LpPool"]) {
  Deno.test(`${op} over random windows gives what onnxruntime gives, in ceil mode too`, async () => {
    await fc.assert(
      fc.asyncProperty(geometry, (shape) => assertLikeRuntime(poolModel(op, shape), windowBound)),
      { numRuns: 60, seed: 11 },
    );
  });
}

Deno.test("MaxPool's indices are those of onnxruntime, in both storage orders", async () => {
  for (const storageOrder of [0, 1]) {
    await assertLikeRuntime({
      op: "MaxPool",
      opset: 12,
      attributes: { kernel_shape: [3, 2], strides: [2, 2], pads: [1, 0, 1, 1], storage_order: storageOrder },
      inputs: [normalTensor([2, 3, 7, 6], 5)],
      outputs: ["y", "indices"],
    }, windowBound);
  }
});

Deno.test("MaxPool with SAME padding and dilations gives what onnxruntime gives", async () => {
  for (const autoPad of ["SAME_UPPER", "SAME_LOWER", "VALID"]) {
    await assertLikeRuntime({
      op: "MaxPool",
      opset: 12,
      attributes: { kernel_shape: [2, 3], strides: [2, 3], auto_pad: autoPad },
      inputs: [normalTensor([1, 2, 7, 8], 3)],
    }, windowBound);
  }
  await assertLikeRuntime({
    op: "MaxPool",
    opset: 12,
    attributes: { kernel_shape: [2, 2], dilations: [2, 3] },
    inputs: [normalTensor([1, 2, 7, 8], 4)],
  }, windowBound);
});

Deno.test("GlobalAveragePool is a sum and one map", () => {
  const graph = importNodeModel({ op: "GlobalAveragePool", opset: 12, inputs: [normalTensor([1, 3, 4, 5], 1)] });
  equal(graph.nodes.map(({ op }) => op).join(), "reduce,map");
  ok(graph.outputs.length === 1);
});
