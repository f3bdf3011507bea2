/** Builds small ONNX files in tests, with the encoder of the published schema. */

import onnxProto, { type onnx as schema } from "onnx-proto";
import { bytesOf, type ElementType } from "../../compiler/numeric/element.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";
import { dataTypes } from "../../compiler/import/onnx/proto.ts";

const { onnx } = onnxProto;

export type AttributeValue =
  | number
  | bigint
  | string
  | Tensor
  | RawTensor
  | GraphSpec
  | { readonly floats: readonly number[] }
  | { readonly float: number }
  | { readonly strings: readonly string[] }
  | { readonly reference: string; readonly type: "int" | "float" | "ints" | "tensor" }
  | readonly number[];

/** A tensor by its bytes, for element types that have no plain tensor. */
export interface RawTensor {
  readonly dataType: number;
  readonly dims: readonly number[];
  readonly bytes: Uint8Array;
}

export interface NodeSpec {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  readonly domain?: string;
  readonly name?: string;
}

export interface ValueSpec {
  readonly name: string;
  /** f32 when absent. */
  readonly element?: ElementType | number;
  /** A name for a symbolic axis, null for one without; no shape at all when absent. */
  readonly shape?: readonly (number | string | null)[];
}

export interface GraphSpec {
  readonly nodes: readonly NodeSpec[];
  readonly inputs?: readonly ValueSpec[];
  readonly outputs: readonly (string | ValueSpec)[];
  readonly initializers?: Readonly<Record<string, Tensor | RawTensor>>;
}

export interface FunctionSpec {
  readonly name: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: readonly string[];
  readonly nodes: readonly NodeSpec[];
}

export interface ModelSpec extends GraphSpec {
  /** 17 when absent. */
  readonly opset?: number;
  /** 1 when absent. */
  readonly contribOpset?: number;
  readonly functions?: readonly FunctionSpec[];
}

const codes: Readonly<Record<ElementType, number>> = {
  f32: dataTypes.float,
  f64: dataTypes.double,
  f16: dataTypes.float16,
  bf16: dataTypes.bfloat16,
  i8: dataTypes.int8,
  u8: dataTypes.uint8,
  i16: dataTypes.int16,
  u16: dataTypes.uint16,
  i32: dataTypes.int32,
  u32: dataTypes.uint32,
  i64: dataTypes.int64,
  u64: dataTypes.uint64,
  bool: dataTypes.bool,
};

/** The bytes of a model. */
export function onnxBytes(spec: ModelSpec): Uint8Array<ArrayBuffer> {
  const opset = spec.opset ?? 17;
  const model = onnx.ModelProto.create({
    irVersion: 8,
    producerName: "test",
    opsetImport: [
      { domain: "", version: opset },
      { domain: "com.microsoft", version: spec.contribOpset ?? 1 },
      ...(spec.functions ?? []).map(({ domain }) => ({ domain, version: 1 })),
    ],
    graph: graphProto(spec),
    functions: (spec.functions ?? []).map((entry) => ({
      name: entry.name,
      domain: entry.domain,
      input: [...entry.inputs],
      output: [...entry.outputs],
      attribute: [...entry.attributes ?? []],
      node: entry.nodes.map(nodeProto),
      opsetImport: [{ domain: "", version: opset }, { domain: "com.microsoft", version: 1 }],
    })),
  });
  return Uint8Array.from(onnx.ModelProto.encode(model).finish());
}

function graphProto(spec: GraphSpec): schema.IGraphProto {
  return onnx.GraphProto.create({
    name: "g",
    node: spec.nodes.map(nodeProto),
    input: (spec.inputs ?? []).map(valueProto),
    output: spec.outputs.map((output) => valueProto(typeof output === "string" ? { name: output } : output)),
    initializer: Object.entries(spec.initializers ?? {}).map(([name, tensor]) => tensorProto(tensor, name)),
  });
}

function valueProto({ name, element = "f32", shape }: ValueSpec) {
  if (shape === undefined) return onnx.ValueInfoProto.create({ name });
  const dim = shape.map((extent) =>
    extent === null ? {} : typeof extent === "number" ? { dimValue: extent } : { dimParam: extent }
  );
  const elemType = typeof element === "number" ? element : codes[element];
  return onnx.ValueInfoProto.create({ name, type: { tensorType: { elemType, shape: { dim } } } });
}

function nodeProto(spec: NodeSpec): schema.INodeProto {
  return onnx.NodeProto.create({
    opType: spec.op,
    name: spec.name ?? "",
    domain: spec.domain ?? "",
    input: [...spec.inputs],
    output: [...spec.outputs],
    attribute: Object.entries(spec.attributes ?? {}).map(([name, value]) => attributeProto(name, value)),
  });
}

/** A tensor as raw bytes. */
export function tensorProto(tensor: Tensor | RawTensor, name: string) {
  if ("dataType" in tensor) {
    return onnx.TensorProto.create({ name, dims: [...tensor.dims], dataType: tensor.dataType, rawData: tensor.bytes });
  }
  if (tensor.kind !== "plain") throw new Error("ONNX files hold plain tensors");
  const rawData = bytesOf(tensor.data);
  return onnx.TensorProto.create({ name, dims: [...tensor.shape], dataType: codes[tensor.element], rawData });
}

function attributeProto(name: string, value: AttributeValue): schema.IAttributeProto {
  const types = onnx.AttributeProto.AttributeType;
  if (typeof value === "number") return { name, type: types.INT, i: value };
  if (typeof value === "bigint") return { name, type: types.INT, i: Number(value) };
  if (typeof value === "string") return { name, type: types.STRING, s: new TextEncoder().encode(value) };
  if (isList(value)) return { name, type: types.INTS, ints: [...value] };
  if ("floats" in value) return { name, type: types.FLOATS, floats: [...value.floats] };
  if ("float" in value) return { name, type: types.FLOAT, f: value.float };
  if ("strings" in value) {
    return { name, type: types.STRINGS, strings: value.strings.map((text) => new TextEncoder().encode(text)) };
  }
  if ("reference" in value) {
    const type = { int: types.INT, float: types.FLOAT, ints: types.INTS, tensor: types.TENSOR }[value.type];
    return { name, type, refAttrName: value.reference };
  }
  if ("nodes" in value) return { name, type: types.GRAPH, g: graphProto(value) };
  return { name, type: types.TENSOR, t: tensorProto(value, "") };
}

function isList(value: AttributeValue): value is readonly number[] {
  return Array.isArray(value);
}
