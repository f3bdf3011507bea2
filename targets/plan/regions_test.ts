import assert from "node:assert/strict";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { binary, input, literal, unary } from "../../compiler/ir/expression.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { formRegions } from "./regions.ts";

const plainMatmul = { transposeB: false, hasBias: false, result: { kind: "real" } } as const;

function weights(builder: GraphBuilder, seed: number) {
  return builder.constant(floatTensor([4, 4], Array.from({ length: 16 }, (_, index) => index * seed)));
}

function everyMain(): boolean {
  return true;
}

Deno.test("formRegions fuses the maps after a matmul and keeps their order of operands", () => {
  const builder = new GraphBuilder("g");
  const x = builder.input("x", tensorType("f32", [2, 4]));
  const y = builder.add("matmul", [x, weights(builder, 1)], plainMatmul, { origin: ["fc"] });
  const relu = builder.map(binary("max", input(0), literal(0)), [y], { origin: ["relu"] });
  builder.output("z", builder.map(binary("sub", input(0), input(1)), [x, relu], { origin: ["sub"] }));
  const [region, ...rest] = formRegions(builder.finish(), everyMain);
  assert.equal(rest.length, 0);
  assert.deepEqual(region.epilogue?.operands, [x]);
  assert.deepEqual(region.epilogue?.expression, binary("sub", input(1), binary("max", input(0), literal(0))));
  assert.deepEqual(region.epilogue?.nodes.map(({ origin }) => origin[0]), ["relu", "sub"]);
});

Deno.test("formRegions gives a sum of two matmuls to the second and leaves a shared result alone", () => {
  const builder = new GraphBuilder("g");
  const x = builder.input("x", tensorType("f32", [2, 4]));
  const a = builder.add("matmul", [x, weights(builder, 1)], plainMatmul, { origin: ["a"] });
  const b = builder.add("matmul", [a, weights(builder, 2)], plainMatmul, { origin: ["b"] });
  builder.output("sum", builder.map(binary("add", input(0), input(1)), [a, b]));
  const regions = formRegions(builder.finish(), everyMain);
  assert.deepEqual(regions.map(({ main, epilogue }) => [main.origin[0], epilogue?.operands]), [
    ["a", undefined],
    ["b", [a]],
  ]);
});

Deno.test("formRegions does not fuse what a graph output or a broadcast needs", () => {
  const builder = new GraphBuilder("g");
  const x = builder.input("x", tensorType("f32", [2, 4]));
  const y = builder.add("matmul", [x, weights(builder, 1)], plainMatmul);
  builder.output("y", y);
  builder.output("z", builder.map(unary("neg", input(0)), [y]));
  const row = builder.add("reduce", [x], { kind: "sum", axes: [0], keepAxes: true });
  builder.output("w", builder.map(binary("add", input(0), input(1)), [row, x]));
  const regions = formRegions(builder.finish(), everyMain);
  assert.deepEqual(regions.map(({ epilogue }) => epilogue), [undefined, undefined, undefined, undefined]);
});

Deno.test("formRegions composes a map that reads the result twice", () => {
  const builder = new GraphBuilder("g");
  const x = builder.input("x", tensorType("f32", [2, 4]));
  const y = builder.add("matmul", [x, weights(builder, 1)], plainMatmul);
  const neg = builder.map(binary("sub", input(1), input(0)), [y, x]);
  builder.output("z", builder.map(binary("mul", input(1), input(2)), [x, neg, neg]));
  const [{ epilogue }] = formRegions(builder.finish(), everyMain);
  const difference = binary("sub", input(1), input(0));
  assert.deepEqual(epilogue?.operands, [x]);
  assert.deepEqual(epilogue?.expression, binary("mul", difference, difference));
});
