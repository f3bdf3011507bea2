/** Runs a lowered program in this process, through the runtime that artifacts ship. */

import { InvariantError } from "../../compiler/diagnostics.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { typeOf } from "../../compiler/ir/graph.ts";
import {
  codesElement,
  type PlainTensor,
  plainTensor,
  type QuantizedTensor,
  type Tensor,
  tensorParts,
  type TensorRole,
} from "../../compiler/ir/tensor.ts";
import { type ElementStorage, type ElementType, fromBytes } from "../../compiler/numeric/element.ts";
import type { InputTensor, Model, OutputTensor } from "../../runtime/wasm/api.ts";
import { createModel } from "../../runtime/wasm/model.ts";
import type { WasmVariant } from "./kernel.ts";
import { assemble, type MathLibrary, moduleText } from "./module.ts";
import type { WasmProgram } from "./program.ts";
import { modelSpec } from "./spec.ts";

/** A program in memory: call `run` again to go on from its states. */
export interface RunningProgram {
  readonly model: Model;
  readonly moduleBytes: number;
  run(inputs: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
}

/** Assembles and instantiates a program. */
export async function startProgram(
  program: WasmProgram,
  variant: WasmVariant,
  math: MathLibrary,
): Promise<RunningProgram> {
  const bytes = assemble(moduleText(program, variant, math), variant);
  const noTest = () => Promise.reject(new InvariantError("A program in memory has no self test"));
  const model = await instantiate(program, bytes, variant, noTest);
  return {
    model,
    moduleBytes: bytes.byteLength,
    run: async (inputs) => gatherOutputs(program.graph, await model.run(portInputs(inputs))),
  };
}

/** Tensors by input as the arrays that a runtime takes. */
export function portInputs(inputs: Readonly<Record<string, Tensor>>): Record<string, InputTensor> {
  return Object.fromEntries(Object.entries(inputs).flatMap(([name, tensor]) => portsOf(name, tensor)));
}

/** Tensors by output from the arrays that a runtime gives. */
export function gatherOutputs(graph: Graph, results: Readonly<Record<string, OutputTensor>>): Record<string, Tensor> {
  return Object.fromEntries(graph.outputs.map(({ name, value }) => [name, gather(graph, value, name, results)]));
}

/** Makes a model of assembled kernels in this process, with a copy of the weights. */
export async function instantiate(
  program: WasmProgram,
  bytes: Uint8Array<ArrayBuffer>,
  variant: WasmVariant,
  readSelfTest: () => Promise<Uint8Array>,
): Promise<Model> {
  const memory = new WebAssembly.Memory({ initial: program.memory.pages });
  for (const { offset, bytes: weights } of program.weights) {
    new Uint8Array(memory.buffer, program.memory.weightsBase + offset, weights.byteLength).set(weights);
  }
  const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } });
  const files = { weights: "", weightsSha256: "", simd128: "", relaxed: "", selfTest: "" };
  return createModel(modelSpec(program, files), { exports: instance.exports, memory, variant, readSelfTest });
}

function portName(name: string, part: TensorRole): string {
  return part === "data" || part === "codes" ? name : `${name}.${part}`;
}

function portsOf(name: string, tensor: Tensor): [string, InputTensor][] {
  return tensorParts(tensor).map((part) => [
    portName(name, part.role),
    { data: part.tensor.data, shape: part.tensor.shape },
  ]);
}

/** The output tensor from its parts. */
function gather(
  graph: Graph,
  value: string,
  name: string,
  results: Readonly<Record<string, OutputTensor>>,
): Tensor {
  const type = typeOf(graph, value);
  const part = <E extends ElementType>(role: TensorRole, element: E): PlainTensor<E> => {
    const { data, shape } = results[portName(name, role)];
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const storage: ElementStorage[E] = fromBytes(element, bytes);
    return plainTensor(element, shape, storage);
  };
  if (type.encoding.kind === "plain") return part("data", type.element);
  const { scheme } = type.encoding;
  const codes = results[name];
  const tensor: QuantizedTensor = {
    kind: "quantized",
    scheme,
    element: type.element,
    shape: codes.shape,
    codes: part("codes", codesElement(scheme)),
    steps: part("steps", "f32"),
    ...(scheme.zeroPoint ? { zeros: part("zeros", "i32") } : {}),
    ...(scheme.offset ? { offsets: part("offsets", "f32") } : {}),
    ...(scheme.outer ? { outerSteps: part("outerSteps", "f32") } : {}),
  };
  return tensor;
}
