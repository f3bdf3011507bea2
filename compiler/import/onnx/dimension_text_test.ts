import assert from "node:assert/strict";
import { type Extent, symbolic } from "../../ir/extent.ts";
import { evaluateDimension, namesIn } from "./dimension_text.ts";

const extents = new Map<string, Extent>([["past", 5], ["width", 320], ["batch size", 2]]);

Deno.test("namesIn gives the symbols of a formula, or the whole name where it is none", () => {
  assert.deepEqual(namesIn("past + seq"), ["past", "seq"]);
  assert.deepEqual(namesIn("seq"), ["seq"]);
  assert.deepEqual(namesIn("batch size"), ["batch size"]);
  assert.deepEqual(namesIn("DynamicDimension.0"), ["DynamicDimension.0"]);
  assert.deepEqual(namesIn("a -> b"), ["a -> b"]);
});

Deno.test("evaluateDimension computes sums, products and floor divisions", () => {
  assert.equal(evaluateDimension("(width - 1)//8 + 1", extents), 40);
  assert.equal(evaluateDimension("2*past", extents), 10);
  assert.equal(evaluateDimension("batch size", extents), 2);
});

Deno.test("evaluateDimension keeps what is affine in one symbol", () => {
  const mixed = new Map<string, Extent>([...extents, ["seq", symbolic("seq")]]);
  assert.deepEqual(evaluateDimension("past + seq", mixed), symbolic("seq", 1, 5));
  assert.deepEqual(evaluateDimension("4*seq / 2", mixed), symbolic("seq", 2));
  assert.equal(evaluateDimension("seq * seq", mixed), undefined);
  assert.equal(evaluateDimension("seq / 2", mixed), undefined);
  assert.equal(evaluateDimension("other + 1", mixed), undefined);
});

Deno.test("a formula nested too deep is taken as a name", () => {
  const text = `${"(".repeat(5000)}a${")".repeat(5000)} + 1`;
  assert.deepEqual(namesIn(text), [text]);
});
