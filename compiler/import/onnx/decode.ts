/** Reads the protobuf wire form of an ONNX model. Bytes that are no such model give a diagnostic with the place. */

import protobuf from "protobufjs";
import { collect, DiagnosticError, type Outcome } from "../../diagnostics.ts";
import { fromBytes } from "../../numeric/element.ts";
import {
  type AttributeProto,
  attributeTypes,
  type DimensionProto,
  type FunctionProto,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type OpsetProto,
  type TensorProto,
  type ValueInfoProto,
} from "./proto.ts";
import {
  expectWire,
  type FieldReader,
  joinBytes,
  malformed,
  nestedEnd,
  readBytes,
  type Reader,
  readFixed,
  readInt64,
  readInteger,
  readMessage,
  readSmall,
  readString,
  readVarints,
  wireFixed32,
} from "./wire.ts";

/** Graphs may nest in attributes this deep. */
const depthLimit = 64;

/** Decodes a whole model file. */
export function decodeModel(bytes: Uint8Array): Outcome<ModelProto> {
  return decodeWhole(bytes, (reader) => readModel(reader, bytes.length));
}

/** Decodes one serialized TensorProto (the `.pb` files of the ONNX node tests). */
export function decodeTensorProto(bytes: Uint8Array): Outcome<TensorProto> {
  return decodeWhole(bytes, (reader) => readTensor(reader, bytes.length, "tensor"));
}

function decodeWhole<T>(bytes: Uint8Array, read: (reader: Reader) => T): Outcome<T> {
  return collect(() => {
    const reader = protobuf.Reader.create(bytes);
    try {
      return read(reader);
    } catch (error) {
      if (error instanceof DiagnosticError) throw error;
      // The wire reader signals every malformed byte sequence by throwing; nothing else runs here.
      const reason = error instanceof Error ? error.message : String(error);
      return malformed(reader, "the file", reason);
    }
  });
}

function readModel(reader: Reader, end: number): ModelProto {
  let irVersion = 0;
  let producer = "";
  let graph: GraphProto | undefined;
  const opsets: OpsetProto[] = [];
  const functions: FunctionProto[] = [];
  const metadata: Record<string, string> = {};
  const place = "the model";
  readMessage(reader, end, place, {
    1: (_, wire) => irVersion = readSmall(reader, wire, place),
    2: (_, wire) => producer = readString(reader, wire, place),
    7: (_, wire) => {
      if (graph !== undefined) malformed(reader, place, "a second graph");
      graph = readGraph(reader, nestedEnd(reader, wire, place), "graph", 0);
    },
    8: (_, wire) => opsets.push(readOpset(reader, nestedEnd(reader, wire, place))),
    14: (_, wire) => {
      const [key, value] = readPair(reader, nestedEnd(reader, wire, place), "metadata");
      metadata[key] = value;
    },
    25: (_, wire) =>
      functions.push(readFunction(reader, nestedEnd(reader, wire, place), `functions[${functions.length}]`)),
  });
  return { irVersion, producer, opsets, graph, functions, metadata };
}

function readOpset(reader: Reader, end: number): OpsetProto {
  let domain = "";
  let version = 0;
  readMessage(reader, end, "opset_import", {
    1: (_, wire) => domain = readString(reader, wire, "opset_import"),
    2: (_, wire) => version = readSmall(reader, wire, "opset_import"),
  });
  return { domain: normalDomain(domain), version };
}

/** `ai.onnx` is the long spelling of the default domain. */
function normalDomain(domain: string): string {
  return domain === "ai.onnx" ? "" : domain;
}

function readPair(reader: Reader, end: number, place: string): readonly [string, string] {
  let key = "";
  let value = "";
  readMessage(reader, end, place, {
    1: (_, wire) => key = readString(reader, wire, place),
    2: (_, wire) => value = readString(reader, wire, place),
  });
  return [key, value];
}

function readFunction(reader: Reader, end: number, place: string): FunctionProto {
  let name = "";
  let domain = "";
  let overload = "";
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes: string[] = [];
  const defaults: AttributeProto[] = [];
  const nodes: NodeProto[] = [];
  const opsets: OpsetProto[] = [];
  readMessage(reader, end, place, {
    1: (_, wire) => name = readString(reader, wire, place),
    4: (_, wire) => inputs.push(readString(reader, wire, place)),
    5: (_, wire) => outputs.push(readString(reader, wire, place)),
    6: (_, wire) => attributes.push(readString(reader, wire, place)),
    7: (_, wire) => nodes.push(readNode(reader, nestedEnd(reader, wire, place), `${place}.node[${nodes.length}]`, 0)),
    9: (_, wire) => opsets.push(readOpset(reader, nestedEnd(reader, wire, place))),
    10: (_, wire) => domain = normalDomain(readString(reader, wire, place)),
    11: (_, wire) => defaults.push(readAttribute(reader, nestedEnd(reader, wire, place), `${place}.attribute`, 0)),
    13: (_, wire) => overload = readString(reader, wire, place),
  });
  return { name, domain, overload, inputs, outputs, attributes, defaults, nodes, opsets };
}

function readGraph(reader: Reader, end: number, place: string, depth: number): GraphProto {
  if (depth > depthLimit) malformed(reader, place, `graphs nest deeper than ${depthLimit}`);
  let name = "";
  let sparseInitializers = 0;
  const nodes: NodeProto[] = [];
  const initializers: TensorProto[] = [];
  const inputs: ValueInfoProto[] = [];
  const outputs: ValueInfoProto[] = [];
  const values: ValueInfoProto[] = [];
  readMessage(reader, end, place, {
    1: (_, wire) =>
      nodes.push(readNode(reader, nestedEnd(reader, wire, place), `${place}.node[${nodes.length}]`, depth)),
    2: (_, wire) => name = readString(reader, wire, place),
    5: (_, wire) =>
      initializers.push(
        readTensor(reader, nestedEnd(reader, wire, place), `${place}.initializer[${initializers.length}]`),
      ),
    11: (_, wire) => inputs.push(readValueInfo(reader, nestedEnd(reader, wire, place), `${place}.input`)),
    12: (_, wire) => outputs.push(readValueInfo(reader, nestedEnd(reader, wire, place), `${place}.output`)),
    13: (_, wire) => values.push(readValueInfo(reader, nestedEnd(reader, wire, place), `${place}.value_info`)),
    15: (_, wire) => {
      sparseInitializers++;
      reader.pos = nestedEnd(reader, wire, place);
    },
  });
  return { name, nodes, initializers, sparseInitializers, inputs, outputs, values };
}

function readNode(reader: Reader, end: number, place: string, depth: number): NodeProto {
  let name = "";
  let opType = "";
  let domain = "";
  let overload = "";
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes: AttributeProto[] = [];
  readMessage(reader, end, place, {
    1: (_, wire) => inputs.push(readString(reader, wire, place)),
    2: (_, wire) => outputs.push(readString(reader, wire, place)),
    3: (_, wire) => name = readString(reader, wire, place),
    4: (_, wire) => opType = readString(reader, wire, place),
    5: (_, wire) =>
      attributes.push(
        readAttribute(reader, nestedEnd(reader, wire, place), `${place}.attribute[${attributes.length}]`, depth),
      ),
    7: (_, wire) => domain = normalDomain(readString(reader, wire, place)),
    8: (_, wire) => overload = readString(reader, wire, place),
  });
  return { name, opType, domain, overload, inputs, outputs, attributes };
}

function readAttribute(reader: Reader, end: number, place: string, depth: number): AttributeProto {
  let name = "";
  let type: number = attributeTypes.undefined;
  let inferred: number = attributeTypes.undefined;
  let reference = "";
  let float = 0;
  let int = 0n;
  let string: Uint8Array = new Uint8Array();
  let tensor: TensorProto | undefined;
  let graph: GraphProto | undefined;
  const floats: Uint8Array[] = [];
  const ints: bigint[] = [];
  const strings: Uint8Array[] = [];
  const tensors: TensorProto[] = [];
  readMessage(reader, end, place, {
    1: (_, wire) => name = readString(reader, wire, place),
    2: (_, wire) => {
      expectWire(reader, wire, wireFixed32, place);
      float = reader.float();
      inferred = attributeTypes.float;
    },
    3: (_, wire) => {
      int = readInteger(reader, wire, place);
      inferred = attributeTypes.int;
    },
    4: (_, wire) => {
      string = readBytes(reader, wire, place);
      inferred = attributeTypes.string;
    },
    5: (_, wire) => {
      tensor = readTensor(reader, nestedEnd(reader, wire, place), `${place}.t`);
      inferred = attributeTypes.tensor;
    },
    6: (_, wire) => {
      graph = readGraph(reader, nestedEnd(reader, wire, place), `${place}.g`, depth + 1);
      inferred = attributeTypes.graph;
    },
    7: (_, wire) => {
      readFixed(reader, wire, place, 4, floats);
      inferred = attributeTypes.floats;
    },
    8: (_, wire) => {
      readVarints(reader, wire, place, readInt64, ints);
      inferred = attributeTypes.ints;
    },
    9: (_, wire) => {
      strings.push(readBytes(reader, wire, place));
      inferred = attributeTypes.strings;
    },
    10: (_, wire) => {
      tensors.push(readTensor(reader, nestedEnd(reader, wire, place), `${place}.tensors`));
      inferred = attributeTypes.tensors;
    },
    20: (_, wire) => type = readSmall(reader, wire, place),
    21: (_, wire) => reference = readString(reader, wire, place),
  });
  return {
    name,
    // Files of the first ONNX releases leave the kind out.
    type: type === attributeTypes.undefined ? inferred : type,
    reference,
    float,
    int,
    string,
    tensor,
    graph,
    floats: floats.length === 0 ? [] : [...fromBytes("f32", joinBytes(floats))],
    ints,
    strings,
    tensors,
  };
}

function readTensor(reader: Reader, end: number, place: string): TensorProto {
  let name = "";
  let dataType = 0;
  let raw: Uint8Array | undefined;
  let stringCount = 0;
  const dims: bigint[] = [];
  const floats: Uint8Array[] = [];
  const doubles: Uint8Array[] = [];
  const int32s: number[] = [];
  const int64s: bigint[] = [];
  const uint64s: bigint[] = [];
  let isExternal = false;
  const external: Record<string, string> = {};
  readMessage(reader, end, place, {
    1: (_, wire) => readVarints(reader, wire, place, readInt64, dims),
    2: (_, wire) => dataType = readSmall(reader, wire, place),
    4: (_, wire) => readFixed(reader, wire, place, 4, floats),
    5: (_, wire) => readVarints(reader, wire, place, (source) => source.int32(), int32s),
    6: (_, wire) => {
      stringCount++;
      readBytes(reader, wire, place);
    },
    7: (_, wire) => readVarints(reader, wire, place, readInt64, int64s),
    8: (_, wire) => name = readString(reader, wire, place),
    9: (_, wire) => raw = readBytes(reader, wire, place),
    10: (_, wire) => readFixed(reader, wire, place, 8, doubles),
    11: (_, wire) => readVarints(reader, wire, place, (source) => BigInt.asUintN(64, readInt64(source)), uint64s),
    13: (_, wire) => {
      const [key, value] = readPair(reader, nestedEnd(reader, wire, place), `${place}.external_data`);
      external[key] = value;
    },
    14: (_, wire) => isExternal = readSmall(reader, wire, place) === 1,
  });
  return {
    name,
    dims,
    dataType,
    raw,
    floats: floats.length === 0 ? undefined : fromBytes("f32", joinBytes(floats)),
    doubles: doubles.length === 0 ? undefined : fromBytes("f64", joinBytes(doubles)),
    int32s: int32s.length === 0 ? undefined : int32s,
    int64s: int64s.length === 0 ? undefined : int64s,
    uint64s: uint64s.length === 0 ? undefined : uint64s,
    stringCount,
    external: isExternal ? external : undefined,
  };
}

function readValueInfo(reader: Reader, end: number, place: string): ValueInfoProto {
  let name = "";
  let type: Omit<ValueInfoProto, "name"> = { kind: "none", elementType: 0, shape: undefined };
  readMessage(reader, end, place, {
    1: (_, wire) => name = readString(reader, wire, place),
    2: (_, wire) => type = readType(reader, nestedEnd(reader, wire, place), place),
  });
  return { name, ...type };
}

function readType(reader: Reader, end: number, place: string): Omit<ValueInfoProto, "name"> {
  let kind: ValueInfoProto["kind"] = "none";
  let elementType = 0;
  let shape: DimensionProto[] | undefined;
  const skipAs = (other: ValueInfoProto["kind"]): FieldReader => (_, wire) => {
    kind = other;
    reader.pos = nestedEnd(reader, wire, place);
  };
  readMessage(reader, end, place, {
    1: (_, wire) => {
      kind = "tensor";
      readMessage(reader, nestedEnd(reader, wire, place), place, {
        1: (_, inner) => elementType = readSmall(reader, inner, place),
        2: (_, inner) => shape = readShape(reader, nestedEnd(reader, inner, place), place),
      });
    },
    4: skipAs("sequence"),
    5: skipAs("map"),
    8: skipAs("sparse"),
    9: skipAs("optional"),
  });
  return { kind, elementType, shape };
}

function readShape(reader: Reader, end: number, place: string): DimensionProto[] {
  const dimensions: DimensionProto[] = [];
  readMessage(reader, end, place, {
    1: (_, wire) => {
      let dimension: DimensionProto;
      readMessage(reader, nestedEnd(reader, wire, place), place, {
        1: (_, inner) => dimension = { value: readInteger(reader, inner, place) },
        2: (_, inner) => {
          const name = readString(reader, inner, place);
          dimension = name === "" ? undefined : { name };
        },
      });
      dimensions.push(dimension);
    },
  });
  return dimensions;
}
