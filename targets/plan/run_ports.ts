/** Tensors of the compiler as the arrays that runtimes take and give. */

import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
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
import type { InputTensor, OutputTensor } from "../../runtime/api.ts";
import { portName } from "./borders.ts";

/** Tensors by input as the arrays that a runtime takes. */
export function portInputs(inputs: Readonly<Record<string, Tensor>>): Record<string, InputTensor> {
  return Object.fromEntries(Object.entries(inputs).flatMap(([name, tensor]) => portsOf(name, tensor)));
}

/** Tensors by output from the arrays that a runtime gives. */
export function gatherOutputs(graph: Graph, results: Readonly<Record<string, OutputTensor>>): Record<string, Tensor> {
  return Object.fromEntries(graph.outputs.map(({ name, value }) => [name, gather(graph, value, name, results)]));
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
