/** The weights of a TensorFlow.js model by name, read from its shards. */

import { join } from "node:path";
import { type Diagnostic, DiagnosticError, errorDiagnostic, fail } from "../../diagnostics.ts";
import { fromBytes } from "../../numeric/element.ts";
import { perTensor } from "../../numeric/scheme.ts";
import { uint8 } from "../../numeric/number_format.ts";
import { floatTensor, plainTensor, sizeOf, type Tensor } from "../../ir/tensor.ts";
import { type ByteSource, openFile } from "../files.ts";
import type { WeightEntry, WeightGroup } from "./model_json.ts";

/** A numeric weight, or the strings of a string weight with their shape. */
export type TfWeight =
  | { readonly kind: "tensor"; readonly tensor: Tensor }
  | { readonly kind: "strings"; readonly shape: readonly number[]; readonly strings: readonly Uint8Array[] };

/** Opens a shard by the path that the manifest names. */
export type ShardOpener = (path: string) => ByteSource;

export function shardsBeside(folder: string): ShardOpener {
  return (path) => openFile(join(folder, path));
}

/** All weights. Throws a DiagnosticError that lists every fault (Q0461). */
export function readWeights(
  groups: readonly WeightGroup[],
  open: ShardOpener,
): ReadonlyMap<string, TfWeight> {
  const weights = new Map<string, TfWeight>();
  const faults: Diagnostic[] = [];
  for (const group of groups) {
    const bytes = readShards(group, open);
    let offset = 0;
    for (const entry of group.weights) {
      const read = readWeight(entry, bytes, offset);
      if (typeof read === "string") {
        faults.push(errorDiagnostic("Q0461", `Weight "${entry.name}" ${read}`, { node: entry.name }));
        // Later weights of the group follow this one's end, which is not known.
        break;
      }
      if (weights.has(entry.name)) {
        faults.push(errorDiagnostic("Q0461", `Weight "${entry.name}" is listed twice`, { node: entry.name }));
      }
      weights.set(entry.name, read.weight);
      offset += read.length;
    }
    if (faults.length === 0 && offset !== bytes.length) {
      const message = `The files ${group.paths.join(", ")} have ${bytes.length} bytes, the weights take ${offset}`;
      faults.push(errorDiagnostic("Q0461", message, { node: group.paths[0] }));
    }
  }
  if (faults.length > 0) throw new DiagnosticError(faults);
  return weights;
}

/** Shards are joined in memory, which bounds the size of one group. */
const maximumGroupBytes = 2 ** 31;

function readShards(group: WeightGroup, open: ShardOpener): Uint8Array {
  const parts: Uint8Array[] = [];
  let total = 0;
  for (const path of group.paths) {
    const source = open(path);
    try {
      total += source.size;
      if (total > maximumGroupBytes) {
        fail("Q0461", `The weight files up to "${path}" have ${total} bytes`, { node: path });
      }
      parts.push(source.read(0, source.size));
    } finally {
      source.close();
    }
  }
  if (parts.length === 1) return parts[0];
  const joined = new Uint8Array(total);
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

interface ReadWeight {
  readonly weight: TfWeight;
  readonly length: number;
}

const dtypeBytes: Readonly<Record<string, number>> = { float32: 4, int32: 4, bool: 1 };
const storedBytes = { uint8: 1, uint16: 2, float16: 2 } as const;

/** The weight at `offset`, or what is wrong with it. */
function readWeight(entry: WeightEntry, bytes: Uint8Array, offset: number): ReadWeight | string {
  const size = sizeOf(entry.shape);
  if (!Number.isSafeInteger(size)) return `has shape [${entry.shape}], which is too large`;
  if (entry.dtype === "string") return readStrings(entry, size, bytes, offset);
  const width = entry.quantization === undefined ? dtypeBytes[entry.dtype] : storedBytes[entry.quantization.dtype];
  if (width === undefined) return `is ${entry.dtype}, wants float32, int32, bool or string`;
  const length = size * width;
  if (offset + length > bytes.length) {
    return `of shape [${entry.shape}] takes bytes ${offset}..${offset + length}, the files have ${bytes.length}`;
  }
  const tensor = decode(entry, bytes.subarray(offset, offset + length));
  return typeof tensor === "string" ? tensor : { weight: { kind: "tensor", tensor }, length };
}

function decode(entry: WeightEntry, bytes: Uint8Array): Tensor | string {
  const { shape, dtype, quantization } = entry;
  if (quantization === undefined) {
    if (dtype === "float32") return plainTensor("f32", shape, fromBytes("f32", bytes));
    if (dtype === "int32") return plainTensor("i32", shape, fromBytes("i32", bytes));
    return plainTensor("bool", shape, fromBytes("bool", bytes).map((value) => (value === 0 ? 0 : 1)));
  }
  if (dtype !== "float32" && dtype !== "int32") return `is quantized ${dtype}, wants float32 or int32`;
  if (quantization.dtype === "float16") {
    return dtype === "float32" ? floatTensor(shape, fromBytes("f16", bytes)) : "is int32 stored as float16";
  }
  const { scale, min } = quantization;
  const codes = quantization.dtype === "uint8" ? fromBytes("u8", bytes) : fromBytes("u16", bytes);
  if (dtype === "int32") {
    return plainTensor("i32", shape, Int32Array.from(codes, (code) => Math.round(code * scale + min)));
  }
  if (codes instanceof Uint16Array) return floatTensor(shape, Float32Array.from(codes, (code) => code * scale + min));
  return {
    kind: "quantized",
    scheme: {
      format: uint8,
      block: perTensor(shape.length),
      step: "f32",
      zeroPoint: false,
      offset: true,
      range: "static",
    },
    element: "f32",
    shape,
    codes: plainTensor("u8", shape, codes),
    steps: floatTensor(shape.map(() => 1), [scale]),
    offsets: floatTensor(shape.map(() => 1), [min]),
  };
}

/** Strings are stored as a 32-bit length (little-endian) and the bytes, one after another. */
function readStrings(entry: WeightEntry, size: number, bytes: Uint8Array, offset: number): ReadWeight | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const strings: Uint8Array[] = [];
  let at = offset;
  while (strings.length < size) {
    const end = at + 4 <= bytes.length ? at + 4 + view.getUint32(at, true) : Infinity;
    if (end > bytes.length) return `has ${size} strings, the files end inside number ${strings.length}`;
    strings.push(bytes.slice(at + 4, end));
    at = end;
  }
  return { weight: { kind: "strings", shape: entry.shape, strings }, length: at - offset };
}
