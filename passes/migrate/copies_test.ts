import assert from "node:assert/strict";
import fc from "fast-check";
import { assertWithMutants } from "../../tests/support/mutants.ts";
import { copyCounts, copySources, depthTile } from "./copies.ts";

const cases = fc.record({
  loudness: fc.array(fc.double({ min: 0.01, max: 100, noNaN: true }), { minLength: 33, maxLength: 200 }),
  growth: fc.double({ min: 0, max: 1, noNaN: true }),
  threshold: fc.double({ min: 1, max: 5, noNaN: true }),
});

Deno.test("copies keep every channel, fill the tile, stay in their share, and leave nothing loud while there is room", () => {
  assertWithMutants(
    cases,
    ["a channel dropped", "the share not kept", "the loud left alone"],
    ({ loudness, growth, threshold }, mutant) => {
      const counts = copyCounts(Float64Array.from(loudness), { growth, threshold });
      if (mutant === "a channel dropped") counts[counts.length - 1] = 0;
      if (mutant === "the loud left alone") counts.fill(1);
      const sources = copySources(counts);
      const room = loudness.length * (1 + (mutant === "the share not kept" ? growth / 2 : growth));
      assert.equal(new Set(sources).size, loudness.length);
      assert.deepEqual([...sources.subarray(0, loudness.length)], [...loudness.keys()]);
      assert.ok(sources.length === loudness.length || sources.length % depthTile === 0 && sources.length <= room);
      const median = loudness.toSorted((a, b) => a - b)[Math.floor(loudness.length / 2)];
      const isLoud = loudness.some((value, column) => value / counts[column] > threshold * median);
      const next = sources.length +
        (sources.length % depthTile === 0 ? depthTile : depthTile - sources.length % depthTile);
      assert.ok(!isLoud || next > loudness.length * (1 + growth), "a loud channel is left");
    },
  );
});
