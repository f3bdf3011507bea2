/** model.json of TensorFlow.js: which kind of model it describes, its topology and its weights manifest. */

import { fail } from "../../diagnostics.ts";
import { isObject, type JsonObject, shown } from "../fields.ts";

export interface WeightGroup {
  /** Files whose bytes, joined in order, hold the weights one after another. */
  readonly paths: readonly string[];
  readonly weights: readonly WeightEntry[];
}

export interface WeightEntry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly quantization?: WeightQuantization;
}

/** float16: stored as halves. uint8, uint16: value = code * scale + min. */
export type WeightQuantization =
  | { readonly dtype: "float16" }
  | { readonly dtype: "uint8" | "uint16"; readonly scale: number; readonly min: number };

export interface ModelJson {
  readonly kind: "graph" | "layers";
  readonly topology: JsonObject;
  readonly groups: readonly WeightGroup[];
  /** `signature`, `userDefinedMetadata` and the like. */
  readonly root: JsonObject;
}

/** Checks the frame of a model.json. Throws a DiagnosticError (Q0460) at the first fault. */
export function readModelJson(root: JsonObject, place: string): ModelJson {
  const wrong = (message: string): never => fail("Q0460", `"${place}" ${message}`, { node: place });
  const topology = root.modelTopology;
  if (!isObject(topology)) return wrong("has no modelTopology, so it is no TensorFlow.js model");
  const kind = Array.isArray(topology.node)
    ? "graph"
    : isObject(topology.model_config) || topology.class_name !== undefined
    ? "layers"
    : wrong("holds neither a graph nor layers");
  const groups = root.weightsManifest ?? [];
  if (!Array.isArray(groups)) return wrong(`has the weightsManifest ${shown(groups)}, wants a list`);
  return { kind, topology, groups: groups.map((group) => readGroup(group, wrong)), root };
}

type Wrong = (message: string) => never;

function readGroup(group: unknown, wrong: Wrong): WeightGroup {
  if (!isObject(group) || !Array.isArray(group.paths) || !Array.isArray(group.weights)) {
    return wrong("has a weight group without paths or weights");
  }
  const paths = group.paths.map((path: unknown) => {
    // Shards lie beside model.json; anything else could read files that the model has no business with.
    const isPlain = typeof path === "string" && path !== "" && !/[\\\0]|^\/|^[a-z]+:|(^|\/)\.\.(\/|$)/i.test(path);
    return isPlain ? path : wrong(`names the weight file ${shown(path)}, wants a path below its own folder`);
  });
  return { paths, weights: group.weights.map((entry) => readEntry(entry, wrong)) };
}

function readEntry(entry: unknown, wrong: Wrong): WeightEntry {
  if (!isObject(entry) || typeof entry.name !== "string") return wrong(`has the weight ${shown(entry)} without a name`);
  const { name, shape, dtype } = entry;
  const isShape = Array.isArray(shape) && shape.length <= 8 &&
    shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0);
  if (!isShape) return wrong(`gives weight "${name}" the shape ${shown(shape)}`);
  if (typeof dtype !== "string") return wrong(`gives weight "${name}" the dtype ${shown(dtype)}`);
  const { quantization } = entry;
  if (quantization === undefined) return { name, shape, dtype };
  return { name, shape, dtype, quantization: readQuantization(quantization, name, wrong) };
}

function readQuantization(value: unknown, name: string, wrong: Wrong): WeightQuantization {
  if (isObject(value)) {
    const { dtype, scale, min } = value;
    if (dtype === "float16") return { dtype };
    const isNumber = (entry: unknown): entry is number => typeof entry === "number" && Number.isFinite(entry);
    if ((dtype === "uint8" || dtype === "uint16") && isNumber(scale) && isNumber(min)) return { dtype, scale, min };
  }
  return wrong(`gives weight "${name}" the quantization ${shown(value)}, which is not known`);
}
