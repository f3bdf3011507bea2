/** Imports a graph model: the nodes that its outputs need, in order, functions and loops unrolled. */

import {
  type Diagnostic,
  DiagnosticError,
  errorDiagnostic,
  fail,
  type Outcome,
  success,
} from "../../../diagnostics.ts";
import { type Extent, symbolic } from "../../../ir/extent.ts";
import { TypeFault } from "../../../ir/type_rules.ts";
import { tensorType } from "../../../ir/types.ts";
import { withoutDeadNodes } from "../../onnx/dead_nodes.ts";
import { FoldingBuilder } from "../../onnx/folding_builder.ts";
import { isObject, suggestion } from "../../fields.ts";
import type { ImportedModel, ImportOptions } from "../../model.ts";
import { evaluateConstants } from "../constants.ts";
import type { ModelJson } from "../model_json.ts";
import { dependencyOrder } from "../order.ts";
import { AxisBinder } from "../symbols.ts";
import type { TfWeight } from "../weights.ts";
import { elementOf, type TfContext, tfContext, type TfImporterTable } from "./context.ts";
import { applyExtentRule } from "./extents.ts";
import { type NodeReference, readGraph, readReference, type TfFunction, type TfGraph, type TfNode } from "./node.ts";
import { blockOps } from "./ops/blocks.ts";
import { contractionOps } from "./ops/contraction.ts";
import { elementwiseOps } from "./ops/elementwise.ts";
import { rearrangeOps } from "./ops/rearrange.ts";
import { reductionOps } from "./ops/reduction.ts";
import { segmentOps } from "./ops/segment.ts";
import { applyTextRule, isTextOp, outputNames } from "./text.ts";
import { tensorValue, type TfValue } from "./value.ts";

const importers: TfImporterTable = {
  ...elementwiseOps,
  ...contractionOps,
  ...reductionOps,
  ...rearrangeOps,
  ...blockOps,
  ...segmentOps,
};

/** Ops that the importer itself reads. */
const structural = new Set([
  "Const",
  "Identity",
  "IdentityN",
  "If",
  "PartitionedCall",
  "Placeholder",
  "PlaceholderWithDefault",
  "Snapshot",
  "StatefulPartitionedCall",
  "StatelessIf",
  "StatelessWhile",
  "StopGradient",
  "While",
]);

/** Loops are unrolled, so their work is bounded. */
const nodeLimit = 200_000;
const callDepthLimit = 32;

/** One import in progress. */
interface Session {
  readonly graph: TfGraph;
  readonly weights: ReadonlyMap<string, TfWeight>;
  readonly builder: FoldingBuilder;
  readonly binder: AxisBinder;
  /** Symbols whose ranges the caller left to the model. */
  readonly unbound: Set<string>;
  readonly options: ImportOptions;
  /** Border names by node, from the signature. */
  readonly inputNames: ReadonlyMap<string, string>;
  imported: number;
}

/** The model as a graph. Throws a DiagnosticError: unknown ops all at once, then the first fault. */
export function importGraphModel(
  model: ModelJson,
  weights: ReadonlyMap<string, TfWeight>,
  options: ImportOptions,
): Outcome<ImportedModel> {
  const graph = readGraph(model.topology);
  const borders = readBorders(model, graph);
  const order = orderOf(graph.nodes, borders.outputs.map(({ reference }) => reference));
  checkOps(graph, order);
  const builder = new FoldingBuilder("tfjs", evaluateConstants);
  const diagnostics: Diagnostic[] = [];
  const binder = new AxisBinder(builder, options, diagnostics);
  const session: Session = {
    graph,
    weights,
    builder,
    binder,
    unbound: new Set(),
    options,
    inputNames: borders.inputNames,
    imported: 0,
  };
  const values = importNodes(session, graph.nodes, order, new Map(), 0);
  binder.reportUnused();
  if (diagnostics.length > 0) throw new DiagnosticError(diagnostics);
  return finish(session, borders, values);
}

interface Borders {
  readonly inputNames: ReadonlyMap<string, string>;
  readonly outputs: readonly { readonly name: string; readonly reference: NodeReference }[];
}

/** Names and nodes of inputs and outputs: the signature's, or placeholders and nodes that no other node reads. */
function readBorders(model: ModelJson, graph: TfGraph): Borders {
  const signature = [
    model.root.signature,
    isObject(model.root.userDefinedMetadata) ? model.root.userDefinedMetadata.signature : undefined,
  ]
    .find((entry) => isObject(entry) && isObject(entry.outputs));
  if (!isObject(signature)) return { inputNames: new Map(), outputs: unreadNodes(graph) };
  const entries = (part: unknown) =>
    Object.entries(isObject(part) ? part : {}).map(([name, entry]) => ({
      // Some converters name the borders after tensors, "x:0", which means the node's first output.
      name: name.replace(/:0$/, ""),
      reference: readReference(isObject(entry) ? entry.name : undefined, `signature ${name}`),
    }));
  return {
    inputNames: new Map(entries(signature.inputs).map(({ name, reference }) => [reference.node, name])),
    outputs: entries(signature.outputs),
  };
}

function unreadNodes(graph: TfGraph): Borders["outputs"] {
  const read = new Set([...graph.nodes.values()].flatMap((node) => node.inputs.map((reference) => reference.node)));
  return [...graph.nodes.values()]
    .filter((node) => !read.has(node.name) && node.op !== "Const" && node.op !== "Placeholder" && node.op !== "NoOp")
    .map((node) => ({ name: node.name, reference: { node: node.name, output: 0 } }));
}

function nodeNamed(nodes: ReadonlyMap<string, TfNode>, name: string): TfNode {
  return nodes.get(name) ?? fail("Q0468", `There is no node "${name}"`, { node: name });
}

function orderOf(
  nodes: ReadonlyMap<string, TfNode>,
  roots: readonly NodeReference[],
  known?: ReadonlyMap<string, unknown>,
) {
  const ordered = dependencyOrder(
    roots.map(({ node }) => node),
    (name) => (known?.has(name) ? [] : nodeNamed(nodes, name).inputs.map((reference) => reference.node)),
  );
  if (!ordered.ok) return fail("Q0468", `Node "${ordered.cycle}" depends on itself`, { node: ordered.cycle });
  return ordered.order.filter((name) => !known?.has(name));
}

/** Unknown ops of the nodes that are needed and of all functions, each op once with its nodes. */
function checkOps(graph: TfGraph, order: readonly string[]): void {
  const nodes = [
    ...order.map((name) => nodeNamed(graph.nodes, name)),
    ...[...graph.functions.values()].flatMap((entry) => [...entry.nodes.values()]),
  ];
  const places = new Map<string, string[]>();
  for (const { op, name } of nodes) {
    if (structural.has(op) || Object.hasOwn(importers, op) || isTextOp(op)) continue;
    places.set(op, [...places.get(op) ?? [], name]);
  }
  if (places.size === 0) return;
  throw new DiagnosticError([...places].map(([op, names]) =>
    errorDiagnostic("Q0470", `Op "${op}" is not supported`, {
      node: names[0],
      notes: [`at ${names.slice(0, 8).join(", ")}${names.length > 8 ? ` and ${names.length - 8} more` : ""}`],
      help: suggestion(op, Object.keys(importers)),
    })
  ));
}

type Values = Map<string, readonly TfValue[]>;

function importNodes(
  session: Session,
  nodes: ReadonlyMap<string, TfNode>,
  order: readonly string[],
  values: Values,
  depth: number,
): Values {
  for (const name of order) {
    const node = nodeNamed(nodes, name);
    const inputs = node.inputs.map((reference) => valueOf(nodes, values, reference));
    if (++session.imported > nodeLimit) {
      fail("Q0469", `More than ${nodeLimit} nodes once loops are unrolled`, { node: name });
    }
    session.builder.origin = [node.name];
    values.set(name, importNode(session, node, inputs, depth));
    if (depth === 0) {
      session.options.onProgress?.({ stage: "Importing nodes", done: values.size, total: order.length });
    }
  }
  return values;
}

function valueOf(nodes: ReadonlyMap<string, TfNode>, values: Values, reference: NodeReference): TfValue {
  const all = values.get(reference.node);
  const op = nodes.get(reference.node)?.op ?? "";
  const named = reference.argument === undefined ? -1 : (outputNames[op] ?? []).indexOf(reference.argument);
  const index = named >= 0 ? named + reference.output : reference.output;
  return all?.[index] ?? fail("Q0468", `Node "${reference.node}" has no output ${index}`, { node: reference.node });
}

function importNode(session: Session, node: TfNode, inputs: readonly TfValue[], depth: number): readonly TfValue[] {
  const context = tfContext(session.builder, node, inputs, session.unbound);
  try {
    if (structural.has(node.op)) return importStructural(session, context, depth);
    const text = applyTextRule(context);
    if (text !== undefined) return text;
    const extents = applyExtentRule(context);
    if (extents !== undefined) return [extents];
    const importer = Object.hasOwn(importers, node.op) ? importers[node.op] : undefined;
    return importer === undefined ? context.fail("is not supported on these operands") : importer(context);
  } catch (error) {
    if (!(error instanceof TypeFault)) throw error;
    return context.fail(error.message);
  }
}

function importStructural(session: Session, context: TfContext, depth: number): readonly TfValue[] {
  const { node, inputs } = context;
  switch (node.op) {
    case "Const":
      return [constantValue(session, context)];
    case "Placeholder":
      return [placeholder(session, context)];
    case "PartitionedCall":
    case "StatefulPartitionedCall":
      return callFunction(session, context, context.attributes.called("f"), inputs, depth);
    case "If":
    case "StatelessIf":
      return importIf(session, context, depth);
    case "While":
    case "StatelessWhile":
      return importWhile(session, context, depth);
    default:
      // Identities, and placeholders with a default, which serve as their default.
      return inputs;
  }
}

function constantValue(session: Session, context: TfContext): TfValue {
  const { name } = context.node;
  const weight = session.weights.get(name) ?? context.fail("has no weight of its name in the manifest");
  if (weight.kind === "strings") return { kind: "constantText", shape: weight.shape, strings: weight.strings };
  return tensorValue(session.builder.constant(weight.tensor, { name, origin: [name] }));
}

function placeholder(session: Session, context: TfContext): TfValue {
  const { builder, binder } = session;
  const { node, attributes } = context;
  const type = attributes.type("dtype", "DT_FLOAT");
  const name = session.inputNames.get(node.name) ?? node.name;
  if (type === "DT_STRING") return textPlaceholder(session, context, name);
  const element = elementOf(type) ?? context.fail(`is ${type}, which is not supported`);
  const shape = attributes.shape("shape") ?? context.fail("has no known rank");
  const extents = shape.map((extent, axis) => (extent === null ? binder.extent(name, axis) : extent));
  return tensorValue(builder.input(name, tensorType(element, extents)));
}

/** Longest text while nothing in the model says less. */
const longestText = 2 ** 20;

/** A batch of one text, which is given as its bytes: u8[bytes]. */
function textPlaceholder(session: Session, context: TfContext, name: string): TfValue {
  const shape = context.attributes.shape("shape");
  if (shape === undefined || shape.length > 1 || shape.length === 1 && shape[0] !== null && shape[0] !== 1) {
    return context.fail("only a single text can be an input");
  }
  const { builder, binder, options } = session;
  const bound = options.bind.bytes !== undefined || options.bind[`${name}.bytes`] !== undefined;
  const count: Extent = bound ? binder.named("bytes", [`${name}.bytes`, "bytes"]) : symbolic("bytes");
  if (!bound) {
    if (session.unbound.has("bytes")) return context.fail("only one text can be an input");
    builder.symbol("bytes", { min: 1, max: longestText });
    session.unbound.add("bytes");
  }
  const bytes = builder.input(name, tensorType("u8", [count]));
  return { kind: "text", rank: shape.length === 0 ? 0 : 1, bytes, count };
}

function functionNamed(session: Session, context: TfContext, name: string): TfFunction {
  return session.graph.functions.get(name) ?? context.fail(`function "${name}" is not in the library`);
}

function callFunction(
  session: Session,
  context: TfContext,
  name: string,
  inputs: readonly TfValue[],
  depth: number,
): readonly TfValue[] {
  if (depth >= callDepthLimit) return context.fail(`calls are nested more than ${callDepthLimit} deep`);
  const called = functionNamed(session, context, name);
  if (called.inputs.length !== inputs.length) {
    return context.fail(`function "${name}" takes ${called.inputs.length} operands, got ${inputs.length}`);
  }
  const values: Values = new Map(called.inputs.map((input, index) => [input, [inputs[index]]]));
  const order = orderOf(called.nodes, called.outputs, values);
  importNodes(session, called.nodes, order, values, depth + 1);
  return called.outputs.map((reference) => valueOf(called.nodes, values, reference));
}

/** Whether a condition holds; a diagnostic where that is only known at run time. */
function decided(session: Session, context: TfContext, value: TfValue | undefined): boolean {
  const tensor = value?.kind === "tensor" ? session.builder.constantOf(value.value) : undefined;
  if (tensor?.kind !== "plain" || tensor.data.length !== 1) {
    return context.fail("the condition is only known at run time");
  }
  return Number(tensor.data[0]) !== 0;
}

function importIf(session: Session, context: TfContext, depth: number): readonly TfValue[] {
  const [condition, ...rest] = context.inputs;
  const branch = decided(session, context, condition) ? "then_branch" : "else_branch";
  return callFunction(session, context, context.attributes.called(branch), rest, depth);
}

function importWhile(session: Session, context: TfContext, depth: number): readonly TfValue[] {
  const [condition, body] = ["cond", "body"].map((name) => context.attributes.called(name));
  let carried = context.inputs;
  while (decided(session, context, callFunction(session, context, condition, carried, depth)[0])) {
    carried = callFunction(session, context, body, carried, depth);
    // A body without nodes would otherwise turn for ever.
    if (++session.imported > nodeLimit) return context.fail(`turns more than ${nodeLimit} times`);
  }
  return carried;
}

/** Tensors become outputs; texts of the model itself become metadata, with a note. */
function finish(session: Session, borders: Borders, values: Values): Outcome<ImportedModel> {
  const { builder } = session;
  const texts: Record<string, readonly string[]> = {};
  const notes: Diagnostic[] = [];
  for (const { name, reference } of borders.outputs) {
    const value = valueOf(session.graph.nodes, values, reference);
    if (value.kind === "constantText") {
      texts[name] = value.strings.map((bytes) => new TextDecoder().decode(bytes));
      const message = `Output "${name}" is always the same text; it stands in the metadata instead`;
      notes.push({ code: "Q0471", severity: "note", message, node: name });
    } else if (value.kind === "tensor") {
      builder.output(name, value.value);
    } else {
      fail("Q0469", `Output "${name}" is no tensor`, { node: name });
    }
  }
  return success<ImportedModel>({
    graph: withoutDeadNodes(builder.finish()),
    format: "tfjs",
    assets: {},
    metadata: { kind: "graph", ...(Object.keys(texts).length === 0 ? {} : { texts }) },
  }, notes);
}
