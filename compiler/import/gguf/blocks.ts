/** ggml's block types as tensors. Quantized blocks keep their integers, steps and offsets exactly as they are stored. */

import { decodeBf16, fromBytes } from "../../numeric/element.ts";
import { int4, int8, intFormat, type NumberFormat, uint4 } from "../../numeric/number_format.ts";
import { perBlock, type QuantScheme } from "../../numeric/scheme.ts";
import { type PlainTensor, plainTensor, type QuantizedTensor, sizeOf, type Tensor } from "../../ir/tensor.ts";
import { InvariantError } from "../../diagnostics.ts";

/** Values and bytes of one block. */
export interface BlockLayout {
  readonly values: number;
  readonly bytes: number;
}

/** The block types that `decodeBlocks` reads. */
export const blockLayouts: Readonly<Record<string, BlockLayout>> = {
  F32: { values: 1, bytes: 4 },
  F16: { values: 1, bytes: 2 },
  BF16: { values: 1, bytes: 2 },
  F64: { values: 1, bytes: 8 },
  Q4_0: { values: 32, bytes: 18 },
  Q4_1: { values: 32, bytes: 20 },
  Q5_0: { values: 32, bytes: 22 },
  Q5_1: { values: 32, bytes: 24 },
  Q8_0: { values: 32, bytes: 34 },
};

/**
 * The tensor that the blocks of `bytes` hold. Floats become f32. The others, with d and m in float16:
 *
 *   Q8_0  x = d q            int8 codes
 *   Q4_0  x = d (q - 8)      int4 codes q - 8
 *   Q5_0  x = d (q - 16)     int5 codes q - 16
 *   Q4_1  x = d q + m        uint4 codes with offset m
 *   Q5_1  x = d q + m        uint5 codes with offset m
 *
 * each in blocks of 32 along the last axis. `bytes` has the length that the layout implies.
 */
export function decodeBlocks(type: string, shape: readonly number[], bytes: Uint8Array): Tensor {
  switch (type) {
    case "F32":
      return plainTensor("f32", shape, fromBytes("f32", bytes));
    case "F16":
      return plainTensor("f32", shape, Float32Array.from(fromBytes("f16", bytes)));
    case "BF16":
      return plainTensor("f32", shape, Float32Array.from(fromBytes("bf16", bytes), decodeBf16));
    case "F64":
      return plainTensor("f32", shape, Float32Array.from(fromBytes("f64", bytes)));
    default: {
      const codec = codecs[type];
      if (codec === undefined) throw new InvariantError(`No codec for block type ${type}`);
      return decodeQuantized(codec, shape, bytes);
    }
  }
}

/** Where the parts of a block lie, and how codes are read: byte positions from the block's start. */
interface BlockCodec {
  readonly layout: BlockLayout;
  readonly format: NumberFormat;
  /** Position of m; absent without an offset. */
  readonly offsetAt?: number;
  /** Position of the 32 bits that are the codes' fifth bits, least significant first. */
  readonly highBitsAt?: number;
  readonly codesAt: number;
  /** `nibbles`: low halves of 16 bytes are codes 0..15, high halves codes 16..31. */
  readonly packing: "bytes" | "nibbles";
  /** Subtracted from the stored number to make the code. */
  readonly bias: number;
}

const codecs: Readonly<Record<string, BlockCodec>> = {
  Q8_0: { layout: blockLayouts.Q8_0, format: int8, codesAt: 2, packing: "bytes", bias: 0 },
  Q4_0: { layout: blockLayouts.Q4_0, format: int4, codesAt: 2, packing: "nibbles", bias: 8 },
  Q4_1: { layout: blockLayouts.Q4_1, format: uint4, offsetAt: 2, codesAt: 4, packing: "nibbles", bias: 0 },
  Q5_0: {
    layout: blockLayouts.Q5_0,
    format: intFormat(5, true),
    highBitsAt: 2,
    codesAt: 6,
    packing: "nibbles",
    bias: 16,
  },
  Q5_1: {
    layout: blockLayouts.Q5_1,
    format: intFormat(5, false),
    offsetAt: 2,
    highBitsAt: 4,
    codesAt: 8,
    packing: "nibbles",
    bias: 0,
  },
};

function decodeQuantized(codec: BlockCodec, shape: readonly number[], bytes: Uint8Array): QuantizedTensor {
  const { values, bytes: blockBytes } = codec.layout;
  const blocks = sizeOf(shape) / values;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stepShape = shape.map((extent, axis) => (axis === shape.length - 1 ? extent / values : extent));
  const part = (at: number): PlainTensor<"f32"> => {
    const data = new Float32Array(blocks);
    for (let block = 0; block < blocks; block++) data[block] = view.getFloat16(block * blockBytes + at, true);
    return plainTensor("f32", stepShape, data);
  };
  const scheme: QuantScheme = {
    format: codec.format,
    block: perBlock(shape.length, shape.length - 1, values),
    step: "f16",
    zeroPoint: false,
    ...(codec.offsetAt === undefined ? {} : { offset: true }),
    range: "static",
  };
  return {
    kind: "quantized",
    scheme,
    element: "f32",
    shape,
    codes: decodeCodes(codec, shape, bytes, view),
    steps: part(0),
    ...(codec.offsetAt === undefined ? {} : { offsets: part(codec.offsetAt) }),
  };
}

function decodeCodes(codec: BlockCodec, shape: readonly number[], bytes: Uint8Array, view: DataView): PlainTensor {
  const size = sizeOf(shape);
  const isSigned = codec.format.kind === "int" && codec.format.signed;
  const codes = isSigned ? new Int8Array(size) : new Uint8Array(size);
  const { values, bytes: blockBytes } = codec.layout;
  for (let block = 0; block * values < size; block++) {
    const start = block * blockBytes + codec.codesAt;
    const out = block * values;
    if (codec.packing === "bytes") {
      for (let index = 0; index < values; index++) codes[out + index] = bytes[start + index];
      continue;
    }
    const highBits = codec.highBitsAt === undefined ? 0 : view.getUint32(block * blockBytes + codec.highBitsAt, true);
    for (let index = 0; index < 16; index++) {
      const packed = bytes[start + index];
      const low = (packed & 15) | ((highBits >>> index) & 1) << 4;
      const high = (packed >>> 4) | ((highBits >>> (index + 16)) & 1) << 4;
      codes[out + index] = low - codec.bias;
      codes[out + index + 16] = high - codec.bias;
    }
  }
  return codes instanceof Int8Array ? plainTensor("i8", shape, codes) : plainTensor("u8", shape, codes);
}
