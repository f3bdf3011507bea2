/** Rotations of every kind leave the model's function unchanged; each classic mistake changes it. */

import assert from "node:assert/strict";
import { hadamardMatrix, squareMatrix } from "../../compiler/numeric/hadamard.ts";
import { type Matrix, product, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node } from "../../compiler/ir/node.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import { plainContext } from "../../compiler/rewrite/pass.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { ResidualStream } from "../../compiler/rewrite/region/region.ts";
import { Rewriting } from "../../compiler/rewrite/view.ts";
import { maxRelativeDifference } from "../../tests/support/compare.ts";
import { decoderLogits, decoderText, decoderVariants, randomDecoder } from "../../tests/support/decoders.ts";
import { normalArray } from "../../tests/support/random.ts";
import { balancedTransform, partialTraces, principalRotation } from "./balance.ts";
import { foldNormGain } from "./fold_norm_gain.ts";
import { rotate } from "./rotate.ts";
import {
  denseRotation,
  groupedRotation,
  hadamardRotation,
  kroneckerRotation,
  nearestFactors,
  type Rotation,
} from "./rotation.ts";
import { downSites, keySites, type OnlineSite } from "./rotation_sites.ts";
import { rotateHeads, rotateOnline, rotateStream, turnBehind } from "./turn_regions.ts";
import { WeightEditor } from "./weight_editor.ts";

/**
 * As in transform_test.ts: some 20 roundings of 2^-24, amplified some tens of times. Balanced transforms amplify no more
 * than none: rounding is relative to √(tr TᵀCT · tr T⁻¹ST⁻ᵀ), and that product is what they minimize.
 */
const bound = 5e-5;

/** Every classic mistake must move the output by far more than the bound. */
const visible = 1e-3;

const calibration = [1, 2, 3].map(decoderText);

function change(before: Graph, after: Graph): number {
  return maxRelativeDifference(decoderLogits(before), decoderLogits(after));
}

async function folded(graph: Graph): Promise<Graph> {
  return (await foldNormGain.run(graph, plainContext())).graph;
}

async function rotated(graph: Graph, options: Readonly<Record<string, Json>>) {
  return await rotate.run(graph, { ...plainContext(options), seed: 3, calibration });
}

/** Options, and how many `transform` ops they leave in two layers. */
const kinds: readonly (readonly [Readonly<Record<string, Json>>, number])[] = [
  [{}, 0],
  [{ residual: "klt", heads: "klt" }, 0],
  [{ heads: "balanced" }, 0],
  [{ outputs: "heads", down: "hadamard" }, 4],
  [{ outputs: "hadamard", down: "klt", keys: "hadamard" }, 8],
  [{ down: "hadamard", block: 8 }, 2],
  [{ down: "balanced" }, 2],
  [{ norms: "hadamard" }, 4],
  [{ norms: "kronecker", outputs: "kronecker", down: "kronecker" }, 16],
  [{ norms: "dense", outputs: "dense", down: "dense" }, 8],
];

for (const [name, variant] of Object.entries(decoderVariants)) {
  Deno.test(`${name}: rotations of every kind keep the function`, async () => {
    const graph = randomDecoder(variant, 12);
    const start = await folded(graph);
    for (const [options, transforms] of kinds) {
      const { graph: after } = await rotated(start, options);
      const moved = change(graph, after);
      const what = `${JSON.stringify(options)} moves the output by ${moved}`;
      assert.ok(moved < bound, what);
      assert.ok(moved > 0, what);
      assert.equal(after.nodes.filter(({ op }) => op === "transform").length, transforms, what);
    }
  });
}

Deno.test("six heads are mixed by a Hadamard matrix's substitute, and by one over all their channels", async () => {
  const graph = randomDecoder({ heads: 6, keyValueHeads: 3 }, 13);
  for (const outputs of ["heads", "hadamard"]) {
    const { graph: after } = await rotated(await folded(graph), { outputs });
    assert.ok(change(graph, after) < bound, outputs);
  }
});

function turned(graph: Graph, turn: (editor: WeightEditor) => void): Graph {
  const editor = new WeightEditor(graph);
  turn(editor);
  return editor.finish();
}

function isSite(site: object): site is OnlineSite {
  return "sinks" in site;
}

Deno.test("down projections: a slice of a larger matrix, and a factor that is not transposed, change the function", () => {
  const graph = randomDecoder({}, 14);
  const sites = downSites(new Rewriting(graph)).filter(isSite);
  assert.equal(sites.length, 2);
  const online = (rotation: Rotation) =>
    turned(graph, (editor) => sites.forEach((site) => rotateOnline(editor, site.sinks, rotation)));
  assert.ok(change(graph, online(hadamardRotation(24, 0))) < bound);
  const large = hadamardMatrix(32);
  assert.ok(large !== undefined);
  const slice = squareMatrix(24, (row, column) => large.entries[row * 32 + column] / Math.sqrt(24));
  assert.ok(change(graph, online(denseRotation({ matrix: slice, inverseTranspose: slice }))) > visible);
  // The Paley matrix of 24 is not symmetric, so its inverse is not itself.
  const dense = hadamardMatrix(24);
  assert.ok(dense !== undefined);
  const matrix = squareMatrix(24, (row, column) => dense.entries[row * 24 + column] / Math.sqrt(24));
  const transposed = squareMatrix(24, (row, column) => matrix.entries[column * 24 + row]);
  assert.ok(change(graph, online(denseRotation({ matrix, inverseTranspose: transposed }))) > visible);
});

Deno.test("queries and keys: a rotation in front of the rotary embedding, or of one side alone, changes the function", () => {
  const graph = randomDecoder({}, 15);
  const rotation = hadamardRotation(4, 0);
  const sites = keySites(new Rewriting(graph)).flatMap((site) => ("places" in site ? [site] : []));
  assert.equal(sites.length, 2);
  const all = sites.flatMap(({ places }) => places);
  const behind = (places: typeof all) =>
    turned(graph, (editor) => places.forEach(({ reader, operand }) => turnBehind(editor, reader, operand, rotation)));
  assert.ok(change(graph, behind(all)) < bound);
  assert.ok(change(graph, behind(all.filter(({ reader }) => reader.op === "append"))) > visible);
  const embeddings = graph.nodes.filter(({ op }) => op === "rope");
  assert.equal(embeddings.length, 4);
  assert.ok(change(graph, behind(embeddings.map((reader) => ({ reader, operand: 0 })))) > visible);
});

Deno.test("value heads: a matrix that goes with the query head instead of its key-value head changes the function", () => {
  const graph = randomDecoder({}, 16);
  const region = findRegions(graph).regions.find(({ kind }) => kind === "valueOutput");
  assert.ok(region !== undefined);
  const rotations = [hadamardRotation(4, 5), hadamardRotation(4, 9)];
  assert.ok(change(graph, turned(graph, (editor) => rotateHeads(editor, region, rotations))) < bound);
  // Four query heads over two key-value heads: 0 0 1 1 is right, 0 1 0 1 is the mistake.
  const interleaved = {
    ...region,
    sinks: region.sinks.map((place) => ({
      ...place,
      channels: Int32Array.from(place.channels, (_, index) => index % 8),
    })),
  };
  assert.ok(change(graph, turned(graph, (editor) => rotateHeads(editor, interleaved, rotations))) > visible);
});

Deno.test("residual stream: a tied table turned in one of its two places changes the function", async () => {
  const graph = await folded(randomDecoder({ tiedHead: true }, 17));
  const { residual } = findRegions(graph);
  assert.ok(residual !== undefined);
  const rotation = hadamardRotation(residual.channels, 4);
  const stream = (part: ResidualStream) => turned(graph, (editor) => rotateStream(editor, part, rotation));
  assert.ok(change(graph, stream(residual)) < bound);
  const isHead = ({ node }: { readonly node: Node }) => graph.outputs.some(({ value }) => value === node.outputs[0]);
  assert.equal(residual.readers.filter(isHead).length, 1);
  assert.ok(
    change(graph, stream({ ...residual, readers: residual.readers.filter((place) => !isHead(place)) })) > visible,
  );
  const notEmbedding = residual.writers.filter(({ node }) => node.op !== "gather");
  assert.ok(change(graph, stream({ ...residual, writers: notEmbedding })) > visible);
});

Deno.test("residual stream: layer norms that are not centred are declined, and turning them changes the function", async () => {
  const rms = await folded(randomDecoder({}, 18));
  const layered: Graph = {
    ...rms,
    nodes: rms.nodes.map((node) =>
      node.op === "norm" ? { ...node, attributes: { ...node.attributes, kind: "layer" } } : node
    ),
  };
  const { graph: after, declined } = await rotated(layered, { heads: "none" });
  assert.match(declined[0].reason, /layer norm: it must be centred/);
  assert.equal(change(layered, after), 0);
  const { residual } = findRegions(rms);
  assert.ok(residual !== undefined);
  const forced = turned(layered, (editor) => rotateStream(editor, residual, hadamardRotation(16, 4)));
  assert.ok(change(layered, forced) > visible);
});

Deno.test("kinds that look at data want calibration, the others do not", async () => {
  const graph = await folded(randomDecoder({}, 19));
  await assert.rejects(async () => await rotate.run(graph, plainContext({ residual: "klt" })), /calibration/);
  await rotate.run(graph, plainContext({ down: "hadamard", outputs: "heads", keys: "hadamard" }));
});

function randomMoments(n: number, seed: number): Matrix {
  const rows = normalArray(3 * n * n, seed).map((value, index) => value * (1 + 20 * Number(index % n === 1)));
  const moments = zeroMatrix(n, n);
  for (let row = 0; row < 3 * n; row++) {
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) moments.entries[i * n + j] += rows[row * n + i] * rows[row * n + j] / (3 * n);
    }
  }
  return moments;
}

function transposedOf({ rows, columns, entries }: Matrix): Matrix {
  const result = zeroMatrix(columns, rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) result.entries[j * rows + i] = entries[i * columns + j];
  }
  return result;
}

function trace({ rows, entries }: Matrix): number {
  return Array.from({ length: rows }, (_, index) => entries[index * (rows + 1)]).reduce((a, b) => a + b, 0);
}

Deno.test("the balanced transform makes both sides alike, flat, and their product smaller", () => {
  for (const n of [4, 12, 24]) {
    const [inputs, readers] = [randomMoments(n, n), randomMoments(n, n + 1)];
    const { matrix, inverseTranspose } = balancedTransform(inputs, readers);
    const [t, u] = [matrix, inverseTranspose].map(({ order, entries }): Matrix => ({
      rows: order,
      columns: order,
      entries,
    }));
    const identity = product(transposedOf(t), u);
    identity.entries.forEach((entry, index) => {
      assert.ok(Math.abs(entry - (index % (n + 1) === 0 ? 1 : 0)) < 1e-9);
    });
    const [a, b] = [product(product(transposedOf(t), inputs), t), product(product(transposedOf(u), readers), u)];
    assert.ok(trace(a) * trace(b) < trace(inputs) * trace(readers));
    // The floor under the eigenvalues, 1/1000 of their mean, is what keeps them from being equal.
    for (let index = 0; index < n; index++) {
      const [x, y] = [a.entries[index * (n + 1)], b.entries[index * (n + 1)]];
      assert.ok(Math.abs(x / (trace(a) / n) - 1) < 1e-9, "equal variances of the activation");
      assert.ok(Math.abs(y / (trace(b) / n) - 1) < 0.05, `equal variances of the weights: ${y / (trace(b) / n)}`);
    }
  }
});

Deno.test("principal axes give every channel the mean variance", () => {
  const inputs = randomMoments(12, 3);
  const { order, entries } = principalRotation(inputs).matrix;
  const q: Matrix = { rows: order, columns: order, entries };
  const after = product(product(transposedOf(q), inputs), q);
  for (let index = 0; index < order; index++) {
    assert.ok(Math.abs(after.entries[index * (order + 1)] / (trace(inputs) / order) - 1) < 1e-9);
  }
});

Deno.test("a covariance that is a Kronecker product has its factors as partial traces", () => {
  const [outer, inner] = [randomMoments(3, 5), randomMoments(4, 6)];
  const whole = zeroMatrix(12, 12);
  whole.entries.forEach((_, index) => {
    const [i, j] = [Math.floor(index / 12), index % 12];
    whole.entries[index] = outer.entries[Math.floor(i / 4) * 3 + Math.floor(j / 4)] *
      inner.entries[(i % 4) * 4 + j % 4];
  });
  const traced = partialTraces(whole, 3);
  traced.outer.entries.forEach((entry, index) => {
    assert.ok(Math.abs(entry - outer.entries[index] * trace(inner)) < 1e-9 * Math.abs(trace(whole)));
  });
  traced.inner.entries.forEach((entry, index) => {
    assert.ok(Math.abs(entry - inner.entries[index] * trace(outer)) < 1e-9 * Math.abs(trace(whole)));
  });
});

Deno.test("nearest factors of any number, primes and twice primes too", () => {
  const pairs = [1, 2, 6, 7, 86, 172, 576, 1536, 13696, 2 * 104729].map(nearestFactors);
  assert.deepEqual(pairs, [[1, 1], [1, 2], [2, 3], [1, 7], [2, 43], [4, 43], [24, 24], [32, 48], [107, 128], [
    2,
    104729,
  ]]);
});

Deno.test("grouped and Kronecker rotations are the products that they say", () => {
  const { stages } = groupedRotation(24, 8);
  assert.deepEqual(stages.map(({ core, doublings, stride }) => [core.order, doublings, stride]), [[1, 3, 1]]);
  const pair = { matrix: hadamardMatrix(2), inverseTranspose: hadamardMatrix(2) };
  assert.ok(pair.matrix !== undefined && pair.inverseTranspose !== undefined);
  const { matrix, inverseTranspose } = pair;
  const four = kroneckerRotation({ matrix, inverseTranspose }, { matrix, inverseTranspose });
  assert.equal(four.order, 4);
  assert.deepEqual(four.stages.map(({ stride }) => stride), [1, 2]);
});
