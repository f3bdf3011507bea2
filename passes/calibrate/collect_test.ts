import assert from "node:assert/strict";
import { normalArray } from "../../tests/support/random.ts";
import { ValueCollector } from "./collect.ts";

Deno.test("statistics over several samples are those of all entries, by channel", () => {
  const shape = [2, 3, 4];
  const samples = [1, 2, 3].map((seed) => normalArray(24, seed).map((value) => value * seed));
  const collector = new ValueCollector(1, 3);
  samples.forEach((data, index) => collector.add(data, shape, index === 0));
  const seen = collector.finish();
  const channel = (data: Float32Array, wanted: number) =>
    data.filter((_, index) => Math.floor(index / 4) % 3 === wanted);
  for (let c = 0; c < 3; c++) {
    const entries = samples.flatMap((data) => [...channel(data, c)]);
    const mean = entries.reduce((a, b) => a + b) / entries.length;
    assert.equal(seen.channelMin[c], Math.min(...entries));
    assert.equal(seen.channelMax[c], Math.max(...entries));
    // Sums of 24 doubles differ by rounding alone.
    assert.ok(Math.abs(seen.channelMean[c] - mean) < 1e-12);
    const square = entries.reduce((a, b) => a + b * b, 0) / entries.length;
    assert.ok(Math.abs(seen.channelMeanSquare[c] - square) < 1e-11);
    const first = [...channel(samples[0], c)];
    assert.ok(Math.abs(seen.togetherMean[c] - first.reduce((a, b) => a + b) / first.length) < 1e-12);
  }
  assert.equal(seen.count, 72);
});

Deno.test("the histogram keeps every entry in its bin while its reach grows", () => {
  const collector = new ValueCollector(0, 1);
  const samples = [0.001, 0.5, 7, 1000].map((gain, index) => normalArray(500, index + 1).map((value) => value * gain));
  for (const data of samples) collector.add(data, [1, 500], false);
  const { histogram, min, max } = collector.finish();
  const all = samples.flatMap((data) => [...data]);
  assert.equal(histogram.counts.reduce((a, b) => a + b), all.length);
  assert.ok(histogram.low <= min && histogram.low + histogram.counts.length * histogram.width >= max);
  const expected = new Float64Array(histogram.counts.length);
  for (const value of all) expected[Math.floor((value - histogram.low) / histogram.width)]++;
  // Entries on an edge may fall to either side by rounding; none of these samples lies on one.
  assert.deepEqual(histogram.counts, expected);
});

Deno.test("what is not finite is left out", () => {
  const collector = new ValueCollector(0, 1);
  collector.add(Float32Array.of(1, NaN, Infinity, -2), [1, 4], true);
  const seen = collector.finish();
  assert.deepEqual([seen.count, seen.min, seen.max], [2, -2, 1]);
});
