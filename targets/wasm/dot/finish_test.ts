import assert from "node:assert/strict";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import {
  binary,
  cast,
  compare,
  type Expression,
  input,
  literal,
  select,
  unary,
} from "../../../compiler/ir/expression.ts";
import type { PlainTensor } from "../../../compiler/ir/tensor.ts";
import { floatTensor, plainTensor, sizeOf } from "../../../compiler/ir/tensor.ts";
import { quantizedType, tensorType } from "../../../compiler/ir/types.ts";
import type { ElementType } from "../../../compiler/numeric/element.ts";
import { int8 } from "../../../compiler/numeric/number_format.ts";
import { perTensor, type QuantScheme } from "../../../compiler/numeric/scheme.ts";
import { uniform } from "../../../tests/support/random.ts";
import { assertExact, randomQuantized, runKernels } from "../../../tests/support/wasm_kernels.ts";
import { mathLibrary } from "../math/library.ts";
import { selectMatmul } from "./matmul.ts";

const random = uniform(21);
const scheme: QuantScheme = { format: int8, block: perTensor(2), step: "f32", zeroPoint: false, range: "static" };

function randomOperand(element: ElementType, shape: readonly number[]): PlainTensor {
  const values = Array.from({ length: sizeOf(shape) }, () => Math.round(200 * random() - 100));
  switch (element) {
    case "i8":
      return plainTensor("i8", shape, Int8Array.from(values));
    case "u8":
      return plainTensor("u8", shape, Uint8Array.from(values, (value) => value + 100));
    case "i32":
      return plainTensor("i32", shape, Int32Array.from(values));
    default:
      return floatTensor(shape, values.map((value) => value / 64));
  }
}

interface EpilogueCase {
  readonly name: string;
  readonly expression: Expression;
  /** Element and shape of inputs 1, 2, ...; the product is [rows, columns]. */
  readonly operands: readonly (readonly [ElementType, "full" | "column" | "row" | "scalar"])[];
}

const clampByte = (x: Expression, element: "f32" | "i32") =>
  binary("min", binary("max", x, literal(-128, element)), literal(127, element));
const sum = cast("f32", input(0));
const hardSwish = (x: Expression) =>
  binary(
    "div",
    binary("mul", x, binary("min", binary("max", binary("add", x, literal(3)), literal(0)), literal(6))),
    literal(6),
  );

const cases: readonly EpilogueCase[] = [
  {
    name: "requantize through hardswish to i8",
    expression: cast(
      "i8",
      clampByte(
        binary(
          "add",
          unary("round", binary("mul", hardSwish(binary("mul", sum, input(1))), literal(40))),
          literal(-20),
        ),
        "f32",
      ),
    ),
    operands: [["f32", "column"]],
  },
  {
    name: "fixed-point sum of two codes to i8",
    expression: cast(
      "i8",
      clampByte(
        binary(
          "add",
          binary(
            "shr",
            binary(
              "add",
              cast("i32", unary("round", binary("mul", sum, literal(3.5)))),
              binary("mul", cast("i32", input(1)), literal(81, "i32")),
            ),
            literal(6, "i32"),
          ),
          literal(-7, "i32"),
        ),
        "i32",
      ),
    ),
    operands: [["i8", "full"]],
  },
  {
    name: "float to byte saturates where nothing clamps it",
    expression: cast("u8", binary("mul", sum, input(1))),
    operands: [["f32", "row"]],
  },
  {
    name: "integer to byte wraps where nothing clamps it",
    expression: cast("i8", binary("add", input(0), cast("i32", input(1)))),
    operands: [["u8", "column"]],
  },
  {
    name: "select by a comparison of bytes",
    expression: select(compare("lt", input(1), literal(3, "i8")), sum, binary("max", sum, input(2))),
    operands: [["i8", "row"], ["f32", "scalar"]],
  },
];

for (const { name, expression, operands } of cases) {
  Deno.test(`dot epilogue: ${name}`, async () => {
    for (const [rows, columns] of [[1, 3], [2, 8], [7, 13], [5, 4]]) {
      const builder = new GraphBuilder("epilogue");
      const x = builder.input("x", quantizedType(scheme, [rows, 9]));
      const w = builder.constant(randomQuantized(random, [columns, 9], { ...scheme, block: [1, "all"] }));
      const product = builder.add("matmul", [x, w], {
        transposeB: true,
        hasBias: false,
        result: { kind: "accumulator" },
      });
      const shapes = { full: [rows, columns], column: [columns], row: [rows, 1], scalar: [] };
      const tensors = operands.map(([element, shape]) => randomOperand(element, shapes[shape]));
      const more = tensors.map((tensor, index) => builder.input(`e${index}`, tensorType(tensor.element, tensor.shape)));
      builder.output("y", builder.map(expression, [product, ...more]));
      const inputs = {
        x: randomQuantized(random, [rows, 9], scheme),
        ...Object.fromEntries(tensors.map((t, i) => [`e${i}`, t])),
      };
      const run = await runKernels(builder.finish("quant"), inputs, selectMatmul, mathLibrary);
      assert.equal(run.program.steps.length, 1);
      assertExact(run);
    }
  });
}
