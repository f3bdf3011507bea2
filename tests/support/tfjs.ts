/** Runs TensorFlow.js models with its own library, as the reference for imports. */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import { loadGraphModel } from "@tensorflow/tfjs-converter";
import { loadLayersModel } from "@tensorflow/tfjs-layers";

function artifacts(path: string): tf.io.ModelArtifacts {
  const json = JSON.parse(readFileSync(path, "utf8"));
  const groups: { paths: string[]; weights: tf.io.WeightsManifestEntry[] }[] = json.weightsManifest;
  const shards = groups.flatMap((group) => group.paths.map((file) => readFileSync(join(dirname(path), file))));
  const weights = new Uint8Array(shards.reduce((sum, shard) => sum + shard.length, 0));
  let offset = 0;
  for (const shard of shards) {
    weights.set(shard, offset);
    offset += shard.length;
  }
  return {
    modelTopology: json.modelTopology,
    format: json.format,
    signature: json.signature,
    weightSpecs: groups.flatMap((group) => group.weights),
    weightData: weights.buffer,
  };
}

/** A model in memory: the object of model.json and the bytes of its only weight file. */
export interface ModelInMemory {
  readonly json: Readonly<Record<string, unknown>>;
  readonly weights: Uint8Array<ArrayBuffer>;
}

/** An input as the library and the evaluator take it. */
export interface NamedInput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** The only output of a model in memory, by the library. */
export async function runInMemory(model: ModelInMemory, inputs: readonly NamedInput[]): Promise<Float32Array> {
  await tf.setBackend("cpu");
  const { modelTopology, format, weightsManifest } = model.json as {
    modelTopology: object;
    format: string;
    weightsManifest: { weights: tf.io.WeightsManifestEntry[] }[];
  };
  const load = () =>
    Promise.resolve({
      modelTopology,
      format,
      weightSpecs: weightsManifest.flatMap((group) => group.weights),
      weightData: model.weights.slice().buffer,
    });
  const tensors = inputs.map(({ data, shape }) =>
    tf.tensor(data, [...shape], data instanceof Int32Array ? "int32" : "float32")
  );
  const result = format === "graph-model"
    ? (await loadGraphModel({ load })).execute(
      Object.fromEntries(inputs.map(({ name }, index) => [name, tensors[index]])),
      "output",
    )
    : (await loadLayersModel({ load })).predict(tensors[0]);
  return numbers(Array.isArray(result) ? result : [result])[0];
}

/** Outputs of a layers model by the library, on its cpu backend. */
export async function runLayersModel(
  path: string,
  input: Float32Array,
  shape: readonly number[],
): Promise<Float32Array[]> {
  await tf.setBackend("cpu");
  const model = await loadLayersModel({ load: () => Promise.resolve(artifacts(path)) });
  const result = model.predict(tf.tensor(input, [...shape]));
  return numbers(Array.isArray(result) ? result : [result]);
}

/** Named outputs of a graph model by the library, on its cpu backend. */
export async function runGraphModel(
  path: string,
  input: Float32Array,
  shape: readonly number[],
  nodes: readonly string[],
): Promise<Float32Array[]> {
  await tf.setBackend("cpu");
  const model = await loadGraphModel({ load: () => Promise.resolve(artifacts(path)) });
  const result = model.execute(tf.tensor(input, [...shape]), [...nodes]);
  return numbers(Array.isArray(result) ? result : [result]);
}

function numbers(tensors: readonly tf.Tensor[]): Float32Array[] {
  return tensors.map((tensor) => Float32Array.from(tensor.dataSync()));
}

/** FarmHash Fingerprint64 as TensorFlow.js computes it. */
export function referenceFingerprint(bytes: Uint8Array): bigint {
  return BigInt(tf.util.fingerPrint64(bytes).toUnsigned().toString());
}
