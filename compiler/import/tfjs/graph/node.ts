/** Nodes of a TensorFlow.js graph, with typed reads of their attributes. */

import { fail } from "../../../diagnostics.ts";
import { isObject, type JsonObject, shown } from "../../fields.ts";

/** One output of a node: by position, and by the output argument's name inside functions (`indices:0`). */
export interface NodeReference {
  readonly node: string;
  readonly output: number;
  readonly argument?: string;
}

export interface TfNode {
  readonly name: string;
  readonly op: string;
  readonly inputs: readonly NodeReference[];
  readonly attributes: JsonObject;
}

export interface TfFunction {
  readonly name: string;
  readonly inputs: readonly string[];
  /** Body references of the outputs, in the order of the signature. */
  readonly outputs: readonly NodeReference[];
  readonly nodes: ReadonlyMap<string, TfNode>;
}

export interface TfGraph {
  /** In the order of the file. */
  readonly nodes: ReadonlyMap<string, TfNode>;
  readonly functions: ReadonlyMap<string, TfFunction>;
}

function wrong(place: string, message: string): never {
  return fail("Q0468", `${place}: ${message}`, { node: place });
}

/** Reads a graph topology. Throws a DiagnosticError (Q0468) at the first malformed node. */
export function readGraph(topology: JsonObject): TfGraph {
  const library = isObject(topology.library) ? topology.library : {};
  const list: readonly unknown[] = Array.isArray(library.function) ? library.function : [];
  const functions = list.map(readFunction);
  return {
    nodes: readNodes(topology.node, "modelTopology"),
    functions: new Map(functions.map((entry) => [entry.name, entry])),
  };
}

function readNodes(value: unknown, place: string): ReadonlyMap<string, TfNode> {
  if (!Array.isArray(value)) return wrong(place, "has no list of nodes");
  const nodes = new Map<string, TfNode>();
  for (const entry of value) {
    const node = readNode(entry, place);
    if (nodes.has(node.name)) wrong(node.name, "two nodes have this name");
    nodes.set(node.name, node);
  }
  return nodes;
}

function readNode(value: unknown, place: string): TfNode {
  if (!isObject(value) || typeof value.name !== "string" || typeof value.op !== "string") {
    return wrong(place, `${shown(value)} is no node`);
  }
  const { name, op, input = [], attr = {} } = value;
  if (!Array.isArray(input) || !isObject(attr)) return wrong(name, "inputs or attributes are malformed");
  // Names that begin with "^" order side effects, of which a compiled graph has none.
  const data = input.filter((entry: unknown) => !(typeof entry === "string" && entry.startsWith("^")));
  return { name, op, inputs: data.map((entry: unknown) => readReference(entry, name)), attributes: attr };
}

/** `node`, `node:1`, or inside functions `node:argument:0`. */
export function readReference(value: unknown, place: string): NodeReference {
  if (typeof value !== "string") return wrong(place, `${shown(value)} is no reference to a node`);
  const parts = value.split(":");
  const output = parts.length > 1 ? Number(parts[parts.length - 1]) : 0;
  if (parts.length > 3 || !Number.isSafeInteger(output) || output < 0) {
    return wrong(place, `${shown(value)} is no reference to a node`);
  }
  return { node: parts[0], output, ...(parts.length === 3 ? { argument: parts[1] } : {}) };
}

function readFunction(value: unknown): TfFunction {
  const signature = isObject(value) ? value.signature : undefined;
  if (!isObject(value) || !isObject(signature) || typeof signature.name !== "string") {
    return wrong("library", `${shown(value)} is no function`);
  }
  const { name } = signature;
  const names = (list: unknown) =>
    (Array.isArray(list) ? list : []).map((entry: unknown) =>
      isObject(entry) && typeof entry.name === "string" ? entry.name : wrong(name, `${shown(entry)} is no argument`)
    );
  const results = isObject(value.ret) ? value.ret : {};
  return {
    name,
    inputs: names(signature.inputArg),
    outputs: names(signature.outputArg).map((output) => readReference(results[output], `${name} ${output}`)),
    nodes: readNodes(value.nodeDef, name),
  };
}

/** TensorFlow's numbers of its types, which some converters write instead of the names. */
const typeNumbers: Readonly<Record<number, string>> = {
  1: "DT_FLOAT",
  2: "DT_DOUBLE",
  3: "DT_INT32",
  4: "DT_UINT8",
  5: "DT_INT16",
  6: "DT_INT8",
  7: "DT_STRING",
  8: "DT_COMPLEX64",
  9: "DT_INT64",
  10: "DT_BOOL",
  14: "DT_BFLOAT16",
  17: "DT_UINT16",
  19: "DT_HALF",
};

/** Typed reads of one node's attributes. A wrong kind is a DiagnosticError at the node (Q0468). */
export interface Attributes {
  int(name: string, fallback: number): number;
  float(name: string, fallback: number): number;
  boolean(name: string, fallback: boolean): boolean;
  text(name: string, fallback: string): string;
  ints(name: string): readonly number[];
  texts(name: string): readonly string[];
  /** The name of a type such as `DT_FLOAT`. */
  type(name: string, fallback: string): string;
  /** Extents of a shape; null where open, undefined for an unknown rank. */
  shape(name: string): readonly (number | null)[] | undefined;
  /** The name of a function. */
  called(name: string): string;
}

export function attributesOf(node: TfNode): Attributes {
  const read = (name: string): JsonObject => {
    const value = Object.hasOwn(node.attributes, name) ? node.attributes[name] : undefined;
    return isObject(value) ? value : {};
  };
  const malformed = (name: string): never => wrong(node.name, `attribute "${name}" is ${shown(node.attributes[name])}`);
  const integer = (value: unknown, name: string): number => {
    const number = typeof value === "number" || typeof value === "string" && value !== "" ? Number(value) : NaN;
    return Number.isSafeInteger(number) ? number : malformed(name);
  };
  const list = (name: string, kind: string): readonly unknown[] => {
    const { list: all = {} } = read(name);
    const entries = isObject(all) ? all[kind] ?? [] : malformed(name);
    return Array.isArray(entries) ? entries : malformed(name);
  };
  return {
    int: (name, fallback) => {
      const { i } = read(name);
      return i === undefined ? fallback : integer(i, name);
    },
    float: (name, fallback) => {
      const { f } = read(name);
      if (f === undefined) return fallback;
      return typeof f === "number" ? f : malformed(name);
    },
    boolean: (name, fallback) => {
      const { b } = read(name);
      if (b === undefined) return fallback;
      return typeof b === "boolean" ? b : malformed(name);
    },
    text: (name, fallback) => {
      const { s } = read(name);
      return s === undefined ? fallback : decodeText(s) ?? malformed(name);
    },
    ints: (name) => list(name, "i").map((entry) => integer(entry, name)),
    texts: (name) => list(name, "s").map((entry) => decodeText(entry) ?? malformed(name)),
    type: (name, fallback) => {
      const { type } = read(name);
      if (type === undefined) return fallback;
      if (typeof type === "string") return type;
      return typeof type === "number" && Object.hasOwn(typeNumbers, type) ? typeNumbers[type] : malformed(name);
    },
    shape: (name) => {
      const { shape } = read(name);
      if (!isObject(shape) || shape.unknownRank === true) return undefined;
      const dimensions = shape.dim ?? [];
      if (!Array.isArray(dimensions) || dimensions.length > 8) return malformed(name);
      return dimensions.map((dimension: unknown) => {
        const size = isObject(dimension) ? integer(dimension.size ?? 0, name) : malformed(name);
        return size < 0 ? null : size;
      });
    },
    called: (name) => {
      const { func } = read(name);
      return isObject(func) && typeof func.name === "string" ? func.name : malformed(name);
    },
  };
}

/** Bytes of a string attribute, base64 or a list of character codes, as text. */
function decodeText(value: unknown): string | undefined {
  if (Array.isArray(value)) {
    return value.every((code) => Number.isInteger(code) && code >= 0 && code < 0x110000)
      ? String.fromCodePoint(...value.slice(0, 4096))
      : undefined;
  }
  if (typeof value !== "string") return undefined;
  try {
    return atob(value);
  } catch {
    return undefined;
  }
}
