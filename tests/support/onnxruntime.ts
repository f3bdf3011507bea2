/** Reference outputs by onnxruntime-node. */

import ort from "onnxruntime-node";
import { fromBytes } from "../../compiler/numeric/element.ts";
import { type PlainTensor, plainTensor, type Tensor } from "../../compiler/ir/tensor.ts";

const elements = {
  float32: "f32",
  int64: "i64",
  int32: "i32",
  uint8: "u8",
  int8: "i8",
  bool: "bool",
  float64: "f64",
} as const;
const types = {
  f32: "float32",
  i64: "int64",
  i32: "int32",
  u8: "uint8",
  i8: "int8",
  bool: "bool",
  f64: "float64",
} as const;

function isSupported<T extends object>(table: T, key: PropertyKey): key is keyof T {
  return key in table;
}

function toRuntime(tensor: Tensor): ort.Tensor {
  if (tensor.kind !== "plain" || !isSupported(types, tensor.element)) {
    throw new Error("The oracle takes plain tensors only");
  }
  return new ort.Tensor(types[tensor.element], tensor.data as Float32Array, [...tensor.shape]);
}

function fromRuntime(tensor: ort.Tensor): PlainTensor {
  if (!isSupported(elements, tensor.type) || !ArrayBuffer.isView(tensor.data)) {
    throw new Error(`The oracle returned ${tensor.type}`);
  }
  const { buffer, byteOffset, byteLength } = tensor.data;
  const element = elements[tensor.type];
  return plainTensor(element, [...tensor.dims], fromBytes(element, new Uint8Array(buffer, byteOffset, byteLength)));
}

/** Runs a model (its file or its bytes) on each sample; one record of outputs per sample, by the model's output names. */
export async function runOnnxRuntime(
  model: string | Uint8Array,
  samples: readonly Readonly<Record<string, Tensor>>[],
): Promise<readonly Readonly<Record<string, PlainTensor>>[]> {
  const options = { logSeverityLevel: 3 } as const;
  const session = typeof model === "string"
    ? await ort.InferenceSession.create(model, options)
    : await ort.InferenceSession.create(model, options);
  const results: Record<string, PlainTensor>[] = [];
  for (const sample of samples) {
    const feeds = Object.fromEntries(Object.entries(sample).map(([name, tensor]) => [name, toRuntime(tensor)]));
    const outputs = await session.run(feeds);
    results.push(Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, fromRuntime(tensor)])));
  }
  await session.release();
  return results;
}
