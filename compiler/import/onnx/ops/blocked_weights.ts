/** com.microsoft:MatMulNBits: weights of 2, 4 or 8 bits in blocks along the inner axis. */

import { type IntFormat, intFormat } from "../../../numeric/number_format.ts";
import { perBlock, type QuantScheme } from "../../../numeric/scheme.ts";
import type { ValueName } from "../../../ir/node.ts";
import { type PlainTensor, plainTensor } from "../../../ir/tensor.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { malformed, needsConstant, unsupported } from "./faults.ts";
import { numbersOf, plainConstant } from "./operands.ts";

/** The sizes that the attributes state. */
interface Blocks {
  readonly columns: number;
  readonly depth: number;
  readonly bits: number;
  readonly block: number;
  /** Blocks of one column. */
  readonly count: number;
}

function blocksOf(context: ImportContext): Blocks {
  const { attributes } = context.node;
  const [columns, depth] = [attributes.int("N"), attributes.int("K")];
  const bits = attributes.int("bits", 4);
  const block = attributes.int("block_size");
  if (![2, 4, 8].includes(bits)) unsupported(context, `weights of ${bits} bits`);
  if (columns < 1 || depth < 1 || block < 1) {
    malformed(context, `N is ${columns}, K is ${depth}, block_size is ${block}`);
  }
  return { columns, depth, bits, block, count: Math.ceil(depth / block) };
}

/** y = x * W', W [N, K] as codes of `bits` bits; onnxruntime's accuracy_level is a hint that changes no meaning here. */
function importMatMulNBits(context: ImportContext): readonly ValueName[] {
  const { attributes, inputs } = context.node;
  attributes.int("accuracy_level", 0);
  if (attributes.int("weight_prepacked", 0) !== 0) unsupported(context, "weights in an order of the device's own");
  if (inputs[4] !== undefined) unsupported(context, "weights in an order of their own (g_idx)");
  const blocks = blocksOf(context);
  const weights = blockedWeights(context, blocks);
  const x = context.input(0);
  const { element } = context.typeOf(x);
  const bias = context.optional(5);
  const operands = [context.builder.cast(x, "f32"), weights];
  if (bias !== undefined) operands.push(context.builder.cast(bias, "f32"));
  const product = context.builder.add("matmul", operands, {
    transposeB: true,
    hasBias: bias !== undefined,
    result: { kind: "real" },
  });
  return [context.builder.cast(product, element)];
}

function constantAt(context: ImportContext, index: number, what: string): PlainTensor {
  return plainConstant(context, context.input(index)) ?? needsConstant(context, `the ${what} must be constants`);
}

/** The weights as a quantized value [N, K]. Symmetric codes around 2^(bits-1) are held signed, without a zero point. */
function blockedWeights(context: ImportContext, blocks: Blocks): ValueName {
  const { columns, depth, bits, block, count } = blocks;
  const packed = constantAt(context, 1, "weights");
  const scales = constantAt(context, 2, "scales");
  const bytesPerBlock = block * bits / 8;
  const wanted = columns * count * bytesPerBlock;
  if (packed.element !== "u8" || packed.data.length !== wanted) {
    return malformed(
      context,
      `the weights are ${packed.data.length} entries of ${packed.element}, wanted ${wanted} of u8`,
    );
  }
  if (scales.data.length !== columns * count) {
    return malformed(context, `there are ${scales.data.length} scales, wanted ${columns * count}`);
  }
  const codes = unpackRows(numbersOf(packed), columns, count * block, depth, bits);
  const zeros = zeroPoints(context, blocks);
  const middle = 2 ** (bits - 1);
  const isSymmetric = zeros === undefined || zeros.every((zero) => zero === middle);
  const { element } = scales;
  const scheme: QuantScheme = {
    format: isSymmetric ? signedFormat(bits) : intFormat(bits, false),
    block: perBlock(2, 1, block),
    step: element === "f16" || element === "bf16" ? element : "f32",
    zeroPoint: !isSymmetric,
    range: "static",
  };
  const shape = [columns, depth];
  const held = isSymmetric
    ? plainTensor("i8", shape, Int8Array.from(codes, (code) => code - middle))
    : plainTensor("u8", shape, codes);
  const steps = plainTensor("f32", [columns, count], Float32Array.from(numbersOf(scales)));
  const { builder } = context;
  const operands = [builder.constant(held), builder.constant(steps)];
  if (!isSymmetric) operands.push(builder.constant(plainTensor("i32", [columns, count], Int32Array.from(zeros))));
  return builder.add("fromCodes", operands, { scheme, element: "f32" });
}

function signedFormat(bits: number): IntFormat {
  return intFormat(bits, true);
}

/** The first `depth` codes of each row of `stored`, lowest bits first. */
function unpackRows(bytes: readonly number[], rows: number, stored: number, depth: number, bits: number) {
  const perByte = 8 / bits;
  const mask = 2 ** bits - 1;
  const codes = new Uint8Array(rows * depth);
  for (let row = 0; row < rows; row++) {
    for (let index = 0; index < depth; index++) {
      const at = row * stored + index;
      codes[row * depth + index] = (bytes[Math.floor(at / perByte)] >> (bits * (at % perByte))) & mask;
    }
  }
  return codes;
}

/** Zero points by column and block: packed like the codes, each column from a byte of its own, or whole floats. */
function zeroPoints(context: ImportContext, { columns, bits, count }: Blocks): readonly number[] | undefined {
  if (context.optional(3) === undefined) return undefined;
  const tensor = constantAt(context, 3, "zero points");
  const numbers = numbersOf(tensor);
  if (tensor.element !== "u8") {
    if (numbers.length !== columns * count) malformed(context, `there are ${numbers.length} zero points`);
    const isWhole = numbers.every((zero) => Number.isInteger(zero) && zero >= 0 && zero < 2 ** bits);
    return isWhole ? numbers : unsupported(context, "zero points that are not codes");
  }
  const bytesPerColumn = Math.ceil(count * bits / 8);
  if (numbers.length !== columns * bytesPerColumn) {
    malformed(context, `there are ${numbers.length} bytes of zero points, wanted ${columns * bytesPerColumn}`);
  }
  return [...unpackRows(numbers, columns, bytesPerColumn * 8 / bits, count, bits)];
}

export const blockedWeightImporters: OpImporterTable = {
  "com.microsoft:MatMulNBits": importMatMulNBits,
};
