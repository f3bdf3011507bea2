/** ONNX models of one linear layer, as its peers take them. */

import { floatTensor, plainTensor } from "../../compiler/ir/tensor.ts";
import { onnxBytes } from "../support/onnx_builder.ts";
import { normalArray, uniform } from "../support/random.ts";

export interface LinearSize {
  readonly rows: number;
  readonly depth: number;
  readonly columns: number;
}

/** Extent of the blocks that share a step. */
export const linearBlock = 32;

/** `y = x w` in f32. */
export function floatLinear({ rows, depth, columns }: LinearSize): Uint8Array<ArrayBuffer> {
  const weights = normalArray(depth * columns, 1).map((value) => value / Math.sqrt(depth));
  return onnxBytes({
    nodes: [{ op: "MatMul", name: "linear", inputs: ["x", "w"], outputs: ["y"] }],
    inputs: [{ name: "x", shape: [rows, depth] }],
    outputs: [{ name: "y", shape: [rows, columns] }],
    initializers: { w: floatTensor([depth, columns], weights) },
  });
}

/** `com.microsoft` MatMulNBits: 4-bit weights in blocks of 32 with zero points, int8 activations (accuracy level 4). */
export function nibbleLinear({ rows, depth, columns }: LinearSize): Uint8Array<ArrayBuffer> {
  const blocks = depth / linearBlock;
  const random = uniform(2);
  const bytes = (count: number): Uint8Array<ArrayBuffer> =>
    Uint8Array.from({ length: count }, () => Math.floor(256 * random()));
  const steps = Float32Array.from({ length: columns * blocks }, () => (0.5 + random()) / Math.sqrt(depth) / 8);
  return onnxBytes({
    nodes: [{
      op: "MatMulNBits",
      name: "linear",
      domain: "com.microsoft",
      inputs: ["x", "w", "steps", "zeros"],
      outputs: ["y"],
      attributes: { K: depth, N: columns, bits: 4, block_size: linearBlock, accuracy_level: 4 },
    }],
    inputs: [{ name: "x", shape: [rows, depth] }],
    outputs: [{ name: "y", shape: [rows, columns] }],
    initializers: {
      w: plainTensor("u8", [columns, blocks, linearBlock / 2], bytes(columns * depth / 2)),
      steps: floatTensor([columns * blocks], steps),
      zeros: plainTensor("u8", [columns * Math.ceil(blocks / 2)], bytes(columns * Math.ceil(blocks / 2))),
    },
  });
}

/** Rows quantized as they come, then MatMulInteger with int8 weights per column. */
export function integerLinear({ rows, depth, columns }: LinearSize): Uint8Array<ArrayBuffer> {
  const random = uniform(3);
  const codes = Int8Array.from({ length: depth * columns }, () => Math.floor(255 * random()) - 127);
  const steps = Float32Array.from({ length: columns }, () => (0.5 + random()) / Math.sqrt(depth) / 128);
  return onnxBytes({
    nodes: [
      { op: "DynamicQuantizeLinear", name: "rows", inputs: ["x"], outputs: ["codes", "step", "zero"] },
      { op: "MatMulInteger", name: "linear", inputs: ["codes", "w", "zero"], outputs: ["sums"] },
      { op: "Cast", name: "real", inputs: ["sums"], outputs: ["real"], attributes: { to: 1 } },
      { op: "Mul", name: "steps", inputs: ["step", "w_steps"], outputs: ["steps"] },
      { op: "Mul", name: "scale", inputs: ["real", "steps"], outputs: ["y"] },
    ],
    inputs: [{ name: "x", shape: [rows, depth] }],
    outputs: [{ name: "y", shape: [rows, columns] }],
    initializers: {
      w: plainTensor("i8", [depth, columns], codes),
      w_steps: floatTensor([columns], steps),
    },
  });
}
