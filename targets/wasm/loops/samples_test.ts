import assert from "node:assert/strict";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { type Graph, typeOf } from "../../../compiler/ir/graph.ts";
import { isFloat } from "../../../compiler/numeric/element.ts";
import { tensorType } from "../../../compiler/ir/types.ts";
import { allSamples, type OpSample } from "../../../tests/support/op_samples.ts";
import { wasmVariants } from "../kernel.ts";
import { assertLoops, loopProgram, loopText } from "../../../tests/support/loop_kernels.ts";

/** Float results of the samples: entries of order 1, sums of at most 64 terms, f32 kernels. */
const sampleTolerance = (expected: number) => 128 * 2 ** -24 * Math.max(1, Math.abs(expected));

/** Whether every output is integers, codes, or moved floats. */
const exactOps = new Set([
  "gather",
  "gatherElements",
  "gatherNd",
  "scatterNd",
  "reshape",
  "transpose",
  "expand",
  "slice",
  "pad",
  "concat",
  "topK",
  "append",
  "readState",
  "writeState",
  "quantize",
  "dequantize",
  "fromCodes",
  "toCodes",
  "toSteps",
  "argReduce",
  "poolIndices",
]);

function isExact({ graph }: OpSample): boolean {
  const isInteger = graph.outputs.every(({ value }) => {
    const type = typeOf(graph, value);
    return type.encoding.kind !== "plain" || !isFloat(type.element);
  });
  return isInteger || graph.nodes.every((node) => node.op === "constant" || exactOps.has(node.op));
}

for (const sample of allSamples()) {
  Deno.test(`loop kernels agree with the evaluator on ${sample.name}`, async () => {
    await assertLoops(sample.graph, { runs: sample.runs, tolerance: isExact(sample) ? undefined : sampleTolerance });
  });
}

function twice(graph: Graph): readonly string[] {
  return [loopText(graph), loopText(graph)];
}

Deno.test("loop kernels of equal graphs are equal text, and both variants are one text", () => {
  for (const { graph } of allSamples()) {
    const [first, second] = twice(graph);
    assert.equal(first, second);
    for (const { kernel } of loopProgram(graph).steps) {
      const [one, other] = wasmVariants.map((variant) => kernel.wat("k", variant));
      assert.equal(one, other);
    }
  }
});

Deno.test("nodes of one shape share a kernel; another shape, axis or number makes another", () => {
  const build = (shape: readonly number[], axis: number, epsilon: number) => {
    const builder = new GraphBuilder("shared");
    const x = builder.input("x", tensorType("f32", shape));
    builder.output("y", builder.add("norm", [x], { kind: "rms", axis, epsilon }));
    builder.output(
      "z",
      builder.add("norm", [builder.input("w", tensorType("f32", shape))], { kind: "rms", axis, epsilon }),
    );
    return loopProgram(builder.finish()).steps.map(({ kernel }) => kernel.id);
  };
  const [first, second] = build([4, 8], 1, 1e-5);
  assert.equal(first, second);
  const others = [build([4, 9], 1, 1e-5), build([4, 8], 0, 1e-5), build([4, 8], 1, 1e-6)].map(([id]) => id);
  assert.equal(new Set([first, ...others]).size, 4);
});
