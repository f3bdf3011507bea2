/** Imports one node test and compares what a runner makes of it with what is expected. */

import type { Diagnostic, Outcome } from "../../compiler/diagnostics.ts";
import { formatDiagnostic } from "../../compiler/diagnostics.ts";
import { decodeModel, decodeTensorProto } from "../../compiler/import/onnx/decode.ts";
import { importOnnxBytes } from "../../compiler/import/onnx/import_onnx.ts";
import { dataTypes, type ValueInfoProto } from "../../compiler/import/onnx/proto.ts";
import { loadTensor } from "../../compiler/import/onnx/tensor_data.ts";
import type { ImportedModel } from "../../compiler/import/model.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { isFloat } from "../../compiler/numeric/element.ts";
import { verify } from "../../compiler/ir/verify.ts";
import { sizeOf, type Tensor } from "../../compiler/ir/tensor.ts";
import { difference, onnxTolerance, toleranceOf } from "./compare.ts";
import { hasShortDigits } from "./ignored.ts";
import type { DataSet, NodeCase } from "./node_case.ts";
import type { Runner } from "./runner.ts";

export type CaseResult = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** A data set as tensors by name, and the graph to run them on. */
export interface PreparedCase {
  readonly graph: Graph;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly outputs: readonly { readonly name: string; readonly tensor: Tensor }[];
}

/** Inputs of at most this many entries may be shapes, axes, scales and the like. */
const smallInput = 64;

/**
 * What to bind as constants, tried in order until the import succeeds: nothing; small integer vectors and scalars
 * (shapes, axes, counts); small vectors and scalars of any element (scales).
 */
const bindable: readonly ((tensor: Tensor) => boolean)[] = [
  () => false,
  (tensor) => !isFloat(tensor.element) && tensor.shape.length <= 1 && sizeOf(tensor.shape) <= smallInput,
  (tensor) => tensor.shape.length <= 1 && sizeOf(tensor.shape) <= smallInput,
];

function readTensor(bytes: Uint8Array, name: string): Tensor {
  const decoded = decodeTensorProto(bytes);
  if (!decoded.ok) throw new Error(decoded.diagnostics.map(formatDiagnostic).join("\n"));
  return loadTensor(decoded.value, name).tensor;
}

/**
 * A tensor in the element that the model declares: data sets of old ONNX versions hold bfloat16 as the uint16 of its bits.
 */
function asDeclared(tensor: Tensor, info: ValueInfoProto): Tensor {
  if (tensor.kind !== "plain" || tensor.element !== "u16" || info.elementType !== dataTypes.bfloat16) return tensor;
  return { ...tensor, element: "bf16" };
}

/** Imports the model of a test for one data set; throws an Error that says why it cannot. */
export function prepareCase(nodeCase: NodeCase, dataSet: DataSet): PreparedCase {
  const decoded = decodeModel(nodeCase.model);
  if (!decoded.ok) throw new Error(decoded.diagnostics.map(formatDiagnostic).join("\n"));
  const graph = decoded.value.graph;
  if (graph === undefined) throw new Error("the model has no graph");
  const initialized = new Set(graph.initializers.map(({ name }) => name));
  const infos = graph.inputs.filter(({ name }) => !initialized.has(name));
  const read = (bytes: Uint8Array, info: ValueInfoProto) => asDeclared(readTensor(bytes, info.name), info);
  const inputs = new Map(dataSet.inputs.map((bytes, index) => [infos[index].name, read(bytes, infos[index])]));
  const outputs = dataSet.outputs.map((bytes, index) => {
    const info = graph.outputs[index];
    return { name: info.name, tensor: read(bytes, info) };
  });
  const { imported, constants } = importBinding(nodeCase.model, inputs, infos);
  const faults = verify(imported.graph).filter(({ severity }) => severity === "error");
  if (faults.length > 0) throw new Error(faults.map(formatDiagnostic).join("\n"));
  const running = [...inputs].filter(([name]) => !Object.hasOwn(constants, name));
  return { graph: imported.graph, inputs: Object.fromEntries(running), outputs };
}

function importBinding(
  model: Uint8Array,
  inputs: ReadonlyMap<string, Tensor>,
  infos: readonly ValueInfoProto[],
): { readonly imported: ImportedModel; readonly constants: Readonly<Record<string, Tensor>> } {
  let diagnostics: readonly Diagnostic[] = [];
  const misfits = new Set(infos.filter((info) => !fits(inputs.get(info.name), info)).map(({ name }) => name));
  const bind = openAxes(infos, inputs);
  for (const isBound of bindable) {
    const constants = Object.fromEntries(
      [...inputs].filter(([name, tensor]) => misfits.has(name) || isBound(tensor)),
    );
    const outcome: Outcome<ImportedModel> = importOnnxBytes(model, { bind, constants });
    if (outcome.ok) return { imported: outcome.value, constants };
    diagnostics = outcome.diagnostics.filter(({ severity }) => severity === "error");
  }
  throw new Error(diagnostics.map(formatDiagnostic).join("\n"));
}

/**
 * Whether a tensor has the shape that its input declares. The CastLike tests declare the shape of the first input for the
 * second, which is one number: a constant takes its own shape.
 */
function fits(tensor: Tensor | undefined, { shape }: ValueInfoProto): boolean {
  if (tensor === undefined || shape === undefined) return true;
  return shape.length === tensor.shape.length &&
    shape.every((dimension, axis) =>
      dimension === undefined || !("value" in dimension) || Number(dimension.value) === tensor.shape[axis]
    );
}

/** The axes that the model leaves open, with the extents of the data. */
function openAxes(infos: readonly ValueInfoProto[], inputs: ReadonlyMap<string, Tensor>): Record<string, number> {
  const open = infos.flatMap(({ name, shape }) =>
    (shape ?? []).flatMap((dimension, axis) => {
      const tensor = inputs.get(name);
      const isOpen = tensor !== undefined && (dimension === undefined || !("value" in dimension));
      return isOpen ? [[`${name}.${axis}`, tensor.shape[axis]] as const] : [];
    })
  );
  return Object.fromEntries(open);
}

/** Runs every data set of a test. */
export async function runCase(nodeCase: NodeCase, runner: Runner): Promise<CaseResult> {
  if (nodeCase.dataSets.length === 0) return { ok: false, reason: "it has no data sets" };
  try {
    for (const dataSet of nodeCase.dataSets) {
      const { graph, inputs, outputs } = prepareCase(nodeCase, dataSet);
      if (outputs.length === 0) return { ok: false, reason: "it has no expected outputs" };
      const results = await runner.run(graph, inputs);
      const terms = Math.max(0, ...dataSet.inputs.map((bytes) => sizeOf(readTensor(bytes, nodeCase.name).shape)));
      for (const { name, tensor } of outputs) {
        if (tensor.kind !== "plain") return { ok: false, reason: `output "${name}" is expected quantized` };
        const tolerance = hasShortDigits(nodeCase.name) ? onnxTolerance : toleranceOf(tensor.element, terms);
        const fault = difference(results[name], tensor, tolerance);
        if (fault !== undefined) return { ok: false, reason: `output "${name}" ${fault}` };
      }
    }
    return { ok: true };
  } catch (error) {
    return { ok: false, reason: error instanceof Error ? error.message : String(error) };
  }
}
