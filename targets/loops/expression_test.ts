import assert from "node:assert/strict";
import { binary, cast, input, literal, unary } from "../../compiler/ir/expression.ts";
import { LoopBuilder } from "./build.ts";
import { expressionScalar } from "./expression.ts";
import type { Scalar } from "./program.ts";
import { printExpression } from "./lower/elementwise.ts";

const x: Scalar = { kind: "load", element: "f32", buffer: "x", index: 0 };

function lets(build: (b: LoopBuilder) => Scalar): readonly string[] {
  const b = new LoopBuilder();
  b.store("y", 0, build(b));
  return b.finish("test", []).body.filter((statement) => statement.kind === "let").map((statement) =>
    statement.variable
  );
}

Deno.test("a part that is read twice becomes a variable, whether it is one object or two equal ones", () => {
  const shared = unary("exp", input(0));
  assert.deepEqual(lets((b) => expressionScalar(b, binary("add", shared, shared), [x])), ["exp"]);
  const equal = binary("mul", unary("tanh", input(0)), unary("tanh", input(0)));
  assert.deepEqual(lets((b) => expressionScalar(b, equal, [x])), ["tanh"]);
  assert.deepEqual(lets((b) => expressionScalar(b, unary("exp", input(0)), [x])), []);
});

Deno.test("zeros of either sign and NaN are parts of their own", () => {
  const sum = binary("add", binary("mul", input(0), literal(0)), binary("mul", input(0), literal(-0)));
  assert.deepEqual(lets((b) => expressionScalar(b, sum, [x])), ["value0"]);
});

Deno.test("an expression that doubles thirty times stays thirty steps", () => {
  let expression = cast("f32", input(0));
  for (let depth = 0; depth < 30; depth++) expression = binary("add", expression, expression);
  assert.equal(lets((b) => expressionScalar(b, expression, [x])).length, 30);
  assert.ok(printExpression(expression, () => "x").length < 400);
});
