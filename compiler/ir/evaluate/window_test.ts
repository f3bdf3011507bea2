import assert from "node:assert/strict";
import fc from "fast-check";
import { assertWithMutants } from "../../../tests/support/mutants.ts";
import { eachIndex, entriesOf, entryAt, flatten, plainOf, sumBound } from "../../../tests/support/naive_tensor.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { runOp } from "../../../tests/support/run_op.ts";
import type { ChannelLayout, OpAttributes } from "../node.ts";
import { floatTensor, plainTensor } from "../tensor.ts";
import { tensorType } from "../types.ts";

const axis = fc.record({
  extent: fc.integer({ min: 1, max: 7 }),
  kernel: fc.integer({ min: 1, max: 3 }),
  stride: fc.integer({ min: 1, max: 3 }),
  dilation: fc.integer({ min: 1, max: 2 }),
  before: fc.nat({ max: 1 }),
  after: fc.nat({ max: 1 }),
  ceil: fc.boolean(),
}).filter(({ extent, kernel, dilation, before, after }) => extent + before + after >= dilation * (kernel - 1) + 1);

type Axis = typeof axis extends fc.Arbitrary<infer T> ? T : never;

/** Positions of an axis; a ceil-mode window that would start in the end padding is left out, as everywhere. */
function positions({ extent, kernel, stride, dilation, before, after, ceil }: Axis): number {
  const room = extent + before + after - dilation * (kernel - 1) - 1;
  if (!ceil) return Math.floor(room / stride) + 1;
  const count = Math.ceil(room / stride) + 1;
  return (count - 1) * stride >= extent + before ? count - 1 : count;
}

const cases = fc.record({
  layout: fc.constantFrom<ChannelLayout>("channelsFirst", "channelsLast"),
  axes: fc.array(axis, { minLength: 1, maxLength: 3 }),
  kind: fc.constantFrom<OpAttributes["pool"]["kind"]>("max", "average", "lp"),
  countPadding: fc.boolean(),
  norm: fc.constantFrom(1, 2, 3),
  seed: fc.nat(),
});

type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

const [batch, channels] = [2, 2];

function shapeOf({ layout, axes }: Case): number[] {
  const spatial = axes.map(({ extent }) => extent);
  return layout === "channelsFirst" ? [batch, channels, ...spatial] : [batch, ...spatial, channels];
}

function attributesOf({ layout, axes }: Case) {
  return {
    layout,
    kernel: axes.map(({ kernel }) => kernel),
    strides: axes.map(({ stride }) => stride),
    dilations: axes.map(({ dilation }) => dilation),
    pads: [...axes.map(({ before }) => before), ...axes.map(({ after }) => after)],
    outputExtents: axes.map(positions),
  };
}

/** Input indices of a window, and the number of its taps inside the padded input. */
function windowOf({ layout, axes }: Case, index: readonly number[]): { entries: number[][]; padded: number } {
  const isFirst = layout === "channelsFirst";
  const position = isFirst ? index.slice(2) : index.slice(1, -1);
  const entries: number[][] = [];
  let padded = 0;
  for (const tap of eachIndex(axes.map(({ kernel }) => kernel))) {
    const source = tap.map((at, spatial) =>
      position[spatial] * axes[spatial].stride + at * axes[spatial].dilation - axes[spatial].before
    );
    if (source.every((at, spatial) => at < axes[spatial].extent + axes[spatial].after)) padded++;
    if (source.some((at, spatial) => at < 0 || at >= axes[spatial].extent)) continue;
    entries.push(isFirst ? [index[0], index[1], ...source] : [index[0], ...source, index[index.length - 1]]);
  }
  return { entries, padded };
}

Deno.test("pool reduces every window of its definition, in both layouts, with ceil mode and padding", () => {
  assertWithMutants(cases, ["padding counts otherwise", "norm 2 always", "padding is a value"], (of, mutant) => {
    const x = randomTensor(tensorType("f32", shapeOf(of)), of.seed);
    const { kind, norm } = of;
    const [y] = runOp("pool", [x], { ...attributesOf(of), kind, norm, countPadding: of.countPadding });
    for (const index of eachIndex(y.shape)) {
      const { entries, padded } = windowOf(of, index);
      const values = entries.map((entry) => entryAt(x, entry));
      const actual = entryAt(y, index);
      if (kind === "max") {
        const withZero = mutant === "padding is a value" && entries.length < padded ? [0] : [];
        assert.equal(actual, Math.max(...values, ...withZero));
        continue;
      }
      const p = mutant === "norm 2 always" ? 2 : norm;
      const sum = kind === "average"
        ? values.reduce((total, value) => total + value, 0)
        : values.reduce((total, value) => total + Math.abs(value) ** p, 0);
      const counts = of.countPadding !== (mutant === "padding counts otherwise");
      const expected = kind === "average" ? sum / (counts ? padded : values.length) : sum ** (1 / p);
      if (Number.isNaN(expected)) continue;
      // A p-th root divides the relative error by p; powers are within an ulp of f64 each.
      assert(
        Math.abs(actual - expected) <= sumBound(expected, values.length, 4 * values.length),
        `${actual}, not ${expected}`,
      );
    }
  });
});

Deno.test("poolIndices point at the first maximum of every window, row or column major", () => {
  const plane = cases.map((of) => ({ ...of, layout: "channelsFirst" as const }));
  assertWithMutants(fc.tuple(plane, fc.boolean()), ["row major always"], ([of, columnMajor], mutant) => {
    const x = randomTensor(tensorType("i8", shapeOf(of)), of.seed);
    const [y] = runOp("poolIndices", [x], { ...attributesOf(of), columnMajor });
    for (const index of eachIndex(y.shape)) {
      const { entries } = windowOf(of, index);
      if (entries.length === 0) continue;
      const best = entries.reduce((a, b) => (entryAt(x, b) > entryAt(x, a) ? b : a));
      const spatial = best.slice(2);
      const extents = of.axes.map(({ extent }) => extent);
      const size = extents.reduce((product, extent) => product * extent, 1);
      const inPlane = columnMajor && mutant === "none"
        ? flatten([...spatial].reverse(), [...extents].reverse())
        : flatten(spatial, extents);
      assert.equal(entryAt(y, index), (best[0] * channels + best[1]) * size + inPlane);
    }
  });
});

Deno.test("resample is a weighted sum of neighbours along its axis", () => {
  const tables = fc.record({
    axis: fc.nat({ max: 2 }),
    count: fc.integer({ min: 1, max: 6 }),
    taps: fc.integer({ min: 1, max: 4 }),
    seed: fc.nat(),
  });
  assertWithMutants(tables, ["weights of the first place"], ({ axis: along, count, taps, seed }, mutant) => {
    const shape = [2, 3, 4];
    const x = randomTensor(tensorType("f32", shape), seed);
    const indices = plainTensor(
      "i32",
      [count, taps],
      Int32Array.from(
        { length: count * taps },
        (_, index) => (index * 7 + seed) % shape[along],
      ),
    );
    const weights = randomTensor(tensorType("f32", [count, taps]), seed + 1);
    const [y] = runOp("resample", [x, indices, weights], { axis: along });
    for (const index of eachIndex(y.shape)) {
      let sum = 0;
      for (let tap = 0; tap < taps; tap++) {
        const place = index[along] * taps + tap;
        const source = index.with(along, indices.data[place]);
        sum += entryAt(weights, [mutant === "none" ? index[along] : 0, tap]) * entryAt(x, source);
      }
      assert(Math.abs(entryAt(y, index) - sum) <= sumBound(sum, taps, taps));
    }
  });
});

Deno.test("max pool keeps integers exact and propagates NaN", () => {
  const attributes = {
    layout: "channelsFirst",
    kernel: [2],
    strides: [1],
    dilations: [1],
    pads: [1, 0],
    outputExtents: [3],
    kind: "max",
    norm: 2,
    countPadding: false,
  } as const;
  const [codes] = runOp("pool", [plainTensor("i8", [1, 1, 3], Int8Array.of(-128, -100, 5))], attributes);
  assert.deepEqual(entriesOf(codes), [-128, -100, 5]);
  const [floats] = runOp("pool", [floatTensor([1, 1, 3], [1, NaN, 2])], attributes);
  assert.deepEqual([...plainOf(floats).data], [1, NaN, NaN]);
});
