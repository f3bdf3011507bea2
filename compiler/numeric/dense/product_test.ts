import assert from "node:assert/strict";
import fc from "fast-check";
import { normalArray } from "../../../tests/support/random.ts";
import { assertWithMutants } from "../../../tests/support/mutants.ts";
import { addProduct, type MatrixView, part, rowMajor, transposed } from "./product.ts";

interface Problem {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly turned: boolean;
  readonly precision: "f32" | "f64";
  readonly gain: number;
  readonly seed: number;
}

/** Extents on both sides of tiles (4, 8) and of a block of depth (256). */
const problems: fc.Arbitrary<Problem> = fc.record({
  rows: fc.integer({ min: 1, max: 140 }),
  columns: fc.integer({ min: 1, max: 40 }),
  depth: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 250, max: 270 })),
  turned: fc.boolean(),
  precision: fc.constantFrom("f32" as const, "f64" as const),
  gain: fc.constantFrom(1, -1, 0.5),
  seed: fc.integer({ min: 1, max: 1000 }),
});

type Mutant = "one term left out" | "gain of one" | "sum overwritten" | "right transposed wrongly";

function at(view: MatrixView, i: number, j: number): number {
  return view.entries[view.offset + i * view.rowStride + j * view.columnStride];
}

/** A view in the middle of a larger matrix, by rows or by columns. */
function inside(rows: number, columns: number, turned: boolean, precision: "f32" | "f64", seed: number): MatrixView {
  const values = normalArray((rows + 3) * (columns + 2), seed);
  const entries = precision === "f32" ? values : Float64Array.from(values);
  if (!turned) return part(rowMajor(entries, rows + 3, columns + 2), 2, rows + 2, 1, columns + 1);
  return part(transposed(rowMajor(entries, columns + 2, rows + 3)), 2, rows + 2, 1, columns + 1);
}

Deno.test("addProduct adds the product within its bound and touches nothing else", () => {
  assertWithMutants<Problem, Mutant>(
    problems,
    ["one term left out", "gain of one", "sum overwritten", "right transposed wrongly"],
    ({ rows, columns, depth, turned, precision, gain, seed }, mutant) => {
      const left = inside(rows, depth, turned, precision, seed);
      const right = inside(depth, columns, !turned, precision, seed + 1);
      const sum = inside(rows, columns, turned, "f64", seed + 2);
      const before = sum.entries.slice();
      addProduct(sum, left, right, { gain, precision });
      const places = new Set<number>();
      const unit = precision === "f32" ? 2 ** -24 : 2 ** -53;
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < columns; j++) {
          const place = sum.offset + i * sum.rowStride + j * sum.columnStride;
          places.add(place);
          let wanted = mutant === "sum overwritten" ? 0 : before[place];
          let magnitude = Math.abs(before[place]) * 2 ** -50;
          for (let k = mutant === "one term left out" ? 1 : 0; k < depth; k++) {
            const swapped = mutant === "right transposed wrongly" && k < columns && j < depth;
            const term = at(left, i, k) * (swapped ? at(right, j, k) : at(right, k, j));
            wanted += (mutant === "gain of one" ? 1 : gain) * term;
            magnitude += Math.abs(gain * term);
          }
          // Two float64 sums of at most 270 terms differ by the second part, the kernel's own precision by the first.
          const bound = (257 * unit / (1 - 257 * unit) + 2 * 272 * 2 ** -53) * magnitude;
          assert.ok(Math.abs(sum.entries[place] - wanted) <= bound);
        }
      }
      before.forEach((value, place) => places.has(place) || assert.equal(sum.entries[place], value));
    },
    40,
  );
});

Deno.test("lowerOnly leaves whole blocks above the diagonal alone", () => {
  const n = 600;
  const entries = Float64Array.from(normalArray(n * 4, 7));
  const [left, whole, lower] = [rowMajor(entries, n, 4), new Float64Array(n * n), new Float64Array(n * n)];
  addProduct(rowMajor(whole, n, n), left, transposed(left), { precision: "f64" });
  addProduct(rowMajor(lower, n, n), left, transposed(left), { precision: "f64", lowerOnly: true });
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) assert.equal(lower[i * n + j], whole[i * n + j]);
  assert.equal(lower[n - 1], 0);
});
