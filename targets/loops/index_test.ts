import assert from "node:assert/strict";
import fc from "fast-check";
import {
  addIndex,
  affineOf,
  divIndex,
  exactText,
  extentIndex,
  indexOfAffine,
  indexVariables,
  maxIndex,
  minIndex,
  mulIndex,
  remIndex,
  subIndex,
  variable,
} from "./index.ts";
import type { Index } from "./program.ts";
import { replaceVariable } from "./rewrite.ts";

type Values = Readonly<Record<string, number>>;

/** The value of an index; scalars are not made here. */
function evaluate(index: Index, values: Values): number {
  if (typeof index === "number") return index;
  if (index.kind === "variable" || index.kind === "symbol") return values[index.name];
  if (index.kind === "scalar") throw new RangeError("no scalars here");
  const [x, y] = [evaluate(index.x, values), evaluate(index.y, values)];
  switch (index.kind) {
    case "add":
      return x + y;
    case "mul":
      return x * y;
    case "div":
      return Math.floor(x / y);
    case "rem":
      return x % y;
    case "min":
      return Math.min(x, y);
    case "max":
      return Math.max(x, y);
  }
}

const names = ["i", "j", "k"] as const;
const values = fc.record({ i: fc.nat(50), j: fc.nat(50), k: fc.nat(50), seq: fc.nat(9) });

/** The same arithmetic built twice: by the constructors, and as plain functions of the values. */
interface Pair {
  readonly index: Index;
  readonly value: (values: Values) => number;
}

const pairs: fc.Arbitrary<Pair> = fc.letrec<{ pair: Pair }>((tie) => ({
  pair: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom(...names).map((name) => ({ index: variable(name), value: (at: Values) => at[name] })),
    fc.nat(3).map((factor) => ({
      index: extentIndex({ symbol: "seq", factor: factor + 1, offset: factor }),
      value: (at: Values) => (factor + 1) * at.seq + factor,
    })),
    fc.integer({ min: -9, max: 9 }).map((number) => ({ index: number, value: () => number })),
    fc.tuple(tie("pair"), tie("pair"), fc.constantFrom("add", "sub", "mul", "min", "max" as const)).map(
      ([x, y, kind]) => {
        const make = { add: addIndex, sub: subIndex, mul: mulIndex, min: minIndex, max: maxIndex }[kind];
        const apply = (a: number, b: number) =>
          kind === "add" ? a + b : kind === "sub" ? a - b : kind === "mul" ? a * b : Math[kind](a, b);
        return { index: make(x.index, y.index), value: (at: Values) => apply(x.value(at), y.value(at)) };
      },
    ),
    // Division is defined for what is not negative: take a maximum with 0 first.
    fc.tuple(tie("pair"), fc.integer({ min: 1, max: 8 }), fc.boolean()).map(([x, divisor, isDivision]) => ({
      index: (isDivision ? divIndex : remIndex)(maxIndex(x.index, 0), divisor),
      value: (at: Values) => {
        const held = Math.max(x.value(at), 0);
        return isDivision ? Math.floor(held / divisor) : held % divisor;
      },
    })),
  ),
})).pair;

Deno.test("folding constructors and the affine form keep the value of every index", () => {
  fc.assert(fc.property(pairs, values, ({ index, value }, at) => {
    assert.equal(evaluate(index, at) + 0, value(at) + 0);
    assert.equal(evaluate(indexOfAffine(affineOf(index)), at) + 0, value(at) + 0);
  }));
});

Deno.test("the affine form merges equal terms, drops those that cancel and finds strides", () => {
  const [i, j] = [variable("i"), variable("j")];
  const sum = addIndex(mulIndex(addIndex(i, 2), 12), subIndex(addIndex(mulIndex(i, 3), j), j));
  assert.deepEqual(affineOf(sum), { constant: 24, terms: [{ factor: i, coefficient: 15 }] });
  assert.deepEqual([...indexVariables(addIndex(divIndex(i, 4), j))].sort(), ["i", "j"]);
});

Deno.test("replacing a variable moves every place that reads it", () => {
  fc.assert(fc.property(pairs, values, fc.nat(20), ({ index, value }, at, shift) => {
    const [store] = replaceVariable(
      [{ kind: "store", buffer: "y", index, value: { kind: "literal", element: "f32", value: 0 } }],
      "i",
      addIndex(variable("i"), shift),
    );
    assert.ok(store.kind === "store");
    assert.equal(evaluate(store.index, at) + 0, value({ ...at, i: at.i + shift }) + 0);
  }));
});

Deno.test("keys keep apart what JSON does not", () => {
  const texts = [NaN, Infinity, -Infinity, 0, -0, null, 1n, 1].map((value) => JSON.stringify([value], exactText));
  assert.equal(new Set(texts).size, texts.length);
});
