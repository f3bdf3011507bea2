/** Regions of blocks that few importers give: parallel branches, routers, fused projections, norms that the residual reads. */

import assert from "node:assert/strict";
import { formatDiagnostic } from "../../compiler/diagnostics.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { parseGraph } from "../../compiler/ir/parse.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { Region } from "../../compiler/rewrite/region/region.ts";
import { scaleRegion } from "../../passes/transform/scale_region.ts";
import { WeightEditor } from "../../passes/transform/weight_editor.ts";
import { maxRelativeDifference } from "../support/compare.ts";
import { normalArray } from "../support/random.ts";

/** Some ten roundings of 2^-24, amplified by at most some tens. */
const bound = 5e-5;
const visible = 1e-3;

const head = `graph @block level=float (%x: f32[1,3,8]) -> (%y) {
  %g = const f32[8] [1,2,0.5,4,1,3,0.25,1]
  %w1 = const f32[8,8] random(1)
  %w2 = const f32[8,8] random(2)
  %w3 = const f32[8,8] random(3)
  %w4 = const f32[8,2] random(4)
  %wide = const f32[8,24] random(5)
  %n = norm %x, %g {kind=rms, axis=2, epsilon=0.00001} : f32[1,3,8] from "norm"
`;

/** Falcon, Cohere, GPT-J: attention and MLP read one norm, both add to the stream. */
const parallel = `${head}
  %a = matmul %n, %w1 {} : f32[1,3,8] from "attention branch"
  %u = matmul %n, %w2 {} : f32[1,3,8] from "mlp branch"
  %r = map %u {expression=max($0, 0.0)} : f32[1,3,8] from "relu"
  %m = matmul %r, %w3 {} : f32[1,3,8] from "down"
  %y = map %x, %a, %m {expression=add(add($0, $1), $2)} : f32[1,3,8] from "sum"
}
`;

/** A mixture of two experts: the router is a reader of the norm like any other. */
const mixture = `${head}
  %logits = matmul %n, %w4 {} : f32[1,3,2] from "router"
  %gates = softmax %logits {axis=2} : f32[1,3,2] from "gates"
  %g1 = slice %gates {starts=[0,0,0], steps=[1,1,1], extents=[1,3,1]} : f32[1,3,1] from "gate 1"
  %g2 = slice %gates {starts=[0,0,1], steps=[1,1,1], extents=[1,3,1]} : f32[1,3,1] from "gate 2"
  %e1 = matmul %n, %w1 {} : f32[1,3,8] from "expert 1"
  %e2 = matmul %n, %w2 {} : f32[1,3,8] from "expert 2"
  %y = map %x, %g1, %e1, %g2, %e2 {expression=add($0, add(mul($1, $2), mul($3, $4)))} : f32[1,3,8] from "mixture"
}
`;

/** One matmul for queries, keys and values. */
const fused = `${head}
  %qkv = matmul %n, %wide {} : f32[1,3,24] from "qkv"
  %q = slice %qkv {starts=[0,0,0], steps=[1,1,1], extents=[1,3,8]} : f32[1,3,8] from "q"
  %k = slice %qkv {starts=[0,0,8], steps=[1,1,1], extents=[1,3,8]} : f32[1,3,8] from "k"
  %v = slice %qkv {starts=[0,0,16], steps=[1,1,1], extents=[1,3,8]} : f32[1,3,8] from "v"
  %qh = reshape %q {shape=[1,3,2,4]} : f32[1,3,2,4] from "q heads"
  %kh = reshape %k {shape=[1,3,2,4]} : f32[1,3,2,4] from "k heads"
  %vh = reshape %v {shape=[1,3,2,4]} : f32[1,3,2,4] from "v heads"
  %a = attention %qh, %kh, %vh {scale=0.5, causal, softcap=0, window=0} : f32[1,3,2,4] from "attention"
  %y = reshape %a {shape=[1,3,8]} : f32[1,3,8] from "rows"
}
`;

/** A router that compares the norm with its own largest entry is no linear reader. */
const bentRouter = `${head}
  %e = matmul %n, %w1 {} : f32[1,3,8] from "expert"
  %s = softmax %n {axis=2} : f32[1,3,8] from "bent router"
  %y = map %e, %s {expression=mul($0, $1)} : f32[1,3,8] from "mixture"
}
`;

function graphOf(text: string): Graph {
  const parsed = parseGraph(text);
  assert.ok(parsed.ok, parsed.diagnostics.map(formatDiagnostic).join("\n"));
  return parsed.value;
}

function outputOf(graph: Graph): Float32Array {
  const { y } = evaluateGraph(graph, { x: floatTensor([1, 3, 8], normalArray(24, 7)) }).outputs;
  assert.ok(y.kind === "plain" && y.data instanceof Float32Array);
  return y.data;
}

const factors = Float64Array.from({ length: 8 }, (_, channel) => 0.5 + 0.4 * channel);

function change(graph: Graph, region: Region): number {
  const editor = new WeightEditor(graph);
  scaleRegion(editor, region, factors);
  return maxRelativeDifference(outputOf(graph), outputOf(editor.finish()));
}

function normOf(graph: Graph): Region {
  const region = findRegions(graph).regions.find(({ kind }) => kind === "norm");
  assert.ok(region !== undefined);
  return region;
}

for (
  const [name, text, readers] of [
    ["parallel branches", parallel, ["attention branch", "mlp branch"]],
    ["a mixture of experts", mixture, ["router", "expert 1", "expert 2"]],
    ["a fused projection", fused, ["qkv"]],
  ] as const
) {
  Deno.test(`${name}: every reader of the norm is in its region, and none may be left out`, () => {
    const graph = graphOf(text);
    const region = normOf(graph);
    assert.deepEqual(region.sinks.map(({ node }) => node.origin[0]).sort(), [...readers].sort());
    assert.ok(change(graph, region) < bound);
    region.sinks.forEach((_, left) => {
      const forgetful = { ...region, sinks: region.sinks.filter((_, index) => index !== left) };
      assert.ok(change(graph, forgetful) > visible, `without ${readers[left]}`);
    });
  });
}

Deno.test("a fused projection that is scaled in its last rows only changes the function", () => {
  const graph = graphOf(fused);
  const region = normOf(graph);
  const editor = new WeightEditor(graph);
  scaleRegion(editor, { ...region, sinks: [] }, factors);
  const { entries, shape } = editor.tensor(region.sinks[0]);
  entries.forEach((entry, index) => {
    if (index % shape[1] >= 16) entries[index] = entry * factors[Math.floor(index / shape[1])];
  });
  assert.ok(maxRelativeDifference(outputOf(graph), outputOf(editor.finish())) > visible);
});

Deno.test("a fused projection has no rows of its own to scale for values or scores: declined by name", () => {
  const { regions, declined } = findRegions(graphOf(fused));
  assert.deepEqual(regions.map(({ kind }) => kind), ["norm"]);
  assert.deepEqual(declined.filter(({ kind }) => kind !== "residual").map(({ kind }) => kind).sort(), [
    "queryKey",
    "valueOutput",
  ]);
});

Deno.test("a router that is not linear in the norm is a reason to decline", () => {
  const { declined } = findRegions(graphOf(bentRouter));
  const [first] = declined.filter(({ kind }) => kind === "norm");
  assert.match(first.reason, /also read by bent router/);
});
