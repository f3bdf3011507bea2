/** Reads token ids for language models: .u16, .npy, or text through the artifact's tokenizer. */

import { extname } from "node:path";
import { fail } from "../diagnostics.ts";
import { isStatic } from "../ir/extent.ts";
import { type Graph, typeOf } from "../ir/graph.ts";
import { emptyTensor } from "../ir/tensor.ts";
import { readArrays, readBytes } from "./arrays.ts";
import type { Sample } from "./samples.ts";

/** The input of a language model that takes ids [1, T], and the most T of one call. */
export interface TokenInput {
  readonly name: string;
  readonly longest: number;
}

/** The one integer input of shape [1, T] with T dynamic; undefined for models of another kind. */
export function tokenInput(graph: Graph): TokenInput | undefined {
  const found = graph.inputs.filter(({ value }) => {
    const { element, shape } = typeOf(graph, value);
    return (element === "i64" || element === "i32") && shape.length === 2 && shape[0] === 1 && shape[1] !== 1;
  });
  if (found.length !== 1 || graph.inputs.length !== 1) return undefined;
  const [{ name, value }] = found;
  const extent = typeOf(graph, value).shape[1];
  const longest = isStatic(extent) ? extent : graph.symbols[extent.symbol].max;
  return { name, longest };
}

/** Reads ids. `encode` turns text into ids; absent where the model has no tokenizer. Throws DiagnosticError (Q0907). */
export function readTokens(path: string, encode: ((text: string) => readonly number[]) | undefined): Int32Array {
  switch (extname(path).toLowerCase()) {
    case ".u16": {
      const bytes = readBytes(path);
      if (bytes.length % 2 !== 0) fail("Q0907", `"${path}" has an odd number of bytes`, { node: path });
      return Int32Array.from(new Uint16Array(bytes.buffer, 0, bytes.length / 2));
    }
    case ".npy":
      return Int32Array.from(Object.values(readArrays(path))[0].data, Number);
    default: {
      if (encode === undefined) {
        return fail("Q0907", `"${path}" is text, and the model has no tokenizer`, {
          node: path,
          help: "Give token ids as .u16 or .npy",
        });
      }
      return Int32Array.from(encode(new TextDecoder().decode(readBytes(path))));
    }
  }
}

/** Consecutive windows of ids as samples, the last one dropped where it is short. */
export function tokenSamples(graph: Graph, ids: Int32Array, window: number, limit: number): readonly Sample[] {
  const input = tokenInput(graph);
  if (input === undefined) return fail("Q0907", "The model does not take token ids [1, T]");
  const extent = Math.min(window, input.longest);
  const port = graph.inputs[0];
  const element = typeOf(graph, port.value).element;
  const count = Math.min(limit, Math.floor(ids.length / extent));
  return Array.from({ length: count }, (_, index) => {
    const tensor = emptyTensor(element, [1, extent]);
    const part = ids.subarray(index * extent, (index + 1) * extent);
    const { data } = tensor;
    if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
      part.forEach((id, at) => data[at] = BigInt(id));
    } else part.forEach((id, at) => data[at] = id);
    return { [input.name]: tensor };
  });
}
