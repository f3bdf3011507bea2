/** ONNX models of one node for tests, and what Quern makes of them compared with onnxruntime. */

import { equal } from "node:assert/strict";
import { formatDiagnostic } from "../../compiler/diagnostics.ts";
import { importOnnxBytes } from "../../compiler/import/onnx/import_onnx.ts";
import type { Binding } from "../../compiler/import/model.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor, type PlainTensor, plainTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { type AttributeValue, onnxBytes } from "./onnx_builder.ts";
import { runOnnxRuntime } from "./onnxruntime.ts";
import { normalArray, uniform } from "./random.ts";

/** A model of one node. Inputs are given in order; `undefined` is an absent optional one. */
export interface NodeModel {
  readonly op: string;
  readonly opset: number;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  readonly inputs: readonly (PlainTensor | undefined)[];
  /** Indices of the inputs that are initializers of the model (shapes, axes, weights). */
  readonly constants?: readonly number[];
  /** Declared shapes of inputs by index, where some of their axes have names. */
  readonly dimensions?: Readonly<Record<number, readonly (number | string)[]>>;
  /** Outputs that the node names; 1 when absent. `""` entries stand for unused ones. */
  readonly outputs?: readonly string[];
}

function inputName(index: number): string {
  return `x${index}`;
}

/** The serialized model. */
export function encodeNodeModel(model: NodeModel): Uint8Array {
  const { op, opset, attributes, inputs, constants = [], dimensions = {}, outputs = ["y0"] } = model;
  const present = inputs.flatMap((tensor, index) => (tensor === undefined ? [] : [{ tensor, index }]));
  return onnxBytes({
    opset,
    nodes: [{
      op,
      name: op,
      attributes,
      inputs: inputs.map((tensor, index) => (tensor === undefined ? "" : inputName(index))),
      outputs,
    }],
    inputs: present.filter(({ index }) => !constants.includes(index)).map(({ tensor, index }) => ({
      name: inputName(index),
      element: tensor.element,
      shape: dimensions[index] ?? tensor.shape,
    })),
    initializers: Object.fromEntries(
      present.filter(({ index }) => constants.includes(index)).map(({ tensor, index }) => [inputName(index), tensor]),
    ),
    outputs: outputs.filter((name) => name !== ""),
  });
}

/** The graph of a model; its diagnostics as an error when it cannot be imported. */
export function importNodeModel(model: NodeModel, bind: Readonly<Record<string, Binding>> = {}): Graph {
  const outcome = importOnnxBytes(encodeNodeModel(model), { bind });
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
export async function assertLikeRuntime(
  model: NodeModel,
  bound: Bound,
  bind: Readonly<Record<string, Binding>> = {},
): Promise<void> {
  const inputs = runtimeInputs(model);
  const graph = importNodeModel(model, bind);
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
