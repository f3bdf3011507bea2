import assert from "node:assert/strict";
import { parseGraph } from "../../compiler/ir/parse.ts";
import { Rewriting } from "../../compiler/rewrite/view.ts";
import { planCodes, wantsCodes } from "./code_plan.ts";

/** What the plan holds (with the value that gives the step) and which nodes work on codes, for a graph's body. */
function planOf(
  head: string,
  body: string,
): { readonly held: Record<string, string>; readonly integer: readonly string[] } {
  const weights = `
    %w = const q<int8, block[1,*,*,*], f32>[2,2,1,1] {codes=[1,2,3,4], steps=[0.5,0.25]}
    %l = const q<int8, block[1,*], f32>[4,4] {codes=splat(1), steps=splat(1)}
    %n = const q<int8, block[1,*], f32>[2,2] {codes=splat(1), steps=splat(1)}`;
  const parsed = parseGraph(`graph @g level=quant ${head} {${weights}${body}\n}`);
  assert.ok(parsed.ok, JSON.stringify(parsed.diagnostics));
  const view = new Rewriting(parsed.value);
  const plan = planCodes(parsed.value.nodes, view, (node) => wantsCodes(node, view));
  return { held: Object.fromEntries(plan.held), integer: [...plan.integer].sort() };
}

const conv = "{strides=[1,1], dilations=[1,1], pads=[0,0,0,0], layout=channelsFirst, groups=1} : f32[1,2,4,4]";

Deno.test("a chain of convolutions and limits is held from the input to the last one", () => {
  const plan = planOf(
    "(%x: f32[1,2,4,4]) -> (%c)",
    `
    %a = conv %x, %w ${conv}
    %b = map %a {expression=max($0, 0)} : f32[1,2,4,4]
    %c = conv %b, %w ${conv}`,
  );
  assert.deepEqual(plan, { held: { x: "x", b: "b" }, integer: ["b"] });
});

Deno.test("of two convolutions that are added the later stays an accumulator, the other is held", () => {
  const plan = planOf(
    "(%x: f32[1,2,4,4]) -> (%d)",
    `
    %a = conv %x, %w ${conv}
    %b = conv %x, %w ${conv}
    %c = map %b, %a {expression=add($0, $1)} : f32[1,2,4,4]
    %d = conv %c, %w ${conv}`,
  );
  assert.deepEqual(plan, { held: { x: "x", a: "a", c: "c" }, integer: ["c"] });
});

Deno.test("residual sums that convolutions read work on codes; a float reader keeps the float value as well", () => {
  const plan = planOf(
    "(%x: f32[1,2,4,4]) -> (%e, %f)",
    `
    %a = conv %x, %w ${conv}
    %b = map %a, %x {expression=add($0, $1)} : f32[1,2,4,4]
    %c = conv %b, %w ${conv}
    %d = map %c, %b {expression=add($0, $1)} : f32[1,2,4,4]
    %e = conv %d, %w ${conv}
    %f = softmax %b {axis=1} : f32[1,2,4,4]`,
  );
  assert.deepEqual(plan.held, { x: "x", b: "b", d: "d" });
  assert.deepEqual(plan.integer, ["b", "d"]);
});

Deno.test("sums after a matmul stay float, and so does what reads them", () => {
  const plan = planOf(
    "(%x: f32[3,4]) -> (%d)",
    `
    %a = matmul %x, %l {transposeB} : f32[3,4]
    %b = map %a, %x {expression=add($0, $1)} : f32[3,4]
    %c = map %b {expression=mul($0, 2)} : f32[3,4]
    %d = matmul %c, %l {transposeB} : f32[3,4]`,
  );
  assert.deepEqual(plan, { held: { x: "x", c: "c" }, integer: [] });
});

Deno.test("an activation between two matmuls works on the accumulator", () => {
  const plan = planOf(
    "(%x: f32[3,4]) -> (%c)",
    `
    %a = matmul %x, %l {transposeB} : f32[3,4]
    %b = map %a {expression=tanh($0)} : f32[3,4]
    %c = matmul %b, %l {transposeB} : f32[3,4]`,
  );
  assert.deepEqual(plan, { held: { x: "x", b: "b" }, integer: ["b"] });
});

Deno.test("moves keep the step of what they move; what only a concatenation reads takes its step", () => {
  const plan = planOf(
    "(%x: f32[1,2,4,4]) -> (%g)",
    `
    %a = conv %x, %w ${conv}
    %b = pool %a {kind=max, strides=[1,1], dilations=[1,1], pads=[1,1,1,1], layout=channelsFirst, kernel=[3,3], outputExtents=[4,4], norm=2} : f32[1,2,4,4]
    %c = conv %b, %w ${conv}
    %d = map %c {expression=max($0, 0)} : f32[1,2,4,4]
    %e = concat %d, %b {axis=2} : f32[1,2,8,4]
    %f = slice %e {starts=[0,0,0,0], steps=[1,1,1,1], extents=[1,2,4,4]} : f32[1,2,4,4]
    %g = conv %f, %w ${conv}`,
  );
  assert.deepEqual(plan.held, { x: "x", a: "a", b: "a", d: "e", e: "e", f: "e" });
  assert.deepEqual(plan.integer, ["b", "d", "e", "f"]);
});

Deno.test("squeeze and excitation works on codes throughout", () => {
  const small = "{strides=[1,1], dilations=[1,1], pads=[0,0,0,0], layout=channelsFirst, groups=1} : f32[1,2,1,1]";
  const plan = planOf(
    "(%x: f32[1,2,4,4]) -> (%g)",
    `
    %a = conv %x, %w ${conv}
    %b = map %a {expression=max($0, 0)} : f32[1,2,4,4]
    %s = reduce %b {kind=sum, axes=[2,3], keepAxes} : f32[1,2,1,1]
    %m = map %s {expression=div($0, 16)} : f32[1,2,1,1]
    %c = conv %m, %w ${small}
    %d = map %c {expression=min(max($0, 0), 1)} : f32[1,2,1,1]
    %e = map %b, %d {expression=mul($0, $1)} : f32[1,2,4,4]
    %g = conv %e, %w ${conv}`,
  );
  assert.deepEqual(Object.keys(plan.held).sort(), ["b", "d", "e", "m", "x"]);
  assert.deepEqual(plan.integer, ["b", "d", "e", "m", "s"]);
});

Deno.test("averages whose windows differ in size stay float", () => {
  const plan = planOf(
    "(%x: f32[1,2,4,4]) -> (%c)",
    `
    %a = conv %x, %w ${conv}
    %b = pool %a {kind=average, strides=[1,1], dilations=[1,1], pads=[1,1,1,1], layout=channelsFirst, kernel=[3,3], outputExtents=[4,4], norm=2} : f32[1,2,4,4]
    %c = conv %b, %w ${conv}`,
  );
  assert.deepEqual(plan, { held: { x: "x", b: "b" }, integer: [] });
});
