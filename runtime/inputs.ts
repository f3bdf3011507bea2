/** Checks what a run is given against the model's inputs. */

import type { InputTensor } from "./api.ts";
import { arrayName, bytesPerElement, elementBytes } from "./elements.ts";
import { type GivenShape, refuse, type ShapePort, shapeText } from "./shapes.ts";

export interface Given<Port extends ShapePort> extends GivenShape {
  readonly port: Port;
  readonly bytes: Uint8Array;
}

/** The bytes of every input, in the order of the ports. Throws a TypeError that names the input that does not fit. */
export function readInputs<Port extends ShapePort>(
  spec: { readonly inputs: readonly Port[] },
  inputs: Readonly<Record<string, InputTensor>>,
): Given<Port>[] {
  const names = spec.inputs.map(({ name }) => name);
  for (const name of Object.keys(inputs)) {
    if (!names.includes(name)) throw new TypeError(`There is no input "${name}"; inputs are ${listed(names)}`);
  }
  return spec.inputs.map((port) => {
    const tensor = inputs[port.name];
    if (tensor === undefined || tensor === null) {
      refuse(port, `is missing; it wants ${port.element} ${shapeText(port.shape)}`);
    }
    const { data, shape } = ArrayBuffer.isView(tensor) ? { data: tensor, shape: undefined } : tensor;
    const bytes = ArrayBuffer.isView(data) ? elementBytes(data, port.element) : undefined;
    if (bytes === undefined) {
      refuse(port, `is ${kindOf(data)}, wants a ${arrayName(port.element)} (${port.element})`);
    }
    return { port, bytes, shape, length: bytes.byteLength / bytesPerElement(port.element) };
  });
}

function kindOf(data: unknown): string {
  return data === null || data === undefined ? String(data) : `a ${Object(data).constructor?.name ?? typeof data}`;
}

function listed(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(", ");
}
