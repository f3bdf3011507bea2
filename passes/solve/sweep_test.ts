import assert from "node:assert/strict";
import process from "node:process";
import fc from "fast-check";
import { roundHalfEven } from "../../compiler/numeric/element.ts";
import { addProduct, rowMajor, transposed } from "../../compiler/numeric/dense/product.ts";
import { addGram, type Matrix, mirror, viewOf, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import { assertWithMutants } from "../../tests/support/mutants.ts";
import { normalArray } from "../../tests/support/random.ts";
import { asymmetricTarget } from "./asymmetric_target.ts";
import { type ColumnGrid, dampedFactor, defaultGptq, gptq } from "./gptq.ts";

interface Problem {
  readonly weights: Matrix;
  /** [samples, columns], row-major. */
  readonly inputs: Float32Array;
  readonly hessian: Matrix;
}

const samples = 160;

/** Inputs that share a few factors, so that the columns of H lean on each other. */
function problem(seed: number, rows: number, columns: number): Problem {
  const shared = normalArray(samples * 3, seed);
  const mixing = normalArray(3 * columns, seed + 1);
  const noise = normalArray(samples * columns, seed + 2);
  const inputs = noise.map((value, index) => {
    const [sample, column] = [Math.floor(index / columns), index % columns];
    let sum = 0.5 * value;
    for (let k = 0; k < 3; k++) sum += shared[3 * sample + k] * mixing[k * columns + column];
    return sum;
  });
  const hessian = gramOf(inputs, columns);
  return {
    weights: { rows, columns, entries: new Float64Array(normalArray(rows * columns, seed + 3)) },
    inputs,
    hessian,
  };
}

function gramOf(inputs: Float32Array, columns: number): Matrix {
  const hessian = zeroMatrix(columns, columns);
  addGram(hessian, inputs, samples, 2 / samples);
  mirror(hessian);
  return hessian;
}

/** Multiples of one step: a grid that is the same for every row and column. */
function evenGrid(step: number): ColumnGrid {
  return {
    round: (_, values, rounded) => values.forEach((value, row) => rounded[row] = step * roundHalfEven(value / step)),
  };
}

/** The sweep without lazy blocks: every error reaches every later column at once. `seen` takes the runs as they begin. */
function eagerSweep(
  { weights, hessian }: Problem,
  extent: number,
  lazyBlock: number,
  mutant: string,
): readonly Float64Array[] {
  const { rows, columns } = weights;
  const { upper } = dampedFactor({ ...hessian, entries: hessian.entries.slice() }, defaultGptq.damping);
  const working = weights.entries.slice();
  let stale = working.slice();
  const seen: Float64Array[] = [];
  const step = 0.25;
  for (let j = 0; j < columns; j++) {
    if (j % lazyBlock === 0) stale = working.slice();
    if (j % extent === 0) {
      const source = mutant === "stale runs" ? stale : working;
      const width = Math.min(extent, columns - j);
      seen.push(
        Float64Array.from(
          { length: rows * width },
          (_, index) => source[Math.floor(index / width) * columns + j + index % width],
        ),
      );
    }
    for (let row = 0; row < rows; row++) {
      const value = working[row * columns + j];
      const error = (value - step * roundHalfEven(value / step)) / upper.entries[j * columns + j];
      for (let k = j + 1; k < columns; k++) working[row * columns + k] -= error * upper.entries[j * columns + k];
    }
  }
  return seen;
}

Deno.test("a run's steps are fitted to weights that hold every earlier error, whatever the lazy block", () => {
  assertWithMutants(
    fc.record({
      seed: fc.integer({ min: 1, max: 1000 }),
      extent: fc.constantFrom(8, 16),
      lazyBlock: fc.constantFrom(20, 32, 48),
    }),
    ["stale runs"],
    ({ seed, extent, lazyBlock }, mutant) => {
      const given = problem(seed, 3, 64);
      const seen: Float64Array[] = [];
      const grid: ColumnGrid = {
        ...evenGrid(0.25),
        runs: { extent, fit: (_, values) => seen.push(values.entries.slice()) },
      };
      gptq(given.weights, given.hessian, grid, { ...defaultGptq, lazyBlock });
      const wanted = eagerSweep(given, extent, lazyBlock, mutant);
      assert.equal(seen.length, wanted.length);
      // Sums of at most 64 terms in two orders differ by some 64 · 2^-53 of their magnitude, unless that tips a tie.
      const far = seen.flatMap((run, index) =>
        [...run].filter((value, at) => Math.abs(value - wanted[index][at]) > 1e-9)
      );
      assert.ok(far.length === 0, `${far.length} weights differ`);
    },
    20,
  );
});

Deno.test("activation order does not depend on how the columns are numbered", () => {
  assertWithMutants(
    fc.integer({ min: 1, max: 1000 }),
    ["not turned back", "given order"],
    (seed, mutant) => {
      const columns = 24;
      const { weights, hessian } = problem(seed, 4, columns);
      const order = Array.from({ length: columns }, (_, column) => (column * 7 + seed) % columns);
      const moved: Matrix = { ...weights, entries: weights.entries.slice() };
      const turned = zeroMatrix(columns, columns);
      for (let i = 0; i < columns; i++) {
        for (let row = 0; row < 4; row++) {
          moved.entries[row * columns + i] = weights.entries[row * columns + order[i]];
        }
        for (let j = 0; j < columns; j++) {
          turned.entries[i * columns + j] = hessian.entries[order[i] * columns + order[j]];
        }
      }
      const options = { ...defaultGptq, activationOrder: mutant !== "given order" };
      const plain = gptq(weights, hessian, evenGrid(0.5), options).weights.entries;
      const result = gptq(moved, turned, evenGrid(0.5), options).weights.entries;
      for (let row = 0; row < 4; row++) {
        for (let i = 0; i < columns; i++) {
          const place = mutant === "not turned back" ? i : order[i];
          assert.equal(result[row * columns + i], plain[row * columns + place]);
        }
      }
    },
    30,
  );
});

Deno.test("damping grows until the Hessian can be factored", () => {
  const columns = 12;
  const direction = normalArray(columns, 3);
  const hessian = zeroMatrix(columns, columns);
  for (let i = 0; i < columns; i++) {
    for (let j = 0; j < columns; j++) hessian.entries[i * columns + j] = direction[i] * direction[j];
  }
  const weights = { rows: 2, columns, entries: new Float64Array(normalArray(2 * columns, 4)) };
  const first = 1e-19;
  const { damping, weights: rounded } = gptq(weights, hessian, evenGrid(0.5), { ...defaultGptq, damping: first });
  assert.ok(damping > first && Number.isFinite(damping), `damping is ${damping}`);
  assert.ok(rounded.entries.every((value) => Number.isInteger(2 * value)));
});

/** ‖Ŵ X̂ - W X‖². */
function asymmetricError(rounded: Matrix, quantized: Float32Array, weights: Matrix, float: Float32Array): number {
  const { rows, columns } = weights;
  const difference = zeroMatrix(samples, rows);
  const sum = viewOf(difference);
  addProduct(sum, rowMajor(quantized, samples, columns), transposed(viewOf(rounded)), { precision: "f64" });
  addProduct(sum, rowMajor(float, samples, columns), transposed(viewOf(weights)), { gain: -1, precision: "f64" });
  return difference.entries.reduce((total, value) => total + value * value, 0);
}

Deno.test("the asymmetric target brings the quantized layer on quantized inputs nearer to the float layer on float inputs", () => {
  assertWithMutants(
    fc.integer({ min: 1, max: 1000 }),
    ["residual turned", "residual of the wrong sign", "no correction"],
    (seed, mutant) => {
      const columns = 20;
      const { weights, inputs } = problem(seed, 6, columns);
      const quantized = inputs.map((value) => 0.75 * roundHalfEven(value / 0.75) + 0.1);
      const hessian = gramOf(quantized, columns);
      const difference = inputs.map((value, at) => value - quantized[at]);
      const cross = zeroMatrix(columns, columns);
      const [left, right] = [rowMajor(difference, samples, columns), rowMajor(quantized, samples, columns)];
      const [first, second] = mutant === "residual turned" ? [right, left] : [left, right];
      const gain = (mutant === "residual of the wrong sign" ? -2 : 2) / samples;
      addProduct(viewOf(cross), transposed(first), second, { gain, precision: "f32" });
      const { upper } = dampedFactor({ ...hessian, entries: hessian.entries.slice() }, 1e-9);
      const target = asymmetricTarget(weights, cross, upper, mutant === "no correction" ? 0 : 1);
      const best = asymmetricError(target, quantized, weights, inputs);
      // W* is the minimizer: no nudge of one weight in either direction comes lower.
      for (const [at, nudge] of [[0, 0.01], [7, -0.01], [columns, 0.01], [6 * columns - 1, -0.01]]) {
        for (const sign of [1, -1]) {
          const moved = { ...target, entries: target.entries.slice() };
          moved.entries[at] += sign * nudge;
          assert.ok(asymmetricError(moved, quantized, weights, inputs) >= best);
        }
      }
    },
    20,
  );
});

Deno.test("GPTQ of a 2048 x 2048 layer from 4096 samples takes less than a minute of one core", () => {
  const extent = 2048;
  // Processor time: tests run side by side, so the clock on the wall counts the others too.
  const begin = process.cpuUsage();
  const hessian = zeroMatrix(extent, extent);
  addGram(hessian, normalArray(2 * extent * extent, 1), 2 * extent, 1 / extent);
  mirror(hessian);
  const weights = { rows: extent, columns: extent, entries: new Float64Array(normalArray(extent * extent, 2)) };
  const { damping } = gptq(weights, hessian, evenGrid(0.3));
  assert.equal(damping, defaultGptq.damping);
  const { user, system } = process.cpuUsage(begin);
  const seconds = (user + system) / 1e6;
  assert.ok(seconds < 60, `${seconds} s`);
});
