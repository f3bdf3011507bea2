/** Imports a layers model: every call of every layer in order of need. */

import { type Diagnostic, DiagnosticError, errorDiagnostic, fail } from "../../../diagnostics.ts";
import type { ElementType } from "../../../numeric/element.ts";
import type { Graph } from "../../../ir/graph.ts";
import type { ValueName } from "../../../ir/node.ts";
import { TypeFault } from "../../../ir/type_rules.ts";
import { tensorType } from "../../../ir/types.ts";
import { withoutDeadNodes } from "../../onnx/dead_nodes.ts";
import { FoldingBuilder } from "../../onnx/folding_builder.ts";
import { shown, suggestion } from "../../fields.ts";
import type { ImportOptions } from "../../model.ts";
import { evaluateConstants } from "../constants.ts";
import { dependencyOrder } from "../order.ts";
import { AxisBinder } from "../symbols.ts";
import type { TfWeight } from "../weights.ts";
import { importLayer, layerTable } from "./layer_table.ts";
import type { LayersModel, LayerSpec, TensorReference } from "./model.ts";
import { type LayerWeights, layerWeights } from "./weights.ts";

/** The model as a graph at float level. Throws a DiagnosticError that lists unknown layers first, then the first faults. */
export function importLayersModel(
  model: LayersModel,
  weights: ReadonlyMap<string, TfWeight>,
  options: ImportOptions,
): Graph {
  checkClasses(model);
  const builder = new FoldingBuilder(model.name, evaluateConstants);
  const diagnostics: Diagnostic[] = [];
  const binder = new AxisBinder(builder, options, diagnostics);
  const values = model.inputs.map(({ layer }) => inputValue(builder, binder, layerOf(model, layer)));
  binder.reportUnused();
  if (diagnostics.length > 0) throw new DiagnosticError(diagnostics);
  const outputs = importCalls(builder, model, layerWeights(weights, builder.constants), values, options);
  const isNamed = new Set(model.outputs.map(({ layer }) => layer)).size === model.outputs.length;
  outputs.forEach((value, index) => {
    const { layer } = model.outputs[index];
    builder.output(isNamed ? layer : `${layer}_${index}`, value);
  });
  return withoutDeadNodes(builder.finish());
}

function checkClasses(model: LayersModel): void {
  const unknown: Diagnostic[] = [];
  const visit = (current: LayersModel) => {
    for (const layer of current.layers.values()) {
      if (layer.model !== undefined) visit(layer.model);
      else if (layer.className !== "InputLayer" && !Object.hasOwn(layerTable, layer.className)) {
        unknown.push(errorDiagnostic("Q0466", `Layer class "${layer.className}" is not supported`, {
          node: layer.name,
          help: suggestion(layer.className, Object.keys(layerTable)),
        }));
      }
    }
  };
  visit(model);
  if (unknown.length > 0) throw new DiagnosticError(unknown);
}

function layerOf(model: LayersModel, name: string): LayerSpec {
  return model.layers.get(name) ?? fail("Q0462", `There is no layer "${name}"`, { node: name });
}

const elements: Readonly<Record<string, ElementType>> = { float32: "f32", int32: "i32", bool: "bool" };

function inputValue(builder: FoldingBuilder, binder: AxisBinder, layer: LayerSpec): ValueName {
  const { dtype = "float32" } = layer.config;
  const shape = layer.config.batch_shape ?? layer.config.batch_input_shape;
  if (!Array.isArray(shape) || shape.length > 8) {
    return fail("Q0464", `Input "${layer.name}" has the shape ${shown(shape)}`, { node: layer.name });
  }
  const element = typeof dtype === "string" && Object.hasOwn(elements, dtype) ? elements[dtype] : undefined;
  if (element === undefined) return fail("Q0464", `Input "${layer.name}" is ${shown(dtype)}`, { node: layer.name });
  const extents = shape.map((extent: unknown, axis) => {
    if (extent === null) return binder.extent(layer.name, axis);
    if (typeof extent === "number" && Number.isSafeInteger(extent) && extent > 0) return extent;
    return fail("Q0464", `Input "${layer.name}" has the extent ${shown(extent)}`, { node: layer.name });
  });
  return builder.input(layer.name, tensorType(element, extents));
}

/** Values of the model's outputs, given those of its inputs. */
function importCalls(
  builder: FoldingBuilder,
  model: LayersModel,
  weights: LayerWeights,
  inputs: readonly ValueName[],
  options: ImportOptions,
): readonly ValueName[] {
  const values = new Map(model.inputs.map((reference, index) => [callKey(reference), inputs[index]]));
  const ordered = dependencyOrder(
    model.outputs.map(callKey),
    (key) => (values.has(key) ? [] : operandsOf(model, key).map(callKey)),
  );
  if (!ordered.ok) return fail("Q0462", `Layer "${ordered.cycle}" depends on itself`, { node: ordered.cycle });
  ordered.order.forEach((key, index) => {
    if (values.has(key)) return;
    const layer = layerOf(model, parseKey(key).layer);
    const operands = operandsOf(model, key).map((reference) => valueAt(values, reference));
    values.set(key, importOne(builder, layer, weights, operands, options));
    options.onProgress?.({ stage: "Importing layers", done: index + 1, total: ordered.order.length });
  });
  return model.outputs.map((reference) => valueAt(values, reference));
}

function callKey({ layer, call }: { readonly layer: string; readonly call: number }): string {
  return `${call}:${layer}`;
}

function parseKey(key: string): { readonly layer: string; readonly call: number } {
  const colon = key.indexOf(":");
  return { layer: key.slice(colon + 1), call: Number(key.slice(0, colon)) };
}

function valueAt(values: ReadonlyMap<string, ValueName>, reference: TensorReference): ValueName {
  const value = values.get(callKey(reference));
  if (value !== undefined && reference.output === 0) return value;
  return fail("Q0462", `Layer "${reference.layer}" has no output ${reference.output}`, { node: reference.layer });
}

function operandsOf(model: LayersModel, key: string): readonly TensorReference[] {
  const { layer, call } = parseKey(key);
  const spec = layerOf(model, layer);
  const operands = spec.calls[call];
  if (operands === undefined) return fail("Q0462", `Layer "${layer}" has no call ${call}`, { node: layer });
  if (operands.length === 0) return fail("Q0462", `Layer "${layer}" has no operands and is no input`, { node: layer });
  return operands;
}

function importOne(
  builder: FoldingBuilder,
  layer: LayerSpec,
  weights: LayerWeights,
  operands: readonly ValueName[],
  options: ImportOptions,
): ValueName {
  builder.origin = [layer.name];
  try {
    if (layer.model === undefined) return importLayer(builder, layer, weights, operands);
    if (layer.model.inputs.length !== operands.length || layer.model.outputs.length !== 1) {
      return fail("Q0462", `Nested model "${layer.name}" does not fit its call`, { node: layer.name });
    }
    return importCalls(builder, layer.model, weights, operands, options)[0];
  } catch (error) {
    if (!(error instanceof TypeFault)) throw error;
    return fail("Q0467", `${layer.className} "${layer.name}": ${error.message}`, { node: layer.name });
  }
}
