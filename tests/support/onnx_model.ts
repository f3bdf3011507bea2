/** Builds ONNX models of one node for tests, and compares what Quern makes of them with onnxruntime. */

import { equal } from "node:assert/strict";
import protobuf from "onnx-proto";
import { formatDiagnostic } from "../../compiler/diagnostics.ts";
import { importOnnxBytes } from "../../compiler/import/onnx/import_onnx.ts";
import { dataTypes } from "../../compiler/import/onnx/proto.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor, type PlainTensor, plainTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { bytesOf, type ElementType } from "../../compiler/numeric/element.ts";
import { runOnnxRuntime } from "./onnxruntime.ts";
import { normalArray, uniform } from "./random.ts";

const { onnx } = protobuf;

export type AttributeValue = number | string | readonly number[] | readonly string[] | { readonly float: number } | {
  readonly floats: readonly number[];
};

/** A model of one node. Inputs are given in order; `undefined` is an absent optional one. */
export interface NodeModel {
  readonly op: string;
  readonly opset: number;
  readonly domain?: string;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  readonly inputs: readonly (PlainTensor | undefined)[];
  /** Indices of the inputs that are initializers of the model (shapes, axes, weights). */
  readonly constants?: readonly number[];
  /** Outputs that the node names; 1 when absent. `""` entries stand for unused ones. */
  readonly outputs?: readonly string[];
}

const typeCodes: { readonly [E in ElementType]: number } = {
  bool: dataTypes.bool,
  u8: dataTypes.uint8,
  i8: dataTypes.int8,
  u16: dataTypes.uint16,
  i16: dataTypes.int16,
  u32: dataTypes.uint32,
  i32: dataTypes.int32,
  u64: dataTypes.uint64,
  i64: dataTypes.int64,
  f16: dataTypes.float16,
  bf16: dataTypes.bfloat16,
  f32: dataTypes.float,
  f64: dataTypes.double,
};

function attributeProto(name: string, value: AttributeValue) {
  const { AttributeType } = onnx.AttributeProto;
  if (typeof value === "number") return { name, type: AttributeType.INT, i: value };
  if (typeof value === "string") return { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) };
  if ("float" in value) return { name, type: AttributeType.FLOAT, f: value.float };
  if ("floats" in value) return { name, type: AttributeType.FLOATS, floats: [...value.floats] };
  const texts = value.filter((entry) => typeof entry === "string");
  if (texts.length > 0) {
    return { name, type: AttributeType.STRINGS, strings: texts.map((entry) => new TextEncoder().encode(entry)) };
  }
  return { name, type: AttributeType.INTS, ints: value.map(Number) };
}

function inputName(index: number): string {
  return `x${index}`;
}

/** The serialized model. */
export function encodeNodeModel(model: NodeModel): Uint8Array {
  const { op, opset, domain = "", attributes = {}, inputs, constants = [], outputs = ["y0"] } = model;
  const present = inputs.flatMap((tensor, index) => (tensor === undefined ? [] : [{ tensor, index }]));
  const proto = onnx.ModelProto.create({
    irVersion: 8,
    opsetImport: [{ domain: "", version: opset }, ...(domain === "" ? [] : [{ domain, version: 1 }])],
    graph: {
      name: op,
      node: [{
        opType: op,
        domain,
        name: op,
        input: inputs.map((tensor, index) => (tensor === undefined ? "" : inputName(index))),
        output: [...outputs],
        attribute: Object.entries(attributes).map(([name, value]) => attributeProto(name, value)),
      }],
      input: present.filter(({ index }) => !constants.includes(index)).map(({ tensor, index }) => ({
        name: inputName(index),
        type: {
          tensorType: {
            elemType: typeCodes[tensor.element],
            shape: { dim: tensor.shape.map((extent) => ({ dimValue: extent })) },
          },
        },
      })),
      initializer: present.filter(({ index }) => constants.includes(index)).map(({ tensor, index }) => ({
        name: inputName(index),
        dims: [...tensor.shape],
        dataType: typeCodes[tensor.element],
        rawData: bytesOf(tensor.data),
      })),
      output: outputs.filter((name) => name !== "").map((name) => ({ name })),
    },
  });
  return onnx.ModelProto.encode(proto).finish();
}

/** The graph of a model; its diagnostics as an error when it cannot be imported. */
export function importNodeModel(model: NodeModel): Graph {
  const outcome = importOnnxBytes(encodeNodeModel(model), { bind: {} });
  if (!outcome.ok) throw new Error(outcome.diagnostics.map(formatDiagnostic).join("\n"));
  return outcome.value.graph;
}

/** The tensors that a model is run on, by name. */
export function runtimeInputs({ inputs, constants = [] }: NodeModel): Record<string, PlainTensor> {
  return Object.fromEntries(
    inputs.flatMap((tensor, index) =>
      tensor === undefined || constants.includes(index) ? [] : [[inputName(index), tensor]]
    ),
  );
}

/** |actual - expected| may be up to `absolute + relative * (largest |expected| of the output)`. */
export interface Bound {
  readonly relative: number;
  readonly absolute: number;
}

/**
 * Asserts that the evaluator's outputs are those of onnxruntime. The bound is relative to the largest entry of an output:
 * both sum the same terms in f32, in different orders. Integers and booleans must be equal.
 */
export async function assertLikeRuntime(model: NodeModel, bound: Bound): Promise<void> {
  const inputs = runtimeInputs(model);
  const graph = importNodeModel(model);
  const actual = evaluateGraph(graph, inputs).outputs;
  const [expected] = await runOnnxRuntime(encodeNodeModel(model), [inputs]);
  for (const [name, wanted] of Object.entries(expected)) {
    const got = actual[name];
    equal(got.kind, "plain");
    equal(`${got.element}[${got.shape}]`, `${wanted.element}[${wanted.shape}]`, `${model.op} ${name}`);
    if (got.kind !== "plain") continue;
    const [fault] = faults(got, wanted, bound);
    equal(fault, undefined, `${model.op} ${JSON.stringify(model.attributes ?? {})} ${name}: ${fault}`);
  }
}

function faults(got: PlainTensor, wanted: PlainTensor, { relative, absolute }: Bound): readonly string[] {
  const values = Array.from<number | bigint, number>(wanted.data, Number);
  const largest = values.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0);
  const slack = wanted.element === "f32" || wanted.element === "f64" ? absolute + relative * largest : 0;
  return values.flatMap((value, index) => {
    const found = Number(got.data[index]);
    const agrees = Object.is(found, value) || Math.abs(found - value) <= slack;
    return agrees ? [] : [`entry ${index} is ${found}, onnxruntime gives ${value}`];
  });
}

/** A normal random tensor. */
export function normalTensor(shape: readonly number[], seed: number): PlainTensor {
  return floatTensor(shape, normalArray(sizeOf(shape), seed));
}

/** A random tensor of uniform entries between two numbers. */
export function uniformTensor(shape: readonly number[], seed: number, low: number, high: number): PlainTensor {
  const next = uniform(seed);
  return floatTensor(shape, Array.from({ length: sizeOf(shape) }, () => low + (high - low) * next()));
}

export function integerTensor(shape: readonly number[], values: readonly number[]): PlainTensor {
  return plainTensor("i64", shape, BigInt64Array.from(values, BigInt));
}
