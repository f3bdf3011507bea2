import assert from "node:assert/strict";
import { InvariantError } from "../diagnostics.ts";
import { GraphBuilder } from "../ir/build.ts";
import { binary, input, literal, unary } from "../ir/expression.ts";
import type { Graph } from "../ir/graph.ts";
import { verify } from "../ir/verify.ts";
import { floatTensor } from "../ir/tensor.ts";
import { tensorType } from "../ir/types.ts";
import { applyPatches, sweep } from "./drive.ts";
import { PatchBuilder } from "./patch.ts";
import { declined, patched, type Rule } from "./rule.ts";
import { Rewriting } from "./view.ts";

const vector = tensorType("f32", [4]);

/** x -> neg -> exp -> y, with abs as a second reader of neg. */
function sample(): Graph {
  const builder = new GraphBuilder("sample");
  const x = builder.input("x", vector);
  const negated = builder.map(unary("neg", input(0)), [x], { name: "negated", origin: ["neg"] });
  builder.output("y", builder.map(unary("exp", input(0)), [negated], { name: "y", origin: ["exp"] }));
  builder.output("z", builder.map(unary("abs", input(0)), [negated], { name: "z", origin: ["abs"] }));
  return builder.finish();
}

function nodeOf(view: Rewriting, value: string) {
  const node = view.producer(value);
  assert.ok(node !== undefined);
  return node;
}

Deno.test("a view tells readers, outputs and the only reader", () => {
  const view = new Rewriting(sample());
  assert.deepEqual(view.readers("negated").map((node) => node.origin[0]), ["exp", "abs"]);
  assert.equal(view.onlyReader("negated"), undefined);
  assert.equal(view.onlyReader("x")?.origin[0], "neg");
  assert.ok(view.isOutput("y") && !view.isOutput("negated"));
  assert.equal(view.onlyReader("y"), undefined);
});

Deno.test("added nodes take the origins of removed and mentioned ones, unless theirs is stated", () => {
  const view = new Rewriting(sample());
  const patch = new PatchBuilder("test", view);
  patch.mention(nodeOf(view, "negated"));
  patch.remove(nodeOf(view, "y"));
  const inner = patch.map(unary("sqrt", input(0)), ["negated"], { origin: ["own"] });
  patch.addAs(["y"], "map", [inner], { expression: unary("exp", input(0)) });
  const finished = patch.finish();
  assert.deepEqual(finished.origin, ["neg", "exp"]);
  assert.deepEqual(finished.added.map((node) => node.origin), [["own"], ["neg", "exp"]]);
  view.apply(finished);
  const graph = view.finish();
  assert.deepEqual(verify(graph), []);
  assert.deepEqual(graph.outputs.map((output) => output.value), ["y", "z"]);
});

Deno.test("replacing a value moves its readers and the graph's outputs, but not the patch's own nodes", () => {
  const view = new Rewriting(sample());
  const patch = new PatchBuilder("test", view);
  const between = patch.map(unary("floor", input(0)), ["negated"], { name: "between" });
  patch.replace("negated", between);
  const topped = patch.map(unary("ceil", input(0)), ["y"], { name: "topped" });
  patch.replace("y", topped);
  view.apply(patch.finish());
  const graph = view.finish();
  assert.deepEqual(verify(graph), []);
  assert.deepEqual(view.readers("negated").map((node) => node.outputs[0]), ["between"]);
  assert.deepEqual(view.readers("between").map((node) => node.origin[0]), ["exp", "abs"]);
  assert.deepEqual(graph.outputs.map((output) => output.value), ["topped", "z"]);
});

Deno.test("finish drops dead nodes and keeps state updates", () => {
  const builder = new GraphBuilder("states");
  builder.state({ name: "s", type: vector, axis: -1 });
  const x = builder.input("x", vector);
  builder.map(unary("neg", input(0)), [x]);
  builder.add("writeState", [x], { state: "s" });
  builder.output("y", builder.map(unary("abs", input(0)), [x]));
  const { graph } = sweep(builder.finish(), []);
  assert.deepEqual(graph.nodes.map((node) => node.op), ["writeState", "map"]);
  assert.deepEqual([...graph.types.keys()].sort(), ["map_2", "writeState", "x"]);
});

Deno.test("nodes stay in topological order when a patch uses a constant made later", () => {
  const builder = new GraphBuilder("order");
  const x = builder.input("x", vector);
  const first = builder.map(unary("neg", input(0)), [x], { name: "first" });
  const late = builder.constant(floatTensor([4], [1, 2, 3, 4]));
  builder.output("y", builder.map(binary("add", input(0), input(1)), [first, late]));
  const view = new Rewriting(builder.finish());
  const patch = new PatchBuilder("test", view);
  patch.remove(nodeOf(view, "first"));
  const shared = patch.constant(floatTensor([4], [1, 2, 3, 4]));
  assert.equal(shared, late);
  patch.addAs(["first"], "map", [x, shared], { expression: binary("mul", input(0), input(1)) });
  view.apply(patch.finish());
  assert.deepEqual(verify(view.finish()), []);
});

Deno.test("patches that would break the graph are our bugs", () => {
  const removesRead = new Rewriting(sample());
  const patch = new PatchBuilder("removes", removesRead);
  patch.remove(nodeOf(removesRead, "negated"));
  assert.throws(() => removesRead.apply(patch.finish()), InvariantError);

  const retypes = new PatchBuilder("retypes", new Rewriting(sample()));
  const wide = retypes.cast("negated", "f64");
  assert.throws(() => retypes.replace("negated", wide), InvariantError);
  assert.throws(
    () => retypes.addAs(["negated"], "map", ["x"], { expression: { kind: "cast", element: "f64", x: input(0) } }),
    InvariantError,
  );

  const twice = new Rewriting(sample());
  const gone = new PatchBuilder("gone", twice);
  const y = nodeOf(twice, "y");
  gone.remove(y);
  gone.addAs(["y"], "map", ["negated"], { expression: unary("sqrt", input(0)) });
  const finished = gone.finish();
  twice.apply(finished);
  const again = new PatchBuilder("again", twice);
  again.remove(nodeOf(twice, "z"));
  again.addAs(["z"], "map", ["z"], { expression: unary("sqrt", input(0)) });
  twice.apply(again.finish());
  assert.throws(() => twice.finish(), InvariantError);
});

/** exp(x) becomes 2 exp(x); refuses abs. */
const doubling: Rule = {
  name: "doubling",
  rewrite: (node, view) => {
    if (node.op !== "map" || node.attributes.expression.kind !== "unary") return undefined;
    if (node.attributes.expression.operator === "abs") return declined("abs stays");
    if (node.attributes.expression.operator !== "exp") return undefined;
    const patch = new PatchBuilder("doubling", view);
    patch.remove(node);
    const inner = patch.map(node.attributes.expression, node.inputs);
    patch.addAs(node.outputs, "map", [inner], { expression: binary("mul", input(0), literal(2)) });
    return patched(patch.finish());
  },
};

Deno.test("a sweep visits each node once, reports refusals, and ends though a rule feeds itself", () => {
  const plain = sweep(sample(), [doubling]);
  assert.equal(plain.applied.length, 1);
  assert.deepEqual(plain.declined, [{ rule: "doubling", node: "abs", reason: "abs stays" }]);
  assert.deepEqual(verify(plain.graph), []);
  const deep = sweep(sample(), [doubling], { generations: 3 });
  assert.equal(deep.applied.length, 4);
  assert.deepEqual(verify(deep.graph), []);
});

Deno.test("a sweep leaves nodes alone that are not selected", () => {
  const result = sweep(sample(), [doubling], { selects: (node) => node.origin[0] === "abs" });
  assert.equal(result.applied.length, 0);
  assert.equal(result.declined.length, 1);
});

Deno.test("applyPatches gives the graph that the sweep gave", () => {
  const graph = sample();
  const result = sweep(graph, [doubling]);
  assert.deepEqual(applyPatches(graph, result.applied).nodes, result.graph.nodes);
});
