/** onnxruntime-web on one thread of this process. */

import ort from "onnxruntime-web";

/** A run of an ONNX model on fixed f32 inputs. */
export async function openOnnxRuntimeWeb(
  model: Uint8Array,
  inputs: Readonly<Record<string, { readonly data: Float32Array<ArrayBuffer>; readonly shape: readonly number[] }>>,
): Promise<() => Promise<ort.InferenceSession.OnnxValueMapType>> {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "all",
  });
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, { data, shape }]) => [name, new ort.Tensor("float32", data, [...shape])]),
  );
  return () => session.run(feeds);
}
