import assert from "node:assert/strict";
import { GraphBuilder } from "../ir/build.ts";
import { binary, type Expression, input, literal, unary } from "../ir/expression.ts";
import { floatTensor } from "../ir/tensor.ts";
import { tensorType } from "../ir/types.ts";
import { affineOf, type LinearForm, linearFormOf } from "./affine.ts";
import { Rewriting } from "./view.ts";

/** The linear form of a map over x, z [2,3] and constants [3], [2,1], along the last axis. */
function formOf(expression: Expression): LinearForm | undefined {
  const builder = new GraphBuilder("form");
  const x = builder.input("x", tensorType("f32", [2, 3]));
  const z = builder.input("z", tensorType("f32", [2, 3]));
  const columns = builder.constant(floatTensor([3], [1, 2, 4]));
  const rows = builder.constant(floatTensor([2, 1], [1, 2]));
  const y = builder.map(expression, [x, z, columns, rows]);
  builder.output("y", y);
  const view = new Rewriting(builder.finish());
  const node = view.producer(y);
  assert.ok(node !== undefined);
  return linearFormOf(node, (value) => value === x || value === z, 1, view);
}

const [x, z, columns, rows] = [0, 1, 2, 3].map(input);

Deno.test("linear forms are read through sums, products, quotients and limits", () => {
  const inner = binary(
    "sub",
    binary("mul", columns, binary("add", x, literal(3))),
    binary("div", unary("neg", z), literal(2)),
  );
  const form = formOf(binary("max", binary("min", inner, literal(6)), literal(0)));
  assert.ok(form !== undefined);
  assert.deepEqual([...form.factors.get("x") ?? []], [1, 2, 4]);
  assert.deepEqual([...form.factors.get("z") ?? []], [0.5]);
  assert.deepEqual([...form.shift], [3, 6, 12]);
  assert.deepEqual([form.low, form.high], [0, 6]);
});

Deno.test("limits act from the inside out", () => {
  const below = formOf(binary("min", binary("max", x, literal(5)), literal(2)));
  assert.deepEqual([below?.low, below?.high], [2, 2]);
  const above = formOf(binary("max", binary("min", x, literal(2)), literal(5)));
  assert.deepEqual([above?.low, above?.high], [5, 5]);
});

Deno.test("what is not linear, or varies along another axis, has no form", () => {
  assert.equal(formOf(binary("mul", x, x)), undefined);
  assert.equal(formOf(binary("mul", x, z)), undefined);
  assert.equal(formOf(binary("div", literal(1), x)), undefined);
  assert.equal(formOf(unary("exp", x)), undefined);
  assert.equal(formOf(binary("add", x, rows)), undefined);
  assert.equal(formOf(binary("add", binary("max", x, literal(0)), literal(1))), undefined);
});

Deno.test("affineOf is the form of one variable without limits", () => {
  const builder = new GraphBuilder("affine");
  const value = builder.input("x", tensorType("f32", [2, 3]));
  const line = builder.map(binary("add", binary("mul", input(0), literal(2)), literal(1)), [value]);
  const limited = builder.map(binary("max", input(0), literal(0)), [value]);
  builder.output("a", line);
  builder.output("b", limited);
  const view = new Rewriting(builder.finish());
  const [lineNode, limitedNode] = [view.producer(line), view.producer(limited)];
  assert.ok(lineNode !== undefined && limitedNode !== undefined);
  const affine = affineOf(lineNode, value, 1, view);
  assert.deepEqual([affine?.scale[0], affine?.shift[0]], [2, 1]);
  assert.equal(affineOf(limitedNode, value, 1, view), undefined);
});
