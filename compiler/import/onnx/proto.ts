/** The parts of an ONNX file that Quern reads, as plain data (onnx.proto of ONNX 1.19, field names shortened). */

/** Element types of TensorProto.DataType. */
export const dataTypes = {
  undefined: 0,
  float: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  double: 11,
  uint32: 12,
  uint64: 13,
  complex64: 14,
  complex128: 15,
  bfloat16: 16,
  float8e4m3fn: 17,
  float8e4m3fnuz: 18,
  float8e5m2: 19,
  float8e5m2fnuz: 20,
  uint4: 21,
  int4: 22,
  float4e2m1: 23,
  float8e8m0: 24,
  uint2: 25,
  int2: 26,
} as const;

export type DataTypeName = keyof typeof dataTypes;

export function dataTypeName(code: number): DataTypeName | undefined {
  for (const [name, value] of Object.entries(dataTypes)) {
    // Object.entries loses the key type; the keys of `dataTypes` are its names.
    if (value === code) return name as DataTypeName;
  }
  return undefined;
}

/** Kinds of AttributeProto.AttributeType. */
export const attributeTypes = {
  undefined: 0,
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
  sparseTensor: 11,
  sparseTensors: 12,
  type: 13,
  types: 14,
} as const;

export interface TensorProto {
  readonly name: string;
  readonly dims: readonly bigint[];
  readonly dataType: number;
  /** Little-endian bytes of the typed fields, one array per field that is set. */
  readonly raw?: Uint8Array;
  readonly floats?: Float32Array<ArrayBuffer>;
  readonly doubles?: Float64Array<ArrayBuffer>;
  readonly int32s?: readonly number[];
  readonly int64s?: readonly bigint[];
  readonly uint64s?: readonly bigint[];
  readonly stringCount: number;
  /** `location`, `offset`, `length` and so on, when the data lies in another file. */
  readonly external?: Readonly<Record<string, string>>;
}

/** A dimension: a number, a name, or nothing known. */
export type DimensionProto = { readonly value: bigint } | { readonly name: string } | undefined;

/** `elementType` is undefined for what is not a tensor (sequences, maps, optionals, sparse tensors): `kind` says what it is. */
export interface ValueInfoProto {
  readonly name: string;
  readonly kind: "tensor" | "sequence" | "map" | "optional" | "sparse" | "none";
  readonly elementType: number;
  /** Undefined when not even the rank is declared. */
  readonly shape: readonly DimensionProto[] | undefined;
}

export interface AttributeProto {
  readonly name: string;
  readonly type: number;
  /** The function attribute that this one takes its value from. */
  readonly reference: string;
  readonly float: number;
  readonly int: bigint;
  readonly string: Uint8Array;
  readonly tensor: TensorProto | undefined;
  readonly graph: GraphProto | undefined;
  readonly floats: readonly number[];
  readonly ints: readonly bigint[];
  readonly strings: readonly Uint8Array[];
  readonly tensors: readonly TensorProto[];
}

export interface NodeProto {
  readonly name: string;
  readonly opType: string;
  readonly domain: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: readonly AttributeProto[];
}

export interface GraphProto {
  readonly name: string;
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly TensorProto[];
  /** Names of sparse initializers, which are not supported. */
  readonly sparseInitializers: number;
  readonly inputs: readonly ValueInfoProto[];
  readonly outputs: readonly ValueInfoProto[];
  readonly values: readonly ValueInfoProto[];
}

export interface OpsetProto {
  readonly domain: string;
  readonly version: number;
}

export interface FunctionProto {
  readonly name: string;
  readonly domain: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Names of attributes that a caller must give. */
  readonly attributes: readonly string[];
  /** Attributes with their defaults. */
  readonly defaults: readonly AttributeProto[];
  readonly nodes: readonly NodeProto[];
  readonly opsets: readonly OpsetProto[];
}

export interface ModelProto {
  readonly irVersion: number;
  readonly producer: string;
  readonly opsets: readonly OpsetProto[];
  readonly graph: GraphProto | undefined;
  readonly functions: readonly FunctionProto[];
  readonly metadata: Readonly<Record<string, string>>;
}
