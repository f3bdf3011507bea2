/** Imports the nodes of ONNX graphs into a builder. A fault in one node does not hide those in others. */

import { DiagnosticError, errorDiagnostic } from "../../diagnostics.ts";
import type { ValueName } from "../../ir/node.ts";
import { TypeFault } from "../../ir/type_rules.ts";
import { attributeReader, type NodeAttributes } from "./attributes.ts";
import { importContext } from "./import_context.ts";
import { namesRead, nodePlace, orderNodes } from "./node_order.ts";
import { opImporters, opKey } from "./op_table.ts";
import type { OnnxNode, OpImporter } from "./op_importer.ts";
import { moveFormats } from "./coded_values.ts";
import { propagateVectors } from "./shape_arithmetic.ts";
import type { AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto } from "./proto.ts";
import { childScope, failed, type Frame, type Meaning, opsetOf, type Scope } from "./scope.ts";
import { codedValue, type Session } from "./session.ts";
import { loadTensor } from "./tensor_data.ts";

/** Nodes that one import may add, loops and functions unrolled. */
const nodeLimit = 200_000;

/** Function calls may nest this deep. */
const callLimit = 64;

/** Imports a graph's needed nodes into `scope`, whose inputs are bound, and yields what its outputs stand for. */
export function importNodes(session: Session, scope: Scope, graph: GraphProto): readonly Meaning[] {
  addInitializers(session, scope, graph);
  return importBody(session, scope, graph.nodes, graph.outputs.map(({ name }) => name));
}

function addInitializers(session: Session, scope: Scope, graph: GraphProto): void {
  if (graph.sparseInitializers > 0) {
    session.diagnostics.push(
      errorDiagnostic(
        "Q1010",
        `Graph "${graph.name}" has ${graph.sparseInitializers} sparse initializers, which are not supported`,
      ),
    );
  }
  for (const tensor of graph.initializers) {
    if (scope.initializers.has(tensor.name)) {
      session.diagnostics.push(
        errorDiagnostic("Q1014", `Two initializers are named "${tensor.name}"`, { node: tensor.name }),
      );
    }
    scope.initializers.set(tensor.name, tensor);
  }
}

function importBody(
  session: Session,
  scope: Scope,
  nodes: readonly NodeProto[],
  outputs: readonly string[],
): readonly Meaning[] {
  checkFresh(scope, nodes);
  const ordered = orderNodes(nodes, outputs);
  const isMain = scope.parent === undefined && scope.frame.attributes === undefined;
  ordered.forEach((node, index) => {
    importNode(session, scope, node);
    if (isMain) session.onNode?.(index + 1, ordered.length);
  });
  return outputs.map((name) => lookUp(session, scope, name, "the graph's outputs"));
}

/** Nodes may not make what the graph is given. */
function checkFresh(scope: Scope, nodes: readonly NodeProto[]): void {
  for (const node of nodes) {
    const taken = node.outputs.find((name) => name !== "" && (scope.values.has(name) || scope.initializers.has(name)));
    if (taken === undefined) continue;
    const place = scope.frame.prefix + nodePlace(node);
    throw new DiagnosticError([
      errorDiagnostic("Q1014", `"${taken}" is made by "${place}" and is an input or initializer too`, { node: place }),
    ]);
  }
}

/** What a name stands for; an initializer is loaded when it is first read. */
function lookUp(session: Session, scope: Scope, name: string, reader: string): Meaning {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const known = at.values.get(name);
    if (known !== undefined) return known;
    const tensor = at.initializers.get(name);
    if (tensor !== undefined) {
      const meaning = guarded(session, name, () => loadInitializer(session, tensor)) ?? failed;
      at.values.set(name, meaning);
      return meaning;
    }
  }
  session.diagnostics.push(
    errorDiagnostic(
      "Q1016",
      `"${name}", which ${reader} reads, is neither an input, nor an initializer, nor made by a node`,
      {
        node: reader,
      },
    ),
  );
  scope.values.set(name, failed);
  return failed;
}

function loadInitializer(session: Session, proto: TensorProto): ValueName {
  const { tensor, format } = loadTensor(proto, proto.name, session.external);
  const value = session.builder.constant(tensor, { name: proto.name, origin: [proto.name] });
  return format === undefined ? value : codedValue(session, value, format);
}

/** Runs `body`; what it reports is collected, with `place` where it names none. */
function guarded<T>(session: Session, place: string, body: () => T): T | undefined {
  try {
    return body();
  } catch (error) {
    if (error instanceof DiagnosticError) {
      session.diagnostics.push(...error.diagnostics.map((diagnostic) => ({ node: place, ...diagnostic })));
    } else if (error instanceof TypeFault) {
      session.diagnostics.push(errorDiagnostic("Q1030", `Cannot import "${place}": ${error.message}`, { node: place }));
    } else if (error instanceof RangeError && /array length|allocation failed/i.test(error.message)) {
      // A size that a file states at will: the list that it asks for does not fit into memory.
      session.diagnostics.push(
        errorDiagnostic("Q1011", `"${place}" asks for more memory than there is`, { node: place }),
      );
    } else {
      throw error;
    }
    return undefined;
  }
}

function importNode(session: Session, scope: Scope, node: NodeProto): void {
  const place = scope.frame.prefix + nodePlace(node);
  if (++session.imported > nodeLimit) {
    throw new DiagnosticError([
      errorDiagnostic("Q1013", `More than ${nodeLimit} nodes once loops and functions are written out`, {
        node: place,
      }),
    ]);
  }
  const inputs = node.inputs.map((name) => (name === "" ? undefined : lookUp(session, scope, name, place)));
  const outputs = isFailed(inputs) || hasFailedCapture(session, scope, node, place)
    ? censusOnly(session, scope, node, place)
    : guarded(session, place, () => importOne(session, scope, node, place, inputs.map(knownValue)));
  node.outputs.forEach((name, index) => {
    if (name !== "") scope.values.set(name, outputs?.[index] ?? failed);
  });
}

function isFailed(meanings: readonly (Meaning | undefined)[]): boolean {
  return meanings.includes(failed);
}

function knownValue(meaning: Meaning | undefined): ValueName | undefined {
  return typeof meaning === "string" ? meaning : undefined;
}

/** Whether a body inside the node reads a failed value of the graphs around it. */
function hasFailedCapture(session: Session, scope: Scope, node: NodeProto, place: string): boolean {
  if (node.attributes.every(({ graph }) => graph === undefined)) return false;
  return [...namesRead(node)].some((name) => lookUp(session, scope, name, place) === failed);
}

/** A node whose operands failed: only unknown ops are reported, in its bodies too. */
function censusOnly(session: Session, scope: Scope, node: NodeProto, place: string): undefined {
  if (findFunction(session, node) === undefined && !opImporters.has(opKey(node.domain, node.opType))) {
    noteUnknown(session, scope.frame, node, place);
  }
  for (const { graph } of node.attributes) {
    graph?.nodes.forEach((inner) => censusOnly(session, scope, inner, scope.frame.prefix + nodePlace(inner)));
  }
}

function noteUnknown(session: Session, frame: Frame, node: NodeProto, place: string): void {
  const key = `${opKey(node.domain, node.opType)}@${opsetOf(frame, node.domain)}`;
  const places = session.unknownOps.get(key);
  if (places === undefined) session.unknownOps.set(key, [place]);
  else places.push(place);
}

function functionKey(domain: string, name: string, overload: string): string {
  return [domain, name, overload].join(":");
}

/** The model's functions by domain, name and overload. */
export function functionTable(functions: readonly FunctionProto[]): ReadonlyMap<string, FunctionProto> {
  return new Map(functions.map((entry) => [functionKey(entry.domain, entry.name, entry.overload), entry]));
}

function findFunction(session: Session, node: NodeProto): FunctionProto | undefined {
  return session.functions.get(functionKey(node.domain, node.opType, node.overload));
}

function importOne(
  session: Session,
  scope: Scope,
  node: NodeProto,
  place: string,
  inputs: readonly (ValueName | undefined)[],
): readonly Meaning[] | undefined {
  const attributes = resolveAttributes(node, scope.frame, place);
  const body = findFunction(session, node);
  if (body !== undefined) return inlineFunction(session, scope, body, attributes, inputs, place);
  const importer = opImporters.get(opKey(node.domain, node.opType));
  if (importer === undefined) {
    noteUnknown(session, scope.frame, node, place);
    return undefined;
  }
  return runImporter(session, scope, { ...node, attributes }, place, inputs, importer);
}

/** Replaces attributes that refer to the function's own by those of the call; absent ones fall away. */
function resolveAttributes(node: NodeProto, frame: Frame, place: string): readonly AttributeProto[] {
  return node.attributes.flatMap((attribute) => {
    if (attribute.reference === "") return [attribute];
    if (frame.attributes === undefined) {
      throw new DiagnosticError([
        errorDiagnostic(
          "Q1021",
          `Attribute "${attribute.name}" refers to "${attribute.reference}" outside a function`,
          {
            node: place,
          },
        ),
      ]);
    }
    const given = frame.attributes.get(attribute.reference);
    return given === undefined ? [] : [{ ...given, name: attribute.name, reference: "" }];
  });
}

function inlineFunction(
  session: Session,
  scope: Scope,
  body: FunctionProto,
  attributes: readonly AttributeProto[],
  inputs: readonly (ValueName | undefined)[],
  place: string,
): readonly Meaning[] {
  const key = functionKey(body.domain, body.name, body.overload);
  const { calls } = scope.frame;
  const bad = (message: string): never => {
    throw new DiagnosticError([errorDiagnostic("Q1017", message, { node: place })]);
  };
  if (calls.includes(key)) bad(`Function "${body.name}" calls itself`);
  if (calls.length >= callLimit) bad(`Functions call each other more than ${callLimit} deep`);
  if (inputs.length > body.inputs.length) {
    bad(`Function "${body.name}" takes ${body.inputs.length} inputs, got ${inputs.length}`);
  }
  const given = new Map([...body.defaults, ...attributes].map((attribute) => [attribute.name, attribute]));
  const missing = body.attributes.filter((name) => !given.has(name));
  if (missing.length > 0) bad(`Function "${body.name}" is called without its attribute "${missing[0]}"`);
  const inner = childScope({
    opsets: body.opsets.length > 0 ? body.opsets : scope.frame.opsets,
    attributes: given,
    prefix: `${place}/`,
    calls: [...calls, key],
  }, undefined);
  // An input that the call leaves out is the empty name inside: the body's nodes see it as absent.
  const absent = new Set(body.inputs.filter((_, index) => inputs[index] === undefined));
  body.inputs.forEach((name, index) => {
    const value = inputs[index];
    if (value !== undefined) inner.values.set(name, value);
  });
  const nodes = body.nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map((name) => (absent.has(name) ? "" : name)),
  }));
  return importBody(session, inner, nodes, body.outputs);
}

function runImporter(
  session: Session,
  scope: Scope,
  node: NodeProto,
  place: string,
  inputs: readonly (ValueName | undefined)[],
  importer: OpImporter,
): readonly Meaning[] {
  const attributes = attributeReader(node.attributes, place, session.external);
  const view: OnnxNode = {
    name: place,
    opType: node.opType,
    domain: node.domain,
    opset: opsetOf(scope.frame, node.domain),
    inputs,
    outputUsed: usedOutputs(node),
    attributes,
  };
  const context = importContext(
    session,
    view,
    node.inputs,
    attributes.graph,
    (body, actual) => importSubgraph(session, scope, body, actual, place),
  );
  const outer = session.builder.origin;
  session.builder.origin = [place];
  try {
    const outputs = importer(context);
    checkAttributes(session, attributes, node, place);
    checkOutputs(view, outputs, place);
    return moveFormats(session, view, propagateVectors(session, view, outputs));
  } finally {
    session.builder.origin = outer;
  }
}

function usedOutputs(node: NodeProto): readonly boolean[] {
  const used = node.outputs.map((name) => name !== "");
  return used.slice(0, used.lastIndexOf(true) + 1);
}

/** Attributes that the importer never asked for may change what the node means. */
function checkAttributes(session: Session, attributes: NodeAttributes, node: NodeProto, place: string): void {
  for (const name of attributes.unread()) {
    const nearest = attributes.nearest(name);
    session.diagnostics.push(
      errorDiagnostic("Q1025", `${opKey(node.domain, node.opType)} has the unknown attribute "${name}"`, {
        node: place,
        help: nearest === undefined ? undefined : `Did you mean "${nearest}"?`,
      }),
    );
  }
}

function checkOutputs(node: OnnxNode, outputs: readonly ValueName[], place: string): void {
  const missing = node.outputUsed.findIndex((used, index) => used && outputs[index] === undefined);
  if (missing < 0) return;
  throw new DiagnosticError([
    errorDiagnostic("Q1026", `Output ${missing} of ${node.opType} is not supported`, { node: place }),
  ]);
}

/** Imports a body in place. Throws when one of its outputs failed: the reasons are reported already. */
function importSubgraph(
  session: Session,
  scope: Scope,
  body: GraphProto,
  actual: readonly ValueName[],
  place: string,
): readonly ValueName[] {
  const inner = childScope(scope.frame, scope);
  if (actual.length !== body.inputs.length) {
    throw new DiagnosticError([
      errorDiagnostic("Q1022", `The body takes ${body.inputs.length} inputs, got ${actual.length}`, { node: place }),
    ]);
  }
  body.inputs.forEach(({ name }, index) => inner.values.set(name, actual[index]));
  const outputs = importNodes(session, inner, body);
  return outputs.map((meaning) => {
    if (meaning === failed) throw new DiagnosticError([]);
    return meaning;
  });
}
