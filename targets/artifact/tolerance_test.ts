import assert from "node:assert/strict";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { compare, input, literal, unary } from "../../compiler/ir/expression.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { int8 } from "../../compiler/numeric/number_format.ts";
import { perTensor } from "../../compiler/numeric/scheme.ts";
import { deviations, toleranceOf } from "./tolerance.ts";

const plainMatmul = { transposeB: false, hasBias: false, result: { kind: "real" } } as const;

function identity(builder: GraphBuilder, extent: number) {
  return builder.constant(floatTensor([extent, extent], new Float32Array(extent * extent)));
}

Deno.test("arithmetic that every target rounds alike has no tolerance", () => {
  const builder = new GraphBuilder("g");
  const x = builder.input("x", tensorType("f32", [4, 4]));
  const step = builder.constant(floatTensor([1, 1], [0.5]));
  const scheme = { format: int8, block: perTensor(2), step: "f32", zeroPoint: false, range: "static" } as const;
  const codes = builder.add("quantize", [builder.map(unary("sqrt", input(0)), [x]), step], { scheme });
  builder.output("y", builder.add("dequantize", [codes], {}));
  const graph = builder.finish();
  const deviation = deviations(graph).get(graph.outputs[0].value);
  assert.ok(deviation !== undefined);
  assert.equal(toleranceOf(deviation, 100, true), 0);
});

Deno.test("tolerances grow with the terms summed and with each rounding to codes after them", () => {
  const tolerance = (extent: number, encodes: number) => {
    const builder = new GraphBuilder("g");
    let value = builder.input("x", tensorType("f32", [1, extent]));
    value = builder.add("matmul", [value, identity(builder, extent)], plainMatmul);
    const scheme = { format: int8, block: perTensor(2), step: "f32", zeroPoint: false, range: "dynamic" } as const;
    for (let count = 0; count < encodes; count++) {
      value = builder.add("dequantize", [builder.add("quantize", [value], { scheme })], {});
    }
    const deviation = deviations(builder.finish()).get(value);
    assert.ok(deviation !== undefined);
    return toleranceOf(deviation, 1, true) ?? NaN;
  };
  assert.equal(tolerance(63, 0), 2 * 2 ** -24 * 6 * 8);
  assert.ok(tolerance(255, 0) === 2 * tolerance(63, 0));
  assert.ok(Math.abs(tolerance(63, 4) - (tolerance(63, 0) + 2 / 127)) < 1e-9);
});

Deno.test("a choice between inexact values has no bound, and one between exact values is exact", () => {
  const builder = new GraphBuilder("g");
  const x = builder.input("x", tensorType("f32", [1, 4]));
  const product = builder.add("matmul", [x, identity(builder, 4)], plainMatmul);
  const options = { kind: "max", axis: 1, keepAxes: false, last: false } as const;
  const [inexact, exact] = [builder.add("argReduce", [product], options), builder.add("argReduce", [x], options)];
  const isPositive = builder.map(compare("gt", input(0), literal(0)), [product]);
  const found = deviations(builder.finish());
  const tolerance = (value: string) => {
    const deviation = found.get(value);
    assert.ok(deviation !== undefined);
    return toleranceOf(deviation, 3, false);
  };
  assert.deepEqual([tolerance(inexact), tolerance(exact), tolerance(isPositive)], [undefined, 0, undefined]);
});
