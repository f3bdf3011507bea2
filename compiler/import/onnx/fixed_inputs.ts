/** Inputs of one number that the user fixes: `--bind sr=16000` makes the input `sr` a constant. */

import { integerRange, isFloat, isWide } from "../../numeric/element.ts";
import { emptyTensor, type Tensor } from "../../ir/tensor.ts";
import type { Binding } from "../model.ts";
import { elementKind } from "./element_kind.ts";
import type { ValueInfoProto } from "./proto.ts";

/** What `bind` fixes, and what is left of it for the symbolic axes. */
export interface FixedInputs {
  readonly constants: Readonly<Record<string, Tensor>>;
  readonly bind: Readonly<Record<string, Binding>>;
}

/** Takes the bindings of inputs of one entry out of `bind`. */
export function fixedInputs(
  inputs: readonly ValueInfoProto[],
  bind: Readonly<Record<string, Binding>>,
): FixedInputs {
  const constants: Record<string, Tensor> = {};
  const rest: Record<string, Binding> = {};
  for (const [name, value] of Object.entries(bind)) {
    const info = inputs.find((input) => input.name === name);
    const tensor = info === undefined || typeof value !== "number" ? undefined : constantInput(info, value);
    if (tensor === undefined) rest[name] = value;
    else constants[name] = tensor;
  }
  return { constants, bind: rest };
}

/** The tensor of an input of one entry; undefined when it has more, or cannot hold the value. */
function constantInput({ elementType, shape }: ValueInfoProto, value: number): Tensor | undefined {
  const kind = elementKind(elementType);
  const isOne = shape?.every((dimension) => dimension !== undefined && "value" in dimension && dimension.value === 1n);
  if (kind === undefined || kind.format !== undefined || kind.element === "bf16" || isOne !== true) return undefined;
  const { element } = kind;
  if (!isFloat(element)) {
    const { min, max } = integerRange(element);
    if (!Number.isInteger(value) || BigInt(value) < min || BigInt(value) > max) return undefined;
  }
  const tensor = emptyTensor(element, (shape ?? []).map(() => 1));
  tensor.data[0] = isWide(element) ? BigInt(value) : value;
  return tensor;
}
