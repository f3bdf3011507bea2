/** The layers of a Keras model description and the calls between them. */

import { fail } from "../../../diagnostics.ts";
import { isObject, type JsonObject, shown } from "../../fields.ts";

/** One output of one call of a layer. */
export interface TensorReference {
  readonly layer: string;
  readonly call: number;
  readonly output: number;
}

export interface LayerSpec {
  readonly name: string;
  readonly className: string;
  readonly config: JsonObject;
  /** Operands of every call. An input layer has one call without operands. */
  readonly calls: readonly (readonly TensorReference[])[];
  /** Of a nested model: its own layers. */
  readonly model?: LayersModel;
}

export interface LayersModel {
  readonly name: string;
  readonly layers: ReadonlyMap<string, LayerSpec>;
  readonly inputs: readonly TensorReference[];
  readonly outputs: readonly TensorReference[];
}

const modelClasses = new Set(["Model", "Functional", "Sequential"]);
const maximumNesting = 16;

/** Reads the topology of a layers model. Throws a DiagnosticError (Q0462) at the first fault. */
export function readLayersModel(topology: JsonObject): LayersModel {
  const outer = isObject(topology.model_config) ? topology.model_config : topology;
  const { class_name: className, config } = outer;
  if (typeof className !== "string" || !modelClasses.has(className)) {
    return wrong("modelTopology", `model class ${shown(className)} is not known`);
  }
  return readModel(className, config, "modelTopology", 0);
}

function wrong(place: string, message: string): never {
  return fail("Q0462", `${place}: ${message}`, { node: place });
}

function readModel(className: string, config: unknown, place: string, depth: number): LayersModel {
  if (depth > maximumNesting) return wrong(place, `models are nested more than ${maximumNesting} deep`);
  const fields: JsonObject = Array.isArray(config) ? { layers: config } : isObject(config) ? config : {};
  if (!Array.isArray(fields.layers)) return wrong(place, "has no list of layers");
  const name = typeof fields.name === "string" ? fields.name : "model";
  const list = fields.layers.map((layer: unknown, index) => readLayer(layer, `${place} layer ${index}`, depth));
  const layers = new Map<string, LayerSpec>();
  for (const layer of list) {
    if (layers.has(layer.name)) return wrong(layer.name, "two layers have this name");
    layers.set(layer.name, layer);
  }
  if (className === "Sequential") return sequential(name, list, place);
  return {
    name,
    layers,
    inputs: readReferences(fields.input_layers, `${place} input_layers`),
    outputs: readReferences(fields.output_layers, `${place} output_layers`),
  };
}

function readLayer(value: unknown, place: string, depth: number): LayerSpec {
  if (
    !isObject(value) || typeof value.class_name !== "string" || !isObject(value.config) && !Array.isArray(value.config)
  ) {
    return wrong(place, `${shown(value)} is no layer`);
  }
  const config = isObject(value.config) ? value.config : { layers: value.config };
  const name = typeof value.name === "string" ? value.name : config.name;
  if (typeof name !== "string") return wrong(place, "has no name");
  const nested = modelClasses.has(value.class_name)
    ? { model: readModel(value.class_name, value.config, name, depth + 1) }
    : {};
  return { name, className: value.class_name, config, calls: readCalls(value.inbound_nodes, name), ...nested };
}

/** Every call is a list of [layer, call, output, arguments?]; a layer without calls is an input. */
function readCalls(value: unknown, name: string): readonly (readonly TensorReference[])[] {
  if (value === undefined || Array.isArray(value) && value.length === 0) return [[]];
  if (!Array.isArray(value)) return wrong(name, `inbound_nodes is ${shown(value)}, wants a list`);
  return value.map((call: unknown) => readReferences(call, name));
}

/** A list of references; a single reference may stand without its list. */
function readReferences(value: unknown, place: string): readonly TensorReference[] {
  if (!Array.isArray(value)) return wrong(place, `${shown(value)} is no list of tensors`);
  const list: readonly unknown[] = typeof value[0] === "string" ? [value] : value;
  return list.map((entry) => {
    if (!Array.isArray(entry)) return wrong(place, `${shown(entry)} is no reference to a tensor`);
    const [layer, call = 0, output = 0, keywords] = entry;
    if (typeof layer !== "string" || !Number.isSafeInteger(call) || !Number.isSafeInteger(output)) {
      return wrong(place, `${shown(entry)} is no reference to a tensor`);
    }
    const hasArguments = isObject(keywords) &&
      Object.entries(keywords).some(([key, setting]) => key !== "training" && setting !== null);
    if (hasArguments) return wrong(place, `call arguments ${shown(keywords)} are not supported`);
    return { layer, call, output };
  });
}

/** Layers one after another; without an input layer the first one's batch_input_shape makes one. */
function sequential(name: string, list: readonly LayerSpec[], place: string): LayersModel {
  if (list.length === 0) return wrong(place, "has no layers");
  const first = list[0];
  const inputName = first.className === "InputLayer" ? first.name : `${first.name}_input`;
  const inputLayer: LayerSpec = {
    name: inputName,
    className: "InputLayer",
    config: { batch_input_shape: inputShape(first), dtype: first.config.dtype ?? "float32" },
    calls: [[]],
  };
  const rest = first.className === "InputLayer" ? list.slice(1) : list;
  const chained = rest.map((layer, index): LayerSpec => {
    const before = index === 0 ? inputName : rest[index - 1].name;
    return { ...layer, calls: [[{ layer: before, call: 0, output: 0 }]] };
  });
  const all = [inputLayer, ...chained];
  return {
    name,
    layers: new Map(all.map((layer) => [layer.name, layer])),
    inputs: [{ layer: inputName, call: 0, output: 0 }],
    outputs: [{ layer: all[all.length - 1].name, call: 0, output: 0 }],
  };
}

/** The batch_input_shape of a layer, or of the first layer of a nested model. */
function inputShape(layer: LayerSpec): unknown {
  if (layer.model === undefined) return layer.config.batch_input_shape;
  const input = layer.model.layers.get(layer.model.inputs[0]?.layer ?? "");
  return input?.config.batch_input_shape;
}
