import assert from "node:assert/strict";
import { decodeBf16, encodeBf16 } from "../../../compiler/numeric/element.ts";
import { moduloFloat, powFloat } from "../../../compiler/ir/evaluate/scalar_math.ts";
import { uniform } from "../../../tests/support/random.ts";
import { assemble } from "../module.ts";
import { arrayFunction, ulps } from "../../../tests/support/math_functions.ts";
import { mathClosure, mathFunctions, mathLibrary } from "./library.ts";

/** Numbers that f32 functions are tried on: every 6151st bit pattern, a dense middle, and the places where something changes. */
const singles = sweep32();
const doubles = sweep64();

function sweep32(): Float32Array {
  const bits = Uint32Array.from({ length: Math.floor(2 ** 32 / 6151) }, (_, index) => index * 6151);
  const middle = Float32Array.from({ length: 120000 }, (_, index) => (index - 60000) * (index % 2 === 0 ? 3e-4 : 2e-3));
  const edges = [
    0,
    -0,
    Infinity,
    -Infinity,
    NaN,
    1,
    -1,
    88.72283,
    88.7229,
    -87.33655,
    -103.97,
    -103.98,
    -104,
    89,
    1e-45,
    2 ** -126,
    0.625,
    0.9,
    4,
    Math.SQRT1_2,
    Math.SQRT2,
    2 ** 23,
    3.4028234663852886e38,
  ].flatMap((x) => [x, -x]);
  return Float32Array.from([...new Float32Array(bits.buffer), ...middle, ...edges]);
}

function sweep64(): Float64Array {
  const next = uniform(17);
  const words = Uint32Array.from({ length: 400000 }, () => next() * 2 ** 32);
  const middle = Array.from({ length: 120000 }, (_, index) => (index - 60000) * (index % 2 === 0 ? 3e-4 : 1e-2));
  const turns = Array.from({ length: 20000 }, (_, index) => (index - 10000) * (index % 7 + 1) ** 4 * Math.PI / 4);
  const edges = [
    0,
    -0,
    Infinity,
    -Infinity,
    NaN,
    1,
    -1,
    709.78,
    709.79,
    -708.4,
    -745.13,
    -745.14,
    5e-324,
    2 ** -1022,
    1e-300,
    0.5,
    1.5,
    3,
    6,
    20,
    22,
    40,
    710,
    2 ** 28,
    Number.MAX_VALUE,
  ].flatMap((x) => [x, -x]);
  return Float64Array.from([...new Float64Array(words.buffer), ...middle, ...turns, ...edges]);
}

/** Largest distance over all entries within `limit`. */
function worst(
  actual: ArrayLike<number>,
  xs: ArrayLike<number>,
  reference: (x: number) => number,
  bits: 32 | 64,
  limit = Infinity,
): { readonly ulps: number; readonly at: number } {
  let most = { ulps: 0, at: NaN };
  for (let index = 0; index < xs.length; index++) {
    if (Math.abs(xs[index]) > limit && Math.abs(xs[index]) < Infinity) continue;
    const distance = ulps(actual[index], reference(xs[index]), bits);
    if (distance > most.ulps) most = { ulps: distance, at: xs[index] };
  }
  return most;
}

interface Bound {
  readonly reference: (x: number) => number;
  /** Units of the last place. */
  readonly f32: number;
  readonly f64: number;
  /** Largest |x| for which the bound is promised. */
  readonly limit?: number;
  /** A piece of the function's own text and what a mutant has instead. */
  readonly mutant: readonly [string, string];
}

/** erf in 40 digits, where the function of doubles changes its method and in between. */
const erfTable: readonly (readonly [number, number])[] = [
  [0.001, 0.0011283787909692365],
  [0.1, 0.1124629160182849],
  [0.4644760489463806, 0.4887344151104151],
  [0.9, 0.7969082124228322],
  [1.3, 0.9340079449406524],
  [2, 0.9953222650189527],
  [2.5, 0.999593047982555],
  [2.9192, 0.9999634659646925],
  [2.99, 0.9999764743969194],
  [3, 0.9999779095030014],
  [3.01, 0.9999792610363629],
  [3.7, 0.9999998328489421],
  [4.9, 0.999999999995781],
  [5.9, 0.9999999999999999],
];

const sineLimit = 2 ** 30;

/** The promises of the library. f32 functions that go through f64 round once: half a unit and what f64 adds. */
const bounds: Readonly<Record<string, Bound>> = {
  exp: { reference: Math.exp, f32: 1, f64: 2, mutant: ["0.04166845604777336", "0.0418"] },
  log: { reference: Math.log, f32: 1, f64: 2, mutant: ["0.39976611733436584", "0.402"] },
  tanh: { reference: Math.tanh, f32: 2, f64: 4, mutant: ["0.625", "0.725"] },
  sin: { reference: Math.sin, f32: 2, f64: 2, limit: sineLimit, mutant: ["3.139164164167596e-7", "3.1391e-7"] },
  cos: {
    reference: Math.cos,
    f32: 2,
    f64: 2,
    limit: sineLimit,
    mutant: ["v128.const f32x4 0.5", "v128.const f32x4 0.5001"],
  },
  tan: {
    reference: Math.tan,
    f32: 0.51,
    f64: 4,
    limit: sineLimit,
    mutant: ["(f64.const 0.5)", "(f64.const 0.5000001)"],
  },
  asin: { reference: Math.asin, f32: 0.51, f64: 4, mutant: ["0.24497866312686414", "0.24497876312686414"] },
  acos: { reference: Math.acos, f32: 0.51, f64: 4, mutant: ["0.5585993153435624", "0.5585994153435624"] },
  atan: { reference: Math.atan, f32: 0.51, f64: 2, mutant: ["0.7853981633974483", "0.7853982633974483"] },
  sinh: { reference: Math.sinh, f32: 0.51, f64: 4, mutant: ["(f64.const 40)", "(f64.const 8)"] },
  cosh: { reference: Math.cosh, f32: 0.51, f64: 4, mutant: ["(f64.const 40)", "(f64.const 8)"] },
  asinh: { reference: Math.asinh, f32: 0.51, f64: 4, mutant: ["0x1p28", "0x1p4"] },
  acosh: { reference: Math.acosh, f32: 0.51, f64: 4, mutant: ["0x1p28", "0x1p4"] },
  atanh: {
    reference: Math.atanh,
    f32: 0.51,
    f64: 4,
    mutant: ["(f64.const 0.5) (call $log1p_f64", "(f64.const 0.5) (call $log_f64"],
  },
  expm1: { reference: Math.expm1, f32: 0.51, f64: 4, mutant: ["(f64.const -40)", "(f64.const -10)"] },
  log1p: {
    reference: Math.log1p,
    f32: 0.51,
    f64: 4,
    mutant: ["(f64.sub (local.get $u) (f64.const 1))", "(local.get $x)"],
  },
};

for (const [name, { reference, f32, f64, limit, mutant }] of Object.entries(bounds)) {
  Deno.test(`${name} of f32 stays within ${f32} ulp, four lanes and one alike, and its mutant does not`, () => {
    const actual = arrayFunction(`${name}_f32x4`, { signature: "f32x4" })(singles);
    const { ulps: distance, at } = worst(actual, singles, reference, 32, limit);
    assert.ok(distance <= f32, `${name}(${at}) is ${distance} ulp off`);
    const scalar = arrayFunction(`${name}_f32`, { signature: "f32" })(singles.subarray(0, 40000));
    assert.deepEqual(scalar, actual.slice(0, 40000));
    const [text, other] = mutant;
    const mutate = (library: string) => library.replaceAll(text, other);
    const isInLanes = mutate(mathLibrary([`${name}_f32x4`])) !== mathLibrary([`${name}_f32x4`]);
    const broken = isInLanes
      ? worst(arrayFunction(`${name}_f32x4`, { signature: "f32x4", mutate })(singles), singles, reference, 32, limit)
      : worst(arrayFunction(`${name}_f64`, { signature: "f64", mutate })(doubles), doubles, reference, 64, limit);
    assert.ok(broken.ulps > (isInLanes ? f32 : f64), `The mutant "${other}" of ${name} passes`);
  });

  Deno.test(`${name} of f64 stays within ${f64} ulp`, () => {
    const actual = arrayFunction(`${name}_f64`, { signature: "f64" })(doubles);
    const { ulps: distance, at } = worst(actual, doubles, reference, 64, limit);
    assert.ok(distance <= f64, `${name}(${at}) is ${distance} ulp off`);
  });
}

Deno.test("erf of f64 stays within 6 ulp of values from 40 digits, and that of f32 within 1.5 ulp of it", () => {
  const xs = erfTable.map(([x]) => x);
  const actual = arrayFunction("erf_f64", { signature: "f64" })([
    ...xs,
    ...xs.map((x) => -x),
    NaN,
    Infinity,
    -Infinity,
    -0,
  ]);
  const wanted = [...erfTable.map(([, y]) => y), ...erfTable.map(([, y]) => -y), NaN, 1, -1, -0];
  wanted.forEach((y, index) => assert.ok(ulps(actual[index], y, 64) <= 6, `erf is ${actual[index]}, wants ${y}`));
  const exact = arrayFunction("erf_f64", { signature: "f64" })(singles);
  const single = arrayFunction("erf_f32x4", { signature: "f32x4" })(singles);
  let most = 0;
  exact.forEach((y, index) => most = Math.max(most, ulps(single[index], y, 32)));
  assert.ok(most <= 1.5, `erf of f32 is ${most} ulp off`);
  const mutate = (library: string) => library.replaceAll("v128.const f32x4 0.9 ", "v128.const f32x4 1.1 ");
  const broken = arrayFunction("erf_f32x4", { signature: "f32x4", mutate })(singles);
  assert.ok(exact.some((y, index) => ulps(broken[index], y, 32) > 1.5), "The mutant of erf passes");
});

/** Pairs of operands: wild ones, powers near 1, whole and negative exponents, and every pair of special values. */
function pairs(): { readonly x: Float64Array; readonly y: Float64Array } {
  const next = uniform(5);
  const special = [
    0,
    -0,
    1,
    -1,
    2,
    -2,
    0.5,
    -0.5,
    3,
    -3,
    1e300,
    -1e-300,
    5e-324,
    Infinity,
    -Infinity,
    NaN,
    2 ** 53,
    2 ** 53 + 2,
  ];
  const x = [...special.flatMap((a) => special.map(() => a))];
  const y = [...special.flatMap(() => special)];
  for (let index = 0; index < 60000; index++) {
    x.push(doubles[Math.floor(next() * 200000)], next() * 10, 1 + (next() - 0.5) / 1e4, -Math.ceil(next() * 40));
    y.push(doubles[Math.floor(next() * 200000)], (next() - 0.5) * 600, next() * 1e6, Math.floor(next() * 60) - 30);
  }
  return { x: Float64Array.from(x), y: Float64Array.from(y) };
}

Deno.test("pow of f64 stays within 2 ulp, specials as IEEE 754; without the second word of log x it does not", () => {
  const { x, y } = pairs();
  const run = (mutate?: (library: string) => string) => {
    const actual = arrayFunction("pow_f64", { signature: "f64", operands: 2, mutate })(x, y);
    let most = 0;
    actual.forEach((value, index) => most = Math.max(most, ulps(value, powFloat(x[index], y[index]), 64)));
    return most;
  };
  assert.ok(run() <= 2, `pow is ${run()} ulp off`);
  assert.ok(run((library) => library.replace("(f64.mul (local.get $y) (local.get $l))", "(f64.const 0)")) > 2);
});

Deno.test("rem and mod of f64 are exact, zeros and infinities included", () => {
  const { x, y } = pairs();
  const check = (name: string, reference: (a: number, b: number) => number) => {
    const actual = arrayFunction(name, { signature: "f64", operands: 2 })(x, y);
    actual.forEach((value, index) => {
      const wanted = reference(x[index], y[index]);
      assert.ok(Object.is(value, wanted), `${name}(${x[index]}, ${y[index]}) is ${value}, wants ${wanted}`);
    });
  };
  check("rem_f64", (a, b) => a % b);
  check("mod_f64", moduloFloat);
});

Deno.test("f16 and bf16 round every kind of number as the evaluator does, one by one and in lanes", () => {
  const f16Edges = Float32Array.from(
    { length: 65536 },
    (_, bits) => new Float16Array(new Uint16Array([bits]).buffer)[0],
  );
  const between = Float32Array.from(f16Edges, (value) => value * (1 + 2 ** -12));
  const xs = Float32Array.from([...singles, ...f16Edges, ...between, 65519.99, 65520, 2 ** -25, 2 ** -24 * 1.5]);
  const wanted = { f16: xs.map(Math.f16round), bf16: xs.map((x) => decodeBf16(encodeBf16(x))) };
  for (const element of ["f16", "bf16"] as const) {
    for (const signature of ["f32", "f32x4"] as const) {
      const actual = arrayFunction(`${element}_round${signature === "f32" ? "" : "_f32x4"}`, { signature })(xs);
      const fault = actual.findIndex((value, index) => !Object.is(value, wanted[element][index]));
      assert.equal(fault, -1, `${element} of ${xs[fault]} is ${actual[fault]}, wants ${wanted[element][fault]}`);
    }
  }
});

Deno.test("f16 of f64 rounds once", () => {
  const halves = Array.from({ length: 65536 }, (_, bits) => new Float16Array(new Uint16Array([bits]).buffer)[0]);
  const ties = halves.flatMap((value, index) => {
    const middle = (value + (halves[index + 1] ?? value)) / 2;
    return [middle, middle * (1 + 2 ** -40), middle * (1 - 2 ** -40)];
  });
  const xs = Float64Array.from([...ties, ...doubles, 65520 - 2 ** -20, 65520, 2 ** -25, 2 ** -25 * (1 + 2 ** -40)]);
  const encode = (call: (x: string) => string, names: readonly string[]) =>
    arrayFunction("f16", {
      signature: "f64",
      names,
      expression: (x) => `(f64.promote_f32 (call $f16_decode ${call(x)}))`,
    })(xs);
  const actual = encode((x) => `(call $f16_encode_f64 ${x})`, ["f16_decode", "f16_encode_f64"]);
  const fault = actual.findIndex((value, index) => !Object.is(value, Math.f16round(xs[index])));
  assert.equal(fault, -1, `f16 of ${xs[fault]} is ${actual[fault]}`);
  const twice = encode((x) => `(call $f16_encode (f32.demote_f64 ${x}))`, ["f16_decode", "f16_encode"]);
  assert.ok(twice.some((value, index) => !Object.is(value, Math.f16round(xs[index]))), "Rounding twice goes unseen");
});

Deno.test("every function of the library assembles with what it calls and nothing else", () => {
  for (const name of Object.keys(mathFunctions)) {
    const closure = mathClosure([name]);
    assert.equal(closure.at(-1), name);
    assert.equal(new Set(closure).size, closure.length);
    assert.ok(assemble(`(module ${mathLibrary([name])} (export "f" (func $${name})))`, "simd128").length > 0);
  }
  assert.throws(() => mathLibrary(["exq_f32"]), /no function exq_f32/);
});
