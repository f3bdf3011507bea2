/** Typed reads of a node's attributes. */

import { DiagnosticError, errorDiagnostic, nearestName } from "../../diagnostics.ts";
import { floatTensor, plainTensor, type Tensor } from "../../ir/tensor.ts";
import type { NumberFormat } from "../../numeric/number_format.ts";
import type { AttributeReader } from "./op_importer.ts";
import { type AttributeProto, attributeTypes, type GraphProto } from "./proto.ts";
import { type LoadedTensor, loadTensor } from "./tensor_data.ts";
import type { ExternalData } from "./external_data.ts";

/** The reader that the importer itself uses: it also gives graphs, and says which attributes nothing asked for. */
export interface NodeAttributes extends AttributeReader {
  graph(name: string): GraphProto;
  /** Names of attributes that were never asked for. */
  unread(): readonly string[];
  /** The nearest of the names that were asked for. */
  nearest(name: string): string | undefined;
}

const typeNames: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(attributeTypes).map(([name, code]) => [code, name]),
);

/** Reads the attributes of one node; `place` is the node's name in messages. */
export function attributeReader(
  attributes: readonly AttributeProto[],
  place: string,
  external: ExternalData,
): NodeAttributes {
  const byName = new Map(attributes.map((attribute) => [attribute.name, attribute]));
  const asked = new Set<string>();
  const bad = (message: string): never => {
    throw new DiagnosticError([errorDiagnostic("Q1021", message, { node: place })]);
  };
  const find = (name: string, type: keyof typeof attributeTypes): AttributeProto | undefined => {
    asked.add(name);
    const attribute = byName.get(name);
    if (attribute === undefined || attribute.type === attributeTypes[type]) return attribute;
    return bad(`Attribute "${name}" is ${typeNames[attribute.type] ?? attribute.type}, wanted ${type}`);
  };
  const read = <T>(
    name: string,
    type: keyof typeof attributeTypes,
    fallback: T | undefined,
    value: (attribute: AttributeProto) => T,
  ): T => {
    const attribute = find(name, type);
    if (attribute !== undefined) return value(attribute);
    return fallback ?? bad(`Attribute "${name}" is missing`);
  };
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  const loaded = (name: string): LoadedTensor =>
    read(
      name,
      "tensor",
      undefined,
      (attribute) =>
        attribute.tensor === undefined
          ? bad(`Attribute "${name}" has no tensor`)
          : loadTensor(attribute.tensor, `${place}.${name}`, external),
    );
  return {
    has: (name) => {
      asked.add(name);
      return byName.has(name);
    },
    int: (name, fallback) => read(name, "int", fallback, (attribute) => Number(attribute.int)),
    ints: (name, fallback) => read(name, "ints", fallback, (attribute) => attribute.ints.map(Number)),
    float: (name, fallback) => read(name, "float", fallback, (attribute) => attribute.float),
    floats: (name, fallback) => read(name, "floats", fallback, (attribute) => attribute.floats),
    string: (name, fallback) => read(name, "string", fallback, (attribute) => text(attribute.string)),
    strings: (name, fallback) => read(name, "strings", fallback, (attribute) => attribute.strings.map(text)),
    tensor: (name): Tensor => loaded(name).tensor,
    graph: (name) =>
      read(name, "graph", undefined, (attribute) => attribute.graph ?? bad(`Attribute "${name}" has no graph`)),
    tensorFormat: (name) => loaded(name).format,
    bigints: (name) =>
      byName.get(name)?.type === attributeTypes.int
        ? read(name, "int", undefined, (attribute) => [attribute.int])
        : read(name, "ints", undefined, (attribute) => attribute.ints),
    unread: () => [...byName.keys()].filter((name) => !asked.has(name)),
    nearest: (name) => nearestName(name, asked),
  };
}

/** The value of a Constant node, in whichever of its attributes it lies. */
export function constantAttribute(
  attributes: AttributeReader,
): { readonly tensor: Tensor; readonly format?: NumberFormat } | undefined {
  if (attributes.has("value")) {
    return { tensor: attributes.tensor("value"), format: attributes.tensorFormat("value") };
  }
  if (attributes.has("value_float")) return { tensor: floatTensor([], [attributes.float("value_float")]) };
  if (attributes.has("value_floats")) {
    const values = attributes.floats("value_floats");
    return { tensor: floatTensor([values.length], values) };
  }
  if (attributes.has("value_int")) {
    return { tensor: plainTensor("i64", [], BigInt64Array.from(attributes.bigints("value_int"))) };
  }
  if (attributes.has("value_ints")) {
    const values = attributes.bigints("value_ints");
    return { tensor: plainTensor("i64", [values.length], BigInt64Array.from(values)) };
  }
  return undefined;
}
