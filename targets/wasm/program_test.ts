import assert from "node:assert/strict";
import { DiagnosticError } from "../../compiler/diagnostics.ts";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { binary, input, literal } from "../../compiler/ir/expression.ts";
import { symbolic } from "../../compiler/ir/extent.ts";
import { shapeBound } from "../../compiler/ir/extent.ts";
import { typeOf } from "../../compiler/ir/graph.ts";
import { floatTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import type { Region } from "../region.ts";
import type { SelectContext, WasmKernel } from "./kernel.ts";
import { type KernelChoice, lowerWasm } from "./program.ts";
import { startProgram } from "./run_program.ts";

/** Kernels for the tests below: maps that double their first operand over its bounds, and appends of f32 rows. */
function doubling({ main }: Region, { graph, symbols }: SelectContext): WasmKernel {
  const [x] = main.inputs;
  const size = sizeOf(shapeBound(typeOf(graph, x).shape, symbols));
  if (main.op === "append") return appending(main.attributes.state, x, size);
  return {
    id: `double(size=${size})`,
    operands: [{ kind: "value", value: x, part: "data" }, { kind: "value", value: main.outputs[0], part: "data" }],
    calls: [],
    wat: (name) =>
      `;; y = 2x
(func $${name} (param $x i32) (param $y i32) (local $i i32)
  (loop $next
    (f32.store (i32.add (local.get $y) (local.get $i))
      (f32.mul (f32.const 2) (f32.load (i32.add (local.get $x) (local.get $i)))))
    (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const ${4 * size})))))`,
  };
}

/** Writes rows of two entries at row `past` of the state. */
function appending(state: string, x: string, size: number): WasmKernel {
  return {
    id: `append(${state})`,
    operands: [{ kind: "value", value: x, part: "data" }, { kind: "state", state, part: "data" }],
    calls: [],
    wat: (name) =>
      `;; state[past + t] = x[t]
(func $${name} (param $x i32) (param $state i32)
  (memory.copy (i32.add (local.get $state) (i32.mul (global.get $past) (i32.const 8))) (local.get $x)
    (i32.mul (global.get $seq) (i32.const ${4 * size / 4}))))`,
  };
}

const choice: KernelChoice = { canFuseEpilogue: () => false, selectKernel: doubling };

function noMath(): string {
  return "";
}

const twice = binary("mul", input(0), literal(2));

Deno.test("startProgram runs kernels over views, weights and reused memory in both variants", async () => {
  const builder = new GraphBuilder("chain");
  const x = builder.input("x", tensorType("f32", [2, 3]));
  const a = builder.add("reshape", [builder.map(twice, [x])], { shape: [3, 2] });
  const c = builder.constant(floatTensor([4], [1, 2, 3, 4]));
  builder.output("y", builder.map(twice, [a]));
  builder.output("c", builder.add("reshape", [c], { shape: [2, 2] }));
  const graph = builder.finish();
  for (const variant of ["simd128", "relaxed"] as const) {
    const running = await startProgram(lowerWasm(graph, choice), variant, noMath);
    const outputs = await running.run({ x: floatTensor([2, 3], [1, 2, 3, 4, 5, 6]) });
    assert.deepEqual(outputs.y, floatTensor([3, 2], [4, 8, 12, 16, 20, 24]));
    assert.deepEqual(outputs.c, floatTensor([2, 2], [1, 2, 3, 4]));
  }
});

Deno.test("startProgram grows, rewinds and resets a state along a dynamic axis", async () => {
  const builder = new GraphBuilder("cache");
  builder.symbol("seq", { min: 1, max: 4 });
  builder.symbol("past", { min: 0, max: 5 });
  builder.symbol("total", { min: 1, max: 6 });
  const x = builder.input("x", tensorType("f32", [symbolic("seq"), 2]));
  builder.state({ name: "rows", type: tensorType("f32", [symbolic("total"), 2]), axis: 0 });
  builder.output("all", builder.add("append", [x], { state: "rows", axis: 0 }));
  const running = await startProgram(lowerWasm(builder.finish(), choice), "simd128", noMath);
  const send = (...numbers: number[]) => running.run({ x: floatTensor([numbers.length / 2, 2], numbers) });
  await send(1, 2, 3, 4);
  assert.deepEqual((await send(5, 6)).all, floatTensor([3, 2], [1, 2, 3, 4, 5, 6]));
  assert.equal(running.model.state.position, 3);
  running.model.state.rewind(1);
  assert.deepEqual((await send(7, 8)).all, floatTensor([2, 2], [1, 2, 7, 8]));
  await assert.rejects(
    () => send(1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    /"x" has seq = 5, this artifact was compiled for 1 to 4/,
  );
  await send(1, 1, 1, 1, 1, 1, 1, 1);
  await assert.rejects(() => send(1, 1), /hold 6 of 6 positions, this run adds 1/);
  assert.throws(() => running.model.state.rewind(7), /Cannot rewind to 7: the states hold 6 positions/);
  running.model.state.reset();
  assert.deepEqual((await send(9, 9)).all, floatTensor([1, 2], [9, 9]));
});

Deno.test("lowerWasm refuses a model that does not fit a 32-bit memory", () => {
  const builder = new GraphBuilder("large");
  const x = builder.input("x", tensorType("f32", [2 ** 29]));
  builder.output("y", builder.map(twice, [x]));
  assert.throws(() => lowerWasm(builder.finish(), choice), (error: unknown) => {
    assert.ok(error instanceof DiagnosticError);
    assert.equal(error.diagnostics[0].code, "Q0701");
    assert.match(error.message, /needs 4\.0 GiB of memory; WebAssembly has 4 GiB/);
    return true;
  });
});
