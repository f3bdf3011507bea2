/** Turns arrays into samples: one record of input tensors per run of the model. */

import { fail } from "../diagnostics.ts";
import { isStatic } from "../ir/extent.ts";
import type { Extent, SymbolTable } from "../ir/extent.ts";
import { type Graph, typeOf } from "../ir/graph.ts";
import { emptyTensor, type PlainTensor, plainTensor, sizeOf } from "../ir/tensor.ts";
import { printType, type TensorType } from "../ir/types.ts";
import { bytesOf, elementBytes, type ElementType, fromBytes, isFloat } from "../numeric/element.ts";
import type { NamedArrays } from "./arrays.ts";

export type Sample = Readonly<Record<string, PlainTensor>>;

/**
 * Cuts arrays along their leading axis. Arrays go by the inputs' names; a single array for a single input needs no
 * name, and `input_0`, `input_1`, ... go by position. Throws DiagnosticError (Q0903, Q0904).
 */
export function samplesOf(graph: Graph, arrays: NamedArrays, limit = Infinity): readonly Sample[] {
  const named = nameArrays(graph, arrays);
  const parts = graph.inputs.map(({ name, value }) => {
    const samples = cutSamples(name, named[name], typeOf(graph, value), graph.symbols, limit);
    return { name, samples };
  });
  const counts = parts.map(({ samples }) => samples.length);
  const count = Math.min(...counts);
  if (counts.some((other) => other !== count)) {
    const each = parts.map(({ name, samples }) => `${name} ${samples.length}`).join(", ");
    return fail("Q0904", `The inputs have different numbers of samples: ${each}`);
  }
  return Array.from(
    { length: count },
    (_, index) => Object.fromEntries(parts.map(({ name, samples }) => [name, samples[index]])),
  );
}

function nameArrays(graph: Graph, arrays: NamedArrays): NamedArrays {
  const given = Object.entries(arrays);
  const names = graph.inputs.map(({ name }) => name);
  if (names.every((name) => Object.hasOwn(arrays, name))) return arrays;
  if (names.length === 1 && given.length === 1) return { [names[0]]: given[0][1] };
  const byPosition = names.map((name, index) => [name, arrays[`input_${index}`]] as const);
  if (byPosition.every(([, array]) => array !== undefined)) return Object.fromEntries(byPosition);
  const missing = names.filter((name) => !Object.hasOwn(arrays, name));
  return fail("Q0903", `The data has no array for ${missing.map((name) => `"${name}"`).join(", ")}`, {
    help: `Arrays found: ${given.map(([name]) => name).join(", ") || "none"}; the model's inputs: ${names.join(", ")}`,
  });
}

function cutSamples(
  name: string,
  array: PlainTensor,
  type: TensorType,
  symbols: SymbolTable,
  limit: number,
): readonly PlainTensor[] {
  const tensor = convertElement(name, array, type.element);
  const cut = cutOf(tensor.shape, type.shape, symbols) ?? misfit(name, array, type);
  const width = elementBytes(tensor.element);
  const bytes = bytesOf(tensor.data);
  const size = sizeOf(cut.shape) * width;
  return Array.from(
    { length: Math.min(cut.count, limit) },
    (_, index) =>
      plainTensor(
        tensor.element,
        cut.shape,
        fromBytes(tensor.element, bytes.subarray(index * size, (index + 1) * size)),
      ),
  );
}

interface Cut {
  readonly count: number;
  readonly shape: readonly number[];
}

/** How an array of this shape divides into inputs of the wanted shape. */
function cutOf(shape: readonly number[], wanted: readonly Extent[], symbols: SymbolTable): Cut | undefined {
  if (fits(shape, wanted, symbols)) return { count: 1, shape };
  const [count, ...rest] = shape;
  if (count === undefined) return undefined;
  if (fits(rest, wanted, symbols)) return { count, shape: rest };
  const leading = wanted[0];
  const group = leading === undefined ? 1 : isStatic(leading) ? leading : symbols[leading.symbol].min;
  if (group > 0 && count % group === 0 && fits([group, ...rest], wanted, symbols)) {
    return { count: count / group, shape: [group, ...rest] };
  }
  // One sample may leave out axes of extent 1.
  if (wanted.every(isStatic) && sizeOf(wanted) > 0 && sizeOf(shape) % sizeOf(wanted) === 0) {
    const dense = wanted.filter((extent) => extent !== 1);
    const given = rest.filter((extent) => extent !== 1);
    const equal = dense.length === given.length && dense.every((extent, axis) => extent === given[axis]);
    if (equal) return { count, shape: wanted };
  }
  return undefined;
}

function fits(shape: readonly number[], wanted: readonly Extent[], symbols: SymbolTable): boolean {
  return shape.length === wanted.length && wanted.every((extent, axis) => {
    if (isStatic(extent)) return extent === shape[axis];
    const value = (shape[axis] - extent.offset) / extent.factor;
    const { min, max } = symbols[extent.symbol];
    return Number.isInteger(value) && value >= min && value <= max;
  });
}

function misfit(name: string, array: PlainTensor, type: TensorType): never {
  return fail("Q0904", `The array for input "${name}" is ${array.element}[${array.shape}], wants ${printType(type)}`, {
    node: name,
    help: "The leading axis of the array counts samples",
  });
}

/** Exact conversions between number types; float to integer is refused. */
function convertElement(name: string, tensor: PlainTensor, element: ElementType): PlainTensor {
  if (tensor.element === element) return tensor;
  if (isFloat(tensor.element) && !isFloat(element) || element === "bf16" || tensor.element === "bf16") {
    return fail("Q0904", `The array for input "${name}" is ${tensor.element}, the model wants ${element}`, {
      node: name,
    });
  }
  const result = emptyTensor(element, tensor.shape);
  const { data } = result;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    for (let index = 0; index < data.length; index++) data[index] = BigInt(tensor.data[index]);
  } else {
    for (let index = 0; index < data.length; index++) data[index] = Number(tensor.data[index]);
  }
  return result;
}
