/**
 * A data set described by a small JSON file, for data that does not say its own shape:
 *
 *   { "inputs": { "x": { "file": "images_u8.bin", "element": "u8", "shape": [32, 32, 3], "permute": [2, 0, 1],
 *                        "scale": 0.00392156862, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2] } },
 *     "labels": { "file": "labels_u8.bin", "element": "u8" } }
 *
 * `shape` is one sample's, without the batch axis. Numbers become (x * scale - mean) / std, with one mean and std per
 * index of the last axis of `shape`; `permute` then orders the axes. Paths are relative to the JSON file. Files that
 * state their own shape (.npy, IDX) need no `element` and `shape`.
 */

import { dirname, resolve } from "node:path";
import { fail } from "../diagnostics.ts";
import { emptyTensor, type PlainTensor, plainTensor, sizeOf, stridesOf } from "../ir/tensor.ts";
import { isElementType } from "../numeric/element.ts";
import { isArrayFile, type NamedArrays, readArrays, readBytes, readIdx, readRaw } from "./arrays.ts";

interface ArrayDescription {
  readonly file: string;
  readonly element?: string;
  readonly shape?: readonly number[];
  readonly permute?: readonly number[];
  readonly scale?: number;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

export interface DescribedData {
  readonly arrays: NamedArrays;
  readonly labels?: readonly number[];
}

/** Reads a description and the files that it names. Throws DiagnosticError (Q0905). */
export function readDescription(path: string): DescribedData {
  const root = parse(path);
  if (!isRecord(root) || !isRecord(root.inputs)) return bad(path, `it has no "inputs" object`);
  const arrays = Object.entries(root.inputs).map(([name, value]) =>
    [name, readDescribed(path, `inputs.${name}`, describe(path, `inputs.${name}`, value))] as const
  );
  const labels = root.labels === undefined
    ? undefined
    : Array.from(readFile(path, "labels", describe(path, "labels", root.labels)).data, Number);
  return { arrays: Object.fromEntries(arrays), ...(labels === undefined ? {} : { labels }) };
}

function parse(path: string): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(readBytes(path)));
  } catch (error) {
    if (error instanceof SyntaxError) return bad(path, `it is not JSON: ${error.message}`);
    throw error;
  }
}

function bad(path: string, reason: string): never {
  return fail("Q0905", `Cannot read the data set description "${path}": ${reason}`, { node: path });
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function describe(path: string, place: string, value: unknown): ArrayDescription {
  if (!isRecord(value) || typeof value.file !== "string") return bad(path, `"${place}" has no "file"`);
  const { file, element, shape, permute, scale, mean, std } = value;
  if (element !== undefined && typeof element !== "string") bad(path, `"${place}.element" is not a name`);
  if (scale !== undefined && typeof scale !== "number") bad(path, `"${place}.scale" is not a number`);
  const numbers = (list: unknown, key: string): readonly number[] | undefined => {
    if (list === undefined) return undefined;
    const isNumbers = Array.isArray(list) && list.length > 0 && list.every((entry) => Number.isFinite(entry));
    return isNumbers ? list : bad(path, `"${place}.${key}" is not a list of numbers`);
  };
  return {
    file,
    ...(typeof element === "string" ? { element } : {}),
    ...(typeof scale === "number" ? { scale } : {}),
    shape: numbers(shape, "shape"),
    permute: numbers(permute, "permute"),
    mean: numbers(mean, "mean"),
    std: numbers(std, "std"),
  };
}

function readFile(path: string, place: string, { file, element, shape }: ArrayDescription): PlainTensor {
  const full = resolve(dirname(path), file);
  if (isArrayFile(full)) return Object.values(readArrays(full))[0] ?? bad(path, `"${file}" is empty`);
  if (/idx\d-ubyte$/.test(full)) return readIdx(full);
  if (element === undefined || !isElementType(element)) return bad(path, `"${place}.element" must name a number type`);
  return readRaw(full, element, shape ?? []);
}

function readDescribed(path: string, place: string, description: ArrayDescription): PlainTensor {
  const tensor = readFile(path, place, description);
  const { permute } = description;
  const scaled = normalize(tensor, description);
  if (permute === undefined) return scaled;
  const sorted = [...permute].sort((a, b) => a - b);
  if (permute.length !== tensor.shape.length - 1 || sorted.some((axis, index) => axis !== index)) {
    return bad(path, `"${place}.permute" is not an order of the ${tensor.shape.length - 1} axes of a sample`);
  }
  return transposed(scaled, [0, ...permute.map((axis) => axis + 1)]);
}

function normalize(tensor: PlainTensor, { scale, mean, std }: ArrayDescription): PlainTensor {
  if (scale === undefined && mean === undefined && std === undefined) return tensor;
  const channels = tensor.shape[tensor.shape.length - 1] ?? 1;
  const data = new Float32Array(tensor.data.length);
  for (let index = 0; index < data.length; index++) {
    const channel = index % channels;
    const centred = Number(tensor.data[index]) * (scale ?? 1) - (mean === undefined ? 0 : mean[channel % mean.length]);
    data[index] = centred / (std === undefined ? 1 : std[channel % std.length]);
  }
  return plainTensor("f32", tensor.shape, data);
}

function transposed(tensor: PlainTensor, permutation: readonly number[]): PlainTensor {
  const shape = permutation.map((axis) => tensor.shape[axis]);
  const result = emptyTensor(tensor.element, shape);
  const strides = stridesOf(tensor.shape);
  const steps = permutation.map((axis) => strides[axis]);
  const position = shape.map(() => 0);
  let source = 0;
  for (let index = 0; index < sizeOf(shape); index++) {
    result.data[index] = tensor.data[source];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      source += steps[axis];
      if (++position[axis] < shape[axis]) break;
      source -= steps[axis] * shape[axis];
      position[axis] = 0;
    }
  }
  return result;
}
