/** Imports an ONNX model: its bytes or its file in, a graph or every reason why not out. */

import {
  collect,
  type Diagnostic,
  errorDiagnostic,
  failure,
  nearestName,
  type Outcome,
  success,
} from "../../diagnostics.ts";
import { constantEnvironment } from "../../ir/evaluate/environment.ts";
import { evaluateNode } from "../../ir/evaluate/mod.ts";
import { isStatic, printExtent } from "../../ir/extent.ts";
import type { Graph } from "../../ir/graph.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { tensorType } from "../../ir/types.ts";
import type { ImportedModel, ImportOptions } from "../model.ts";
import { decodeModel } from "./decode.ts";
import { evaluateDimension } from "./dimension_text.ts";
import { earlierForms } from "./early_ops.ts";
import { dataTypeText, elementKind } from "./element_kind.ts";
import { type ExternalData, externalDataBeside, noExternalData } from "./external_data.ts";
import { FoldingBuilder, type NodeEvaluator } from "./folding_builder.ts";
import { fixedInputs } from "./fixed_inputs.ts";
import { functionTable, importNodes } from "./graph_importer.ts";
import { withoutDeadNodes } from "./dead_nodes.ts";
import { raiseQdq } from "./raise/raise_qdq.ts";
import { opImporters } from "./op_table.ts";
import type { GraphProto, ModelProto, ValueInfoProto } from "./proto.ts";
import { childScope, failed, type Scope } from "./scope.ts";
import type { Session } from "./session.ts";
import { bindInputs, type BoundInputs } from "./symbols.ts";

/** Opset versions of ai.onnx that the importers know. */
const oldestOpset = 7;
const newestOpset = 24;

export interface OnnxImportOptions extends ImportOptions {
  /** Tensors of inputs that become constants of the graph (shapes, axes and the like that must be known). */
  readonly constants?: Readonly<Record<string, Tensor>>;
}

/** Imports the ONNX model in a file; external data is read from its folder. */
export async function importOnnx(path: string, options: OnnxImportOptions): Promise<Outcome<ImportedModel>> {
  let bytes: Uint8Array;
  try {
    bytes = await Deno.readFile(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return failure(errorDiagnostic("Q1000", `Cannot read ${path}: ${reason}`));
  }
  return importOnnxBytes(bytes, options, externalDataBeside(path));
}

/** Imports an ONNX model from its bytes. */
export function importOnnxBytes(
  bytes: Uint8Array,
  options: OnnxImportOptions,
  external: ExternalData = noExternalData,
): Outcome<ImportedModel> {
  const decoded = decodeModel(bytes);
  return decoded.ok ? importOnnxModel(decoded.value, options, external) : decoded;
}

function importOnnxModel(
  model: ModelProto,
  options: OnnxImportOptions,
  external: ExternalData,
): Outcome<ImportedModel> {
  const faults = modelFaults(model);
  if (model.graph === undefined || faults.some(({ severity }) => severity === "error")) return failure(...faults);
  const { graph } = model;
  const initialized = new Set(graph.initializers.map(({ name }) => name));
  const fixed = fixedInputs(graph.inputs, options.bind);
  const constants = { ...fixed.constants, ...options.constants };
  const inputs = graph.inputs.filter(({ name }) => !initialized.has(name) && !Object.hasOwn(constants, name));
  const bound = bindInputs(inputs, fixed.bind);
  const diagnostics = [...faults, ...bound.diagnostics];
  if (diagnostics.some(({ severity }) => severity === "error")) return failure(...diagnostics);
  const session = newSession(model, graph, bound, external, diagnostics, options.onProgress);
  const result = collect(() => importMain(session, model, graph, inputs, bound, constants));
  diagnostics.push(...unknownOpDiagnostics(session));
  if (!result.ok) return failure(...diagnostics, ...result.diagnostics);
  if (result.value === undefined || diagnostics.some(({ severity }) => severity === "error")) {
    return failure(...diagnostics);
  }
  const imported = {
    graph: result.value,
    format: "onnx" as const,
    assets: {},
    metadata: metadataOf(model, bound),
  };
  return success(imported, diagnostics);
}

/** What is wrong with the model as a whole. */
function modelFaults(model: ModelProto): readonly Diagnostic[] {
  const faults: Diagnostic[] = [];
  if (model.graph === undefined) {
    faults.push(
      errorDiagnostic("Q1002", "Not an ONNX model: it has no graph", {
        help: "Check that the file is complete and is ONNX (a protobuf)",
      }),
    );
  }
  const version = model.opsets.find(({ domain }) => domain === "")?.version;
  if (version === undefined && model.graph !== undefined && model.graph.nodes.some(({ domain }) => domain === "")) {
    faults.push(errorDiagnostic("Q1003", "The model does not say which opset of ai.onnx it uses"));
  }
  const earlier = version !== undefined && version < oldestOpset && model.graph !== undefined
    ? earlierForms(model.graph, version)
    : [];
  if (earlier.length > 0) {
    faults.push(
      errorDiagnostic("Q1003", `The model uses opset ${version} of ai.onnx, wanted ${oldestOpset} to ${newestOpset}`, {
        notes: [`Opset ${version} defines in another way: ${earlier.join(", ")}`],
        help: "Convert it with onnx.version_converter",
      }),
    );
  }
  if (version !== undefined && version > newestOpset) {
    faults.push({
      code: "Q1004",
      severity: "warning",
      message: `The model uses opset ${version} of ai.onnx; opsets up to ${newestOpset} are known`,
    });
  }
  return faults;
}

function newSession(
  model: ModelProto,
  graph: GraphProto,
  bound: BoundInputs,
  external: ExternalData,
  diagnostics: Diagnostic[],
  onProgress: OnnxImportOptions["onProgress"],
): Session {
  const builder = new FoldingBuilder(graph.name === "" ? "model" : graph.name, evaluateConstant);
  for (const [name, range] of Object.entries(bound.symbols)) builder.symbol(name, range);
  return {
    builder,
    external,
    functions: functionTable(model.functions),
    extents: bound.extents,
    vectors: new Map(),
    formats: new Map(),
    zeroOwners: new Map(),
    diagnostics,
    unknownOps: new Map(),
    onNode: onProgress && ((done, total) => onProgress({ stage: "import", done, total })),
    imported: 0,
  };
}

const evaluateConstant: NodeEvaluator = (node, operands, constants) =>
  evaluateNode(node, operands, constantEnvironment(constants));

function importMain(
  session: Session,
  model: ModelProto,
  graph: GraphProto,
  inputs: readonly ValueInfoProto[],
  bound: BoundInputs,
  constants: Readonly<Record<string, Tensor>>,
): Graph | undefined {
  const scope = childScope({ opsets: model.opsets, attributes: undefined, prefix: "", calls: [] }, undefined);
  for (const [name, tensor] of Object.entries(constants)) addConstantInput(session, scope, graph, name, tensor);
  inputs.forEach((info) => addInput(session, scope, info, bound));
  const outputs = importNodes(session, scope, graph);
  if (graph.outputs.length === 0) session.diagnostics.push(errorDiagnostic("Q1005", "The model has no outputs"));
  const names = new Set<string>();
  outputs.forEach((meaning, index) => {
    const info = graph.outputs[index];
    if (names.has(info.name)) {
      session.diagnostics.push(errorDiagnostic("Q1014", `Two outputs are named "${info.name}"`, { node: info.name }));
    }
    names.add(info.name);
    if (meaning === failed) return;
    session.builder.output(info.name, meaning);
    checkDeclared(session, info, meaning);
  });
  const isSound = !session.diagnostics.some(({ severity }) => severity === "error") && session.unknownOps.size === 0;
  return isSound ? raiseQdq(withoutDeadNodes(session.builder.finish()), session.builder.evaluate) : undefined;
}

function addInput(session: Session, scope: Scope, info: ValueInfoProto, bound: BoundInputs): void {
  const bad = (code: string, message: string): void => {
    session.diagnostics.push(errorDiagnostic(code, message, { node: info.name }));
    if (!scope.values.has(info.name)) scope.values.set(info.name, failed);
  };
  if (scope.values.has(info.name)) return bad("Q1014", `Two inputs are named "${info.name}"`);
  if (info.kind !== "tensor") {
    return bad("Q1010", `Input "${info.name}" is ${describeKind(info.kind)}, wanted a tensor`);
  }
  const kind = elementKind(info.elementType);
  if (kind === undefined) {
    return bad("Q1010", `Input "${info.name}" holds ${dataTypeText(info.elementType)}, which is not supported`);
  }
  const shape = bound.shapes.get(info.name);
  if (shape === undefined) return bad("Q1006", `Input "${info.name}" declares no shape`);
  const added = collect(() => session.builder.input(info.name, tensorType(kind.element, shape)));
  if (!added.ok) return added.diagnostics.forEach(({ code, message }) => bad(code, message));
  if (kind.format !== undefined) session.formats.set(added.value, kind.format);
  scope.values.set(info.name, added.value);
}

function addConstantInput(session: Session, scope: Scope, graph: GraphProto, name: string, tensor: Tensor): void {
  const info = graph.inputs.find((input) => input.name === name);
  const kind = info === undefined ? undefined : elementKind(info.elementType);
  if (kind === undefined || kind.element !== tensor.element) {
    const wanted = info === undefined ? "which is no input" : `which is declared ${dataTypeText(info.elementType)}`;
    session.diagnostics.push(
      errorDiagnostic("Q1009", `A constant ${tensor.element} is given for "${name}", ${wanted}`, { node: name }),
    );
    return;
  }
  const value = session.builder.constant(tensor, { name });
  if (kind.format !== undefined) session.formats.set(value, kind.format);
  scope.values.set(name, value);
}

function describeKind(kind: ValueInfoProto["kind"]): string {
  return kind === "none" ? "of no declared type" : `a ${kind}`;
}

/** What the model declares of an output and what its nodes make should agree. */
function checkDeclared(session: Session, info: ValueInfoProto, value: string): void {
  const type = session.builder.typeOf(value);
  const kind = elementKind(info.elementType);
  if (info.kind === "tensor" && kind !== undefined && kind.element !== type.element) {
    session.diagnostics.push(
      errorDiagnostic("Q1007", `Output "${info.name}" is declared ${kind.element}, its node makes ${type.element}`, {
        node: info.name,
      }),
    );
  }
  if (info.shape === undefined) return;
  const isOff = info.shape.length !== type.shape.length || info.shape.some((dimension, axis) => {
    const declared = dimension === undefined
      ? undefined
      : "value" in dimension
      ? Number(dimension.value)
      : evaluateDimension(dimension.name, session.extents);
    const made = type.shape[axis];
    return declared !== undefined && isStatic(declared) && declared > 0 && isStatic(made) && declared !== made;
  });
  if (!isOff) return;
  const declared = info.shape.map((dimension) =>
    dimension === undefined ? "?" : "value" in dimension ? String(dimension.value) : dimension.name
  );
  session.diagnostics.push({
    code: "Q1008",
    severity: "warning",
    message: `Output "${info.name}" is declared [${declared}], its node makes [${type.shape.map(printExtent)}]`,
    node: info.name,
  });
}

/** One diagnostic for each unknown op, with the nodes that need it. */
function unknownOpDiagnostics(session: Session): readonly Diagnostic[] {
  return [...session.unknownOps].map(([op, places]) => {
    const key = op.slice(0, op.lastIndexOf("@"));
    const nearest = nearestName(key, opImporters.keys());
    const count = places.length === 1 ? "1 node" : `${places.length} nodes`;
    return errorDiagnostic(
      "Q1020",
      `Op ${key} (opset ${op.slice(op.lastIndexOf("@") + 1)}) is not supported: ${count}`,
      {
        node: places[0],
        notes: places,
        help: nearest === undefined || nearest === key ? undefined : `The nearest supported op is ${nearest}`,
      },
    );
  });
}

function metadataOf(model: ModelProto, bound: BoundInputs): Readonly<Record<string, unknown>> {
  return {
    producer: model.producer,
    irVersion: model.irVersion,
    opsets: Object.fromEntries(
      model.opsets.map(({ domain, version }) => [domain === "" ? "ai.onnx" : domain, version]),
    ),
    symbols: bound.sources,
    properties: model.metadata,
  };
}
