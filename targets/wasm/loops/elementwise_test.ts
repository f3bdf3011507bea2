import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import {
  binary,
  type BinaryOperator,
  cast,
  compare,
  comparisonOperators,
  elementaryFunctions,
  type Expression,
  input,
  literal,
  select,
  unary,
  type UnaryOperator,
} from "../../../compiler/ir/expression.ts";
import type { Graph } from "../../../compiler/ir/graph.ts";
import { plainTensor, type Tensor } from "../../../compiler/ir/tensor.ts";
import { tensorType } from "../../../compiler/ir/types.ts";
import {
  allocate,
  type ElementType,
  elementTypes,
  encodeBf16,
  integerRange,
  isFloat,
  isInteger,
  isWide,
} from "../../../compiler/numeric/element.ts";
import { uniform } from "../../../tests/support/random.ts";
import { assertLoops, assertSeen, loopText } from "../../../tests/support/loop_kernels.ts";

/** Lengths around every number of lanes, where vector loops and the rest meet. */
const lengths = [1, 2, 3, 5, 7, 15, 16, 17, 31, 33];

const specials = [
  0,
  -0,
  1,
  -1,
  0.5,
  -0.5,
  1.5,
  2.5,
  -2.5,
  127,
  128,
  255,
  256,
  -128,
  -129,
  65504,
  65520,
  2 ** 24 + 1,
  2 ** 31,
  2 ** 31 - 1,
  -(2 ** 31),
  2 ** 32,
  2 ** 63,
  -(2 ** 63),
  1e30,
  -1e30,
  1e-40,
  Infinity,
  -Infinity,
  NaN,
];

/** Entries of an element: special values and random ones of every size. */
function edgeTensor(element: ElementType, shape: readonly number[], seed: number): Tensor {
  const next = uniform(seed);
  const size = shape.reduce((product, extent) => product * extent, 1);
  const data = allocate(element, size);
  for (let index = 0; index < size; index++) {
    if (isFloat(element)) {
      const value = next() < 0.4
        ? specials[Math.floor(next() * specials.length)]
        : (next() - 0.5) * 10 ** Math.floor(next() * 8 - 3);
      data[index] = element === "bf16" ? encodeBf16(value) : value;
    } else {
      const { min, max } = integerRange(element);
      const edges = [
        min,
        max,
        min + 1n,
        max - 1n,
        0n,
        1n,
        max > 1n && min < 0n ? -1n : 1n,
        2n % (max + 1n),
        7n % (max + 1n),
      ];
      const value = next() < 0.5
        ? edges[Math.floor(next() * edges.length)]
        : min + BigInt(Math.floor(next() * 2 ** 53)) * (max - min + 1n) / 2n ** 53n;
      data[index] = data instanceof BigInt64Array || data instanceof BigUint64Array ? value : Number(value);
    }
  }
  return plainTensor(element, shape, data);
}

/** A map over inputs of one length each, or over given shapes. */
function mapGraph(
  expression: Expression,
  elements: readonly ElementType[],
  shapes: readonly (readonly number[])[],
): Graph {
  const builder = new GraphBuilder("map");
  const inputs = elements.map((element, index) => builder.input(`x${index}`, tensorType(element, shapes[index])));
  builder.output("y", builder.map(expression, inputs));
  return builder.finish();
}

async function assertMap(
  expression: Expression,
  elements: readonly ElementType[],
  shapes: readonly (readonly number[])[],
  seed: number,
  tolerance?: (expected: number) => number,
): Promise<void> {
  const inputs = Object.fromEntries(
    elements.map((element, index) => [`x${index}`, edgeTensor(element, shapes[index], seed + index)]),
  );
  await assertLoops(mapGraph(expression, elements, shapes), { inputs: [inputs], tolerance });
}

const exactUnary: readonly UnaryOperator[] = ["neg", "abs", "sign", "floor", "ceil", "round", "trunc", "sqrt"];
const anyBinary: readonly BinaryOperator[] = ["add", "sub", "mul", "div", "rem", "mod", "min", "max"];

/** Every exact operator that applies to an element, as one expression each, over inputs 0 and 1. */
function operatorsOf(element: ElementType): readonly Expression[] {
  const [x, y] = [input(0), input(1)];
  const asNumber = (condition: Expression) => select(condition, literal(1, "i32"), literal(0, "i32"));
  const compared = comparisonOperators.map((operator) => asNumber(compare(operator, x, y)));
  if (element === "bool") {
    return [unary("not", x), ...(["and", "or", "xor"] as const).map((operator) => binary(operator, x, y)), ...compared];
  }
  if (isFloat(element)) {
    return [
      ...exactUnary.map((operator) => unary(operator, x)),
      ...(["isNaN", "isInf"] as const).map((operator) => asNumber(unary(operator, x))),
      ...anyBinary.map((operator) => binary(operator, x, y)),
      ...compared,
    ];
  }
  return [
    ...(["neg", "abs", "sign", "not"] as const).map((operator) => unary(operator, x)),
    ...[...anyBinary, "pow", "and", "or", "xor", "shl", "shr"].map((operator) =>
      binary(operator as BinaryOperator, x, y)
    ),
    ...([0, 1, 5, 7] as const).flatMap((count) =>
      (["shl", "shr", "div", "mod"] as const).map((operator) => binary(operator, x, literal(count, element)))
    ),
    ...compared,
  ];
}

for (const element of elementTypes) {
  Deno.test(`every exact operator of ${element} equals the evaluator's, in lanes and one by one`, async () => {
    for (const [index, expression] of operatorsOf(element).entries()) {
      const length = lengths[index % lengths.length] + 16 * (index % 2);
      await assertMap(expression, [element, element], [[length], [length]], index + 1);
    }
  });

  Deno.test(`casts from ${element} to every element equal the evaluator's`, async () => {
    for (const [index, to] of elementTypes.entries()) {
      await assertMap(cast(to, input(0)), [element], [[67]], index + 11);
    }
  });
}

/** erf in f64 is evaluated by the same method on both sides; the other functions are V8's within an ulp. */
const functionUlps = { f32: 2, f64: 7, f16: 1, bf16: 1 } as const;
const epsilons = { f32: 2 ** -23, f64: 2 ** -52, f16: 2 ** -10, bf16: 2 ** -7 } as const;
const leasts = { f32: 2 ** -149, f64: 2 ** -1074, f16: 2 ** -24, bf16: 2 ** -133 } as const;

for (const element of ["f16", "bf16", "f32", "f64"] as const) {
  Deno.test(`elementary functions of ${element} lie within ${functionUlps[element]} ulp of the evaluator's`, async () => {
    const tolerance = (expected: number) =>
      functionUlps[element] * Math.max(leasts[element], Math.abs(expected) * epsilons[element]);
    for (const [index, operator] of elementaryFunctions.entries()) {
      // Sines are promised up to 2^30; special values beyond are left out.
      const tame = ["sin", "cos", "tan"].includes(operator)
        ? binary("rem", input(0), literal(1000, element))
        : input(0);
      await assertMap(unary(operator, tame), [element], [[lengths[index % lengths.length] + 40]], index + 3, tolerance);
    }
    await assertMap(binary("pow", input(0), input(1)), [element, element], [[203], [203]], 5, tolerance);
  });
}

Deno.test("whole and half powers that are literals equal the evaluator's, cubes within two ulp, special values included", async () => {
  for (const element of ["f16", "bf16", "f32", "f64"] as const) {
    for (const exponent of [1, 2, 0.5, 3]) {
      const ulp = exponent === 3 ? functionUlps[element] : element === "f64" ? 1 : 0;
      const tolerance = (expected: number) => ulp * Math.max(leasts[element], Math.abs(expected) * epsilons[element]);
      await assertMap(binary("pow", input(0), literal(exponent, element)), [element], [[131]], 7, tolerance);
    }
  }
});

/** Random trees of exact f32 operators over three operands. */
const expressionTree: fc.Arbitrary<Expression> = fc.letrec<{ tree: Expression; test: Expression }>((tie) => ({
  tree: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.nat(2).map(input),
    fc.constantFrom(0, -0, 1, 0.5, -3, 6, 1 / 3).map((value) => literal(value)),
    fc.tuple(
      fc.constantFrom<UnaryOperator>("neg", "abs", "floor", "ceil", "round", "trunc", "sqrt", "sign"),
      tie("tree"),
    )
      .map(([operator, x]) => unary(operator, x)),
    fc.tuple(fc.constantFrom<BinaryOperator>("add", "sub", "mul", "div", "min", "max"), tie("tree"), tie("tree"))
      .map(([operator, x, y]) => binary(operator, x, y)),
    fc.tuple(tie("test"), tie("tree"), tie("tree")).map(([condition, x, y]) => select(condition, x, y)),
    fc.tuple(fc.constantFrom<ElementType>("i8", "u8", "i16", "i32", "f16", "bf16", "bool"), tie("tree"))
      .map(([element, x]) => cast("f32", cast(element, x))),
  ),
  test: fc.tuple(fc.constantFrom(...comparisonOperators), tie("tree"), tie("tree"))
    .map(([operator, x, y]) => compare(operator, x, y)),
})).tree;

/** Shapes that broadcast to [a, b, c]: each axis whole or 1, leading ones left out at times. */
const broadcastShape = (shape: readonly number[]) =>
  fc.tuple(fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }), fc.nat(2)).map(([kept, dropped]) => {
    const own = shape.map((extent, axis) => (kept[axis] ? extent : 1));
    const lead = own.findIndex((extent) => extent !== 1);
    return own.slice(Math.min(dropped, lead < 0 ? 3 : lead));
  });

const broadcastCase = fc.tuple(fc.constantFrom(1, 2, 3), fc.constantFrom(1, 2, 5), fc.constantFrom(...lengths))
  .chain((shape) =>
    fc.record({
      expression: expressionTree,
      shapes: fc.tuple(fc.constant(shape), broadcastShape(shape), broadcastShape(shape)),
      seed: fc.nat(1000),
    })
  );

Deno.test("random expressions over broadcast operands equal the evaluator's bit for bit", async () => {
  await fc.assert(
    fc.asyncProperty(broadcastCase, async ({ expression, shapes, seed }) => {
      await assertMap(expression, ["f32", "f32", "f32"], shapes, seed);
    }),
    { numRuns: 120 },
  );
});

Deno.test("the comparison sees exchanged operands, another function and a literal that is one ulp off", async () => {
  const graphOf = (expression: Expression) => mapGraph(expression, ["f32", "f32"], [[37], [37]]);
  const inputs = [{ x0: edgeTensor("f32", [37], 1), x1: edgeTensor("f32", [37], 2) }];
  const exact = graphOf(binary("sub", input(0), input(1)));
  await assertSeen(graphOf(binary("sub", input(1), input(0))), exact, { inputs });
  const scaled = (factor: number) => graphOf(binary("mul", input(0), literal(factor)));
  await assertSeen(scaled(1 / 3 + 2 ** -25), scaled(1 / 3), { inputs });
  const tolerance = (expected: number) => functionUlps.f32 * Math.max(leasts.f32, Math.abs(expected) * epsilons.f32);
  const tame = binary("rem", input(0), literal(3));
  await assertSeen(graphOf(unary("tanh", tame)), graphOf(unary("erf", tame)), { inputs, tolerance });
});

/** Elements whose maps run in lanes. */
const laneElements = elementTypes.filter((element) => !isWide(element) && element !== "f64");

Deno.test("maps of every element of up to 32 bits run in lanes, with scalar, row and column operands", () => {
  for (const element of laneElements) {
    if (element === "bool") continue;
    for (const shape of [[], [48], [3, 1], [3, 48]]) {
      const text = loopText(mapGraph(binary("add", input(0), input(1)), [element, element], [[3, 48], shape]));
      assert.match(text, isInteger(element) ? /i32x4\.add/ : /f32x4\.add/, `${element} with [${shape}]`);
    }
  }
});

Deno.test("what is used twice is computed once", () => {
  const shared = unary("exp", input(0));
  const text = loopText(mapGraph(binary("div", shared, binary("add", shared, literal(1))), ["f32"], [[8]]));
  assert.equal(text.split("(block $exp_f32x4").length - 1, 1);
});

Deno.test("vector constants are set before the loops that read them", () => {
  const activation = binary("mul", unary("tanh", binary("mul", input(0), literal(0.7))), literal(3));
  const text = loopText(mapGraph(activation, ["f32"], [[64]]));
  const loop = text.slice(text.indexOf("(loop"));
  assert.ok(text.includes("v128.const"));
  assert.ok(!loop.includes("v128.const"), loop);
});
