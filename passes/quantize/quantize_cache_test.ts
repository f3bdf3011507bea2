/** Caches of codes: what each entry may err by, what centring the keys leaves alone, and how runs follow on one another. */

import assert from "node:assert/strict";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import { decodedOperand } from "../../compiler/ir/evaluate/operand_rows.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { parseGraph } from "../../compiler/ir/parse.ts";
import { floatTensor, type PlainTensor, plainTensor } from "../../compiler/ir/tensor.ts";
import { plainContext } from "../../compiler/rewrite/pass.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import { decoderText, randomDecoder } from "../../tests/support/decoders.ts";
import { normalArray } from "../../tests/support/random.ts";
import { quantizeCache } from "./quantize_cache.ts";

const [tokens, heads, groups, extent] = [6, 4, 2, 8];
const scale = 0.5;

/** One attention over two caches, with the projections left out. */
function attentionGraph(softcap: number): Graph {
  const parsed = parseGraph(`
graph @attention (%q: f32[1,seq,${heads},${extent}], %k: f32[1,seq,${groups},${extent}], %v: f32[1,seq,${groups},${extent}]) -> (%y) {
  symbol seq = 1..8
  symbol past = 0..15
  symbol total = 1..16
  state @keys: f32[1,16,${groups},${extent}] along 1
  state @values: f32[1,16,${groups},${extent}] along 1
  %ks = append %k {state="keys", axis=1} : f32[1,total,${groups},${extent}]
  %vs = append %v {state="values", axis=1} : f32[1,total,${groups},${extent}]
  %y = attention %q, %ks, %vs {scale=${scale}, causal, softcap=${softcap}, window=0} : f32[1,seq,${heads},${extent}]
}`);
  assert.ok(parsed.ok, JSON.stringify(parsed.diagnostics));
  return parsed.value;
}

type Rows = Readonly<Record<"q" | "k" | "v", PlainTensor<"f32">>>;

/** Keys lie around a mean of up to `mean` in every channel. */
function rowsOf(seed: number, mean: number): Rows {
  const means = normalArray(groups * extent, 1).map((value) => mean * value);
  const tensor = (count: number, offset: number, shift: (index: number) => number) =>
    floatTensor(
      [1, tokens, count, extent],
      normalArray(tokens * count * extent, 3 * seed + offset).map((value, index) => value + shift(index)),
    );
  return {
    q: tensor(heads, 0, () => 0),
    k: tensor(groups, 1, (index) => means[index % means.length]),
    v: tensor(groups, 2, () => 0),
  };
}

async function quantized(graph: Graph, options: Readonly<Record<string, Json>>, calibration: readonly Rows[] = []) {
  return (await quantizeCache.run(graph, { ...plainContext(options), calibration })).graph;
}

function output(graph: Graph, rows: Rows): Float32Array {
  const { y } = evaluateGraph(graph, rows).outputs;
  assert.ok(y.kind === "plain" && y.data instanceof Float32Array);
  return y.data;
}

const levels = 255;

/** Largest step of a head's row: its range, zero included, over the gaps between 256 codes. */
function largestStep(rows: Float32Array, means: Float32Array): number {
  let most = 0;
  for (let start = 0; start < rows.length; start += extent) {
    const row = rows.subarray(start, start + extent);
    const centred = row.map((value, index) => value - means[(start + index) % means.length]);
    most = Math.max(most, (Math.max(0, ...centred) - Math.min(0, ...centred)) / levels);
  }
  return most;
}

function columnMeans({ k }: Rows): Float32Array {
  const means = new Float32Array(groups * extent);
  k.data.forEach((value, index) => means[index % means.length] += value / tokens);
  return means;
}

/**
 * How far the output of 8-bit caches of centred keys may lie from that of float ones. An entry errs by a step at most:
 * half by rounding, half where the rounded zero point moves the range. Scores err by d = scale |q|_1 step, weights by a
 * factor of e^(2d), so the mean of the values by (e^(2d) - 1) max|v|.
 */
function bound({ q, k, v }: Rows, means: Float32Array): number {
  let norm = 0;
  for (let start = 0; start < q.data.length; start += extent) {
    norm = Math.max(norm, q.data.subarray(start, start + extent).reduce((sum, value) => sum + Math.abs(value), 0));
  }
  const most = v.data.reduce((top, value) => Math.max(top, Math.abs(value)), 0);
  const valueStep = largestStep(v.data, new Float32Array(v.data.length));
  return Math.expm1(2 * scale * norm * largestStep(k.data, means)) * most + valueStep;
}

const seeds = [1, 2, 3, 4, 5, 6];

/** Keys whose means are some hundreds of times their spread. */
const mean = 400;

interface Fault {
  readonly options?: Readonly<Record<string, Json>>;
  /** What the means are calibrated on instead. */
  readonly calibration?: (rows: Rows) => Rows;
  readonly softcap?: number;
}

async function staysWithin({ options = {}, calibration = (rows) => rows, softcap = 0 }: Fault, seed: number) {
  const rows = rowsOf(seed, mean);
  const wanted = output(attentionGraph(0), rows);
  const settings = { format: "int8", center: true, ...options };
  const actual = output(await quantized(attentionGraph(softcap), settings, [calibration(rows)]), rows);
  const limit = bound(rows, columnMeans(rows));
  return wanted.every((value, index) => Math.abs(value - actual[index]) <= limit);
}

async function violated(fault: Fault): Promise<boolean> {
  const results = await Promise.all(seeds.map((seed) => staysWithin(fault, seed)));
  return results.includes(false);
}

Deno.test("centred keys: the spread of the keys bounds the output, whatever their mean", async () => {
  assert.equal(await violated({}), false);
});

Deno.test("the bound sees keys that keep their mean, the means of other heads, and too few bits", async () => {
  const swapped = (rows: Rows): Rows => ({ ...rows, k: floatTensor(rows.k.shape, rows.k.data.toReversed()) });
  assert.ok(await violated({ options: { center: false } }), "keys that keep their mean");
  assert.ok(await violated({ calibration: swapped }), "the means of other heads");
  assert.ok(await violated({ options: { bits: 2 } }), "too few bits");
});

Deno.test("a softcap sees a shift of the scores, so its keys are not centred", async () => {
  const rows = rowsOf(1, 1);
  const graph = await quantized(attentionGraph(5), { format: "int8", center: true }, [rows]);
  assert.ok(graph.nodes.every((node) => node.op !== "map"));
});

Deno.test("every entry of a cache lies within the step of its own head, however small the head is", async () => {
  for (const [seed, spread] of [[1, 1], [2, 1], [3, 0.001]] as const) {
    const rows = rowsOf(seed, 0);
    // The second head is far smaller than the first: it needs a step of its own.
    const k = floatTensor(
      rows.k.shape,
      rows.k.data.map((value, index) => value * (Math.floor(index / extent) % 2 === 1 ? spread : 1)),
    );
    const graph = await quantized(attentionGraph(0), { format: "int8" });
    const { states } = evaluateGraph(graph, { ...rows, k });
    const held = decodedOperand(states.get("keys")).data;
    for (let start = 0; start < k.data.length; start += extent) {
      const step = largestStep(k.data.subarray(start, start + extent), new Float32Array(extent));
      for (let index = start; index < start + extent; index++) {
        // Products of codes and steps are rounded to f32: 2^-24 of the entry.
        const error = Math.abs(Number(held[index]) - k.data[index]);
        assert.ok(error <= step + Math.abs(k.data[index]) * 2 ** -23, `entry ${index} of seed ${seed}`);
      }
    }
  }
});

Deno.test("a text in two runs gives the logits of one run, bit for bit", async () => {
  const graph = await quantized(randomDecoder({}, 2), { bits: 4 });
  const { ids } = decoderText();
  const part = (from: number, to: number) => ({ ids: plainTensor("i32", [1, to - from], ids.data.slice(from, to)) });
  const whole = evaluateGraph(graph, { ids }).outputs.logits;
  const first = evaluateGraph(graph, part(0, 4));
  const rest = evaluateGraph(graph, part(4, ids.data.length), { states: first.states }).outputs.logits;
  assert.ok(whole.kind === "plain" && rest.kind === "plain");
  assert.deepEqual(rest.data, whole.data.slice(whole.data.length - rest.data.length));
});

Deno.test("the report counts the bytes that the caches shrink by", async () => {
  const graph = randomDecoder({}, 1);
  const { metrics } = await quantizeCache.run(graph, plainContext({ bits: 4 }));
  const rows = graph.states.length * 32 * 2;
  // A row of a head: 4 floats before; 4 bytes of codes, a step and a zero point after.
  assert.deepEqual(metrics, { caches: 4, bytesBefore: rows * 16, bytesAfter: rows * (4 + 8) });
});
