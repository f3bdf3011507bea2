import assert from "node:assert/strict";
import { normalArray, uniform } from "../../tests/support/random.ts";
import { ValueCollector } from "./collect.ts";
import { observedRange, type Observer, observers, type Range } from "./observers.ts";

function rangeOf(observer: Observer, data: Float32Array, levels = 256, symmetric = false, percentile = 99): Range {
  const collector = new ValueCollector(1, 1);
  collector.add(data, [data.length, 1], false);
  return observedRange(observer, collector.finish(), { levels, symmetric, percentile });
}

/** Squared error of uniform codes over a range that holds zero. */
function codingError(data: Float32Array, { low, high }: Range, levels: number): number {
  const step = (high - low) / (levels - 1);
  return data.reduce((sum, value) => {
    const code = Math.round((Math.min(high, Math.max(low, value)) - low) / step);
    return sum + (value - (low + code * step)) ** 2;
  }, 0);
}

const normal = normalArray(100_000, 1);

Deno.test("every observer's range holds zero, lies in what was seen, and is mirrored where it must be", () => {
  const shifted = normal.map((value) => value + 5);
  for (const observer of observers) {
    for (const data of [normal, shifted, shifted.map((value) => -value), normal.map((value) => Math.max(0, value))]) {
      const { low, high } = rangeOf(observer, data);
      assert.ok(low <= 0 && high >= 0 && high > low, observer);
      assert.ok(low >= Math.min(0, ...data.slice(0, 0)) + data.reduce((a, b) => Math.min(a, b), 0) - 1e-6);
      assert.ok(high <= data.reduce((a, b) => Math.max(a, b), 0) + 1e-6);
      const mirrored = rangeOf(observer, data, 256, true);
      assert.ok(Math.abs(mirrored.low + mirrored.high) < 1e-6, observer);
    }
  }
});

Deno.test("min-max is what was seen; percentile leaves its share outside", () => {
  const whole = rangeOf("min-max", normal);
  assert.equal(whole.high, normal.reduce((a, b) => Math.max(a, b)));
  const { low, high } = rangeOf("percentile", normal, 256, false, 99);
  const above = normal.filter((value) => value > high).length / normal.length;
  const below = normal.filter((value) => value < low).length / normal.length;
  // One bin of the histogram holds at most its width times the density at its edge.
  for (const share of [above, below]) assert.ok(share > 0.009 && share <= 0.01, String(share));
});

Deno.test("mse finds nearly the best range for few levels, far inside the extremes", () => {
  const levels = 16;
  const found = rangeOf("mse", normal, levels, true);
  const best = Array.from({ length: 60 }, (_, index) => 0.1 + index * 0.1)
    .map((reach) => codingError(normal, { low: -reach, high: reach }, levels))
    .reduce((a, b) => Math.min(a, b));
  assert.ok(codingError(normal, found, levels) < 1.05 * best);
  assert.ok(found.high < 0.8 * rangeOf("min-max", normal, levels, true).high);
});

Deno.test("kl cuts off a few far outliers and keeps a bounded distribution whole", () => {
  const spiky = normal.slice();
  spiky[0] = 60;
  assert.ok(rangeOf("kl", spiky).high < 12);
  const draw = uniform(3);
  const even = Float32Array.from({ length: 100_000 }, () => draw());
  assert.ok(rangeOf("kl", even).high > 0.95);
});

Deno.test("values that are all zero, or that never came, give an empty range", () => {
  assert.deepEqual(rangeOf("mse", new Float32Array(8)), { low: 0, high: 0 });
  assert.deepEqual(rangeOf("kl", new Float32Array(0)), { low: 0, high: 0 });
});
