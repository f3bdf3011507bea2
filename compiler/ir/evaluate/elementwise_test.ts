import assert from "node:assert/strict";
import fc from "fast-check";
import { assertWithMutants } from "../../../tests/support/mutants.ts";
import { eachIndex, entriesOf, entryAt, plainOf } from "../../../tests/support/naive_tensor.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { runOp } from "../../../tests/support/run_op.ts";
import { allocate, decodeBf16, type ElementType, encodeBf16, integerRange } from "../../numeric/element.ts";
import {
  binary,
  type BinaryOperator,
  binaryOperators,
  cast,
  compare,
  type Expression,
  input,
  literal,
  select,
  unary,
  type UnaryOperator,
} from "../expression.ts";
import { floatTensor, type PlainTensor, plainTensor, type Tensor } from "../tensor.ts";
import { tensorType } from "../types.ts";
import { erf } from "./scalar_math.ts";

function map(expression: Expression, ...operands: Tensor[]): PlainTensor {
  return plainOf(runOp("map", operands, { expression })[0]);
}

const shapes = fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 4 });

/** A shape and two that broadcast to it. */
const broadcastShapes = shapes.chain((shape) => {
  const part = fc.tuple(fc.nat({ max: shape.length }), fc.array(fc.boolean(), { minLength: 4, maxLength: 4 })).map(
    ([drop, ones]) => shape.slice(drop).map((extent, axis) => (ones[axis] ? 1 : extent)),
  );
  return fc.tuple(fc.constant(shape), part, part, fc.nat());
});

Deno.test("map broadcasts as NumPy does, over any shapes", () => {
  assertWithMutants(broadcastShapes, ["last axis not repeated", "operands swapped"], ([whole, a, b, seed], mutant) => {
    const x = randomTensor(tensorType("f32", whole), seed);
    const y = randomTensor(tensorType("f32", a), seed + 1);
    const z = randomTensor(tensorType("f32", b), seed + 2);
    const result = map(binary("sub", binary("add", input(0), input(1)), input(2)), x, y, z);
    assert.deepEqual(result.shape, whole);
    for (const index of eachIndex(whole)) {
      const read = [...index];
      if (mutant === "last axis not repeated" && read.length > 0) read[read.length - 1] = 0;
      const [second, third] = mutant === "operands swapped" ? [z, y] : [y, z];
      const sum = Math.fround(entryAt(x, index) + entryAt(second, read));
      assert.equal(entryAt(result, index), Math.fround(sum - entryAt(third, index)));
    }
  });
});

Deno.test("map over more entries than one run handles equals map entry by entry", () => {
  const x = randomTensor(tensorType("f32", [3, 1500]), 1);
  const y = randomTensor(tensorType("f32", [3, 1]), 2);
  const result = map(binary("mul", input(0), input(1)), x, y);
  for (const index of eachIndex([3, 1500])) {
    assert.equal(entryAt(result, index), Math.fround(entryAt(x, index) * entryAt(y, index)));
  }
});

const roundings: { readonly [Name in "f16" | "bf16" | "f32" | "f64"]: (value: number) => number } = {
  f16: Math.f16round,
  bf16: (value) => decodeBf16(encodeBf16(value)),
  f32: Math.fround,
  f64: (value) => value,
};

Deno.test("every intermediate of a float expression is rounded to its own element", () => {
  const formats = fc.constantFrom<"f16" | "bf16" | "f32" | "f64">("f16", "bf16", "f32", "f64");
  const values = fc.array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: 3, maxLength: 3 });
  assertWithMutants(fc.tuple(formats, values), ["rounded once at the end"], ([element, entries], mutant) => {
    const [a, b, c] = entries.map((entry) => {
      const data = allocate(element, 1);
      if (element === "bf16") data[0] = encodeBf16(entry);
      else data[0] = entry;
      return plainTensor(element, [], data);
    });
    const expression = binary("mul", binary("add", input(0), input(1)), binary("div", input(0), input(2)));
    const [result] = entriesOf(map(expression, a, b, c));
    const [x, y, z] = [a, b, c].map((tensor) => entriesOf(tensor)[0]);
    const round = roundings[element];
    const step = mutant === "none" ? round : (value: number) => value;
    assert.deepEqual(result, round(step(x + y) * step(x / z)));
  }, 300);
});

const narrow = ["u8", "i8", "u16", "i16", "u32", "i32"] as const;
const wide = ["u64", "i64"] as const;

function wrap(element: ElementType, value: bigint): bigint {
  const bits = Number(element.slice(1));
  return element.startsWith("u") ? BigInt.asUintN(bits, value) : BigInt.asIntN(bits, value);
}

const integerOracle: Readonly<Record<BinaryOperator, (x: bigint, y: bigint, bits: bigint) => bigint>> = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: (x, y) => x * y,
  div: (x, y) => (y === 0n ? 0n : x / y),
  rem: (x, y) => (y === 0n ? 0n : x % y),
  mod: (x, y) => (y === 0n ? 0n : ((x % y) + y) % y),
  pow: (x, y) => (y < 0n ? (x === 1n ? 1n : x === -1n ? (y % 2n === 0n ? 1n : -1n) : 0n) : x ** (y % 64n)),
  min: (x, y) => (x < y ? x : y),
  max: (x, y) => (x > y ? x : y),
  and: (x, y) => x & y,
  or: (x, y) => x | y,
  xor: (x, y) => x ^ y,
  shl: (x, y, bits) => (y < 0n || y >= bits ? 0n : x << y),
  shr: (x, y, bits) => (y < 0n || y >= bits ? 0n : x >> y),
};

function integerTensor(element: ElementType, values: readonly bigint[]): PlainTensor {
  const data = allocate(element, values.length);
  values.forEach((value, index) => {
    if (data instanceof BigInt64Array || data instanceof BigUint64Array) data[index] = value;
    else data[index] = Number(value);
  });
  return plainTensor(element, [values.length], data);
}

Deno.test("integer operators agree with arithmetic on big integers, wrapped", () => {
  const operands = fc.constantFrom<ElementType>(...narrow, ...wide).chain((element) => {
    const { min, max } = integerRange(element);
    const value = fc.oneof(fc.bigInt({ min, max }), fc.constantFrom(min, max, 0n, 1n, max - 1n, max < 9n ? 0n : 8n));
    return fc.tuple(fc.constant(element), value, value);
  });
  fc.assert(
    fc.property(operands, ([element, x, y]) => {
      const bits = BigInt(element.slice(1));
      for (const operator of binaryOperators) {
        const oracle = integerOracle[operator];
        const amount = operator === "pow" ? (y < 0n ? y : y % 64n) : y;
        const expression = binary(operator, input(0), input(1));
        const result = map(expression, integerTensor(element, [x]), integerTensor(element, [amount]));
        assert.equal(
          BigInt(result.data[0]),
          wrap(element, oracle(x, amount, bits)),
          `${operator}(${x}, ${amount}) of ${element}`,
        );
      }
      const unaries: [UnaryOperator, bigint][] = [["neg", -x], ["abs", x < 0n ? -x : x], ["not", ~x]];
      for (const [operator, value] of unaries) {
        const result = map(unary(operator, input(0)), integerTensor(element, [x]));
        assert.equal(BigInt(result.data[0]), wrap(element, value), `${operator}(${x}) of ${element}`);
      }
      for (const [operator, value] of [["lt", x < y], ["le", x <= y], ["eq", x === y], ["ne", x !== y]] as const) {
        const result = map(
          compare(operator, input(0), input(1)),
          integerTensor(element, [x]),
          integerTensor(element, [y]),
        );
        assert.equal(result.data[0], value ? 1 : 0, `${operator}(${x}, ${y}) of ${element}`);
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("casts from float truncate and saturate, NaN to 0", () => {
  const values = Float64Array.of(
    NaN,
    Infinity,
    -Infinity,
    1.9,
    -1.9,
    300.5,
    -300.5,
    1e10,
    -1e10,
    1e20,
    -1e20,
    -0.5,
    2 ** 63,
  );
  for (const element of [...narrow, ...wide]) {
    const { min, max } = integerRange(element);
    const result = map(cast(element, input(0)), plainTensor("f64", [values.length], values));
    values.forEach((value, index) => {
      const whole = Number.isNaN(value)
        ? 0n
        : value === Infinity
        ? max
        : value === -Infinity
        ? min
        : BigInt(Math.trunc(value));
      const expected = whole < min ? min : whole > max ? max : whole;
      assert.equal(BigInt(result.data[index]), expected, `${value} to ${element}`);
    });
  }
  assert.deepEqual(entriesOf(map(cast("bool", input(0)), floatTensor([4], [0, -0, NaN, 0.1]))), [0, 0, 1, 1]);
  // An integer register holds no negative zero.
  const back = map(cast("f32", cast("i32", input(0))), floatTensor([1], [-0.5]));
  assert(Object.is(back.data[0], 0));
});

Deno.test("casts between integers wrap", () => {
  fc.assert(fc.property(
    fc.constantFrom<ElementType>(...narrow, ...wide),
    fc.constantFrom<ElementType>(...narrow, ...wide),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    (from, to, value) => {
      const x = wrap(from, value);
      const result = map(cast(to, input(0)), integerTensor(from, [x]));
      assert.equal(BigInt(result.data[0]), wrap(to, x), `${x} from ${from} to ${to}`);
    },
  ));
});

Deno.test("64-bit integers round once on their way to f32", () => {
  // 2^24 + 1 and beyond: through f64 these would round twice and land on the wrong neighbour.
  const values = [
    2n ** 60n + 2n ** 36n + 1n,
    -(2n ** 60n) - 2n ** 36n - 1n,
    2n ** 60n + 2n ** 36n,
    9007199254740993n,
    16777217n,
  ];
  const result = map(cast("f32", input(0)), integerTensor("i64", values));
  assert.deepEqual(entriesOf(result), [2 ** 60 + 2 ** 37, -(2 ** 60) - 2 ** 37, 2 ** 60, 9007199254740992, 16777216]);
});

Deno.test("floating point corner cases", () => {
  const values = [NaN, Infinity, -Infinity, 0, -0, 1, -1, 2.5, 3.5, -2.5, 0.5, -0.5];
  const x = floatTensor([values.length], values);
  const check = (operator: UnaryOperator, expected: readonly number[]) =>
    assert.deepEqual(entriesOf(map(unary(operator, input(0)), x)), expected, operator);
  check("round", [NaN, Infinity, -Infinity, 0, -0, 1, -1, 2, 4, -2, 0, -0]);
  check("sign", [NaN, 1, -1, 0, -0, 1, -1, 1, 1, -1, 1, -1]);
  check("trunc", [NaN, Infinity, -Infinity, 0, -0, 1, -1, 2, 3, -2, 0, -0]);
  check("isNaN", [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  check("isInf", [0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  const pair = (operator: BinaryOperator, a: number, b: number) =>
    entriesOf(map(binary(operator, input(0), input(1)), floatTensor([], [a]), floatTensor([], [b])))[0];
  assert.deepEqual(pair("max", NaN, 1), NaN);
  assert.deepEqual(pair("min", 1, NaN), NaN);
  assert.deepEqual(pair("max", -0, 0), 0);
  assert.deepEqual(pair("pow", 1, NaN), 1);
  assert.deepEqual(pair("pow", -1, Infinity), 1);
  assert.deepEqual(pair("pow", 2, -2), 0.25);
  assert.deepEqual(pair("mod", -5.5, 2), 0.5);
  assert.deepEqual(pair("mod", 5.5, -2), -0.5);
  assert.deepEqual(pair("rem", -5.5, 2), -1.5);
  assert.deepEqual(pair("div", 1, 0), Infinity);
});

Deno.test("select reads its condition entry by entry; shared parts are computed once", () => {
  const x = floatTensor([4], [-2, -1, 1, 2]);
  const half = binary("mul", input(0), literal(0.5));
  const result = map(select(compare("lt", half, literal(0)), half, binary("add", half, half)), x);
  assert.deepEqual(entriesOf(result), [-1, -0.5, 1, 2]);
  const whole = plainTensor("i64", [2], BigInt64Array.of(5n, -5n));
  const chosen = map(select(compare("gt", input(0), literal(0n, "i64")), input(0), literal(7n, "i64")), whole);
  assert.deepEqual(chosen.data, BigInt64Array.of(5n, 7n));
});

Deno.test("an empty operand gives an empty result", () => {
  const result = map(unary("neg", input(0)), plainTensor("f32", [0, 3], new Float32Array(0)));
  assert.deepEqual(result.shape, [0, 3]);
});

Deno.test("erf agrees with its series in exact arithmetic", () => {
  // erf(x) = 2/√π Σ (-1)^n x^(2n+1) / (n! (2n+1)), in fixed point with 200 fraction bits; √π to 50 digits.
  const one = 1n << 200n;
  const rootPi = 177245385090551602729816748334114518279754945612238n * one / 10n ** 50n;
  for (const x of [1e-8, 0.1, 0.5, 0.84375, 1, 1.25, 2, 2.5, 2.999, 3, 3.001, 4, 5, 5.999]) {
    const fixed = BigInt(Math.round(x * 2 ** 40)) * (one >> 40n);
    const argument = Number(fixed >> 148n) / 2 ** 52;
    let power = fixed;
    let factorial = 1n;
    let sum = 0n;
    for (let n = 0n; n < 400n; n++) {
      const term = power / (factorial * (2n * n + 1n));
      sum += n % 2n === 0n ? term : -term;
      power = power * fixed / one * fixed / one;
      factorial *= n + 1n;
    }
    const exact = Number((2n * sum * one / rootPi) >> 100n) / 2 ** 100;
    // exp(-x²) carries a relative error of x² 2^-53 and the sum one of its number of terms.
    const bound = (x * x + 40) * 2 ** -53;
    assert(Math.abs(erf(argument) - exact) <= bound * exact, `erf(${argument}) is ${erf(argument)}, not ${exact}`);
    assert.equal(erf(-argument), -erf(argument));
  }
  assert.equal(erf(6), 1);
  assert.equal(erf(-Infinity), -1);
  assert(Number.isNaN(erf(NaN)));
  assert(Object.is(erf(-0), -0));
});

Deno.test("exact operators on f32 are those of f32 arithmetic", () => {
  fc.assert(fc.property(fc.float(), fc.float(), (a, b) => {
    const [x, y] = [floatTensor([], [a]), floatTensor([], [b])];
    const of = (operator: BinaryOperator) => entriesOf(map(binary(operator, input(0), input(1)), x, y))[0];
    assert.deepEqual(of("add"), Math.fround(a + b));
    assert.deepEqual(of("mul"), Math.fround(a * b));
    assert.deepEqual(of("div"), Math.fround(a / b));
    assert.deepEqual(entriesOf(map(unary("sqrt", input(0)), x))[0], Math.fround(Math.sqrt(a)));
  }));
});
