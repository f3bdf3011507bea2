import assert from "node:assert/strict";
import { DiagnosticError } from "../../compiler/diagnostics.ts";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor, plainTensor, tensorParts } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { gpuTest } from "../../tests/support/gpu.ts";
import { bindingBytes, bindOperands } from "./dispatch.ts";
import type { WgslOperand } from "./kernel.ts";
import { startOnGpu } from "./run_graph.ts";

const width = 64;

/** Rows of a table that one binding does not hold. */
function largeTable(): Graph {
  const rows = bindingBytes / 4 / width + 1000;
  const data = new Float32Array(rows * width);
  for (let at = 0; at < data.length; at += 997) data[at] = at % 8191;
  const b = new GraphBuilder("large");
  const table = b.constant(floatTensor([rows, width], data));
  b.output("y", b.add("gather", [table, b.input("indices", tensorType("i32", [4]))], { axis: 0 }));
  return b.finish();
}

await gpuTest("a constant larger than a binding is read through several", async () => {
  const graph = largeTable();
  const edge = bindingBytes / 4 / width;
  const indices = plainTensor("i32", [4], Int32Array.of(0, edge - 1, edge, -1));
  const running = await startOnGpu(graph);
  const { windows, shader } = running.program.steps[0];
  assert.deepEqual(windows.map(({ bytes }) => bytes), [bindingBytes, 1000 * width * 4]);
  assert.match(shader.variants[0].text, /weights0to1\(/);
  const [actual] = tensorParts((await running.run({ indices })).y);
  running.dispose();
  const [expected] = tensorParts(evaluateGraph(graph, { indices }).outputs.y);
  assert.deepEqual(actual.tensor.data, expected.tensor.data);
});

function constants(count: number): readonly WgslOperand[] {
  return Array.from(
    { length: count },
    (_, index) => ({ kind: "value", name: `c${index}`, value: `c${index}`, part: "data" }),
  );
}

Deno.test("constants share bindings where they lie close, and six bindings are the most", () => {
  const place = (bytes: number, gap: number) => (operand: WgslOperand) => {
    const index = Number(operand.name.slice(1));
    return { memory: "weights" as const, offset: index * gap, bytes };
  };
  const close = bindOperands("n", constants(8), place(1000, 1024));
  assert.deepEqual(close.windows, [{ offset: 0, bytes: 7 * 1024 + 1000 }]);
  assert.equal(close.memoryOf("c7"), "weights0");
  const apart = bindOperands("n", constants(6), place(1000, bindingBytes));
  assert.equal(apart.windows.length, 6);
  assert.equal(apart.memoryOf("c5"), "weights5");
  assert.throws(
    () => bindOperands("n", constants(7), place(1000, bindingBytes)),
    (error) => error instanceof DiagnosticError && /WebGPU has 6, of 128 MiB each/.test(error.message),
  );
});
