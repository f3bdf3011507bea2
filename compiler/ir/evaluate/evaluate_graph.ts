/** Evaluates whole graphs: symbols solved from the inputs, values dropped after their last reader. */

import { evaluateExtent, type Extent, isStatic, type SymbolValues } from "../extent.ts";
import { type Graph, typeOf } from "../graph.ts";
import type { Node, ValueName } from "../node.ts";
import { type Tensor, typeOfTensor } from "../tensor.ts";
import { printType, type TensorType } from "../types.ts";
import { type Diagnostic, DiagnosticError, errorDiagnostic, InvariantError, nearestName } from "../../diagnostics.ts";
import type { Environment } from "./environment.ts";
import { evaluateNode } from "./evaluate_node.ts";
import { StateMemory } from "./state_memory.ts";

export interface EvaluateOptions {
  /** Values of symbols that no input shape tells. */
  readonly symbols?: SymbolValues;
  /** Changed by the run; fresh zero states when absent. */
  readonly states?: StateMemory;
  /** Sees every input and every node's output, in order. */
  readonly observe?: (value: ValueName, tensor: Tensor) => void;
}

export interface GraphRun {
  /** Tensors by the output's source name. */
  readonly outputs: Readonly<Record<string, Tensor>>;
  /** The states after the run. */
  readonly states: StateMemory;
}

/**
 * Runs a verified graph on tensors named by the source model's input names. Throws DiagnosticError when inputs are
 * missing, unknown, of another type than declared, or outside the ranges of the symbols.
 */
export function evaluateGraph(
  graph: Graph,
  inputs: Readonly<Record<string, Tensor>>,
  options: EvaluateOptions = {},
): GraphRun {
  checkInputNames(graph, inputs);
  const states = options.states ?? new StateMemory(graph.states, graph.symbols);
  const known = solveSymbols(graph, inputs, options.symbols ?? {}, states.past);
  const environment: Environment = { constants: graph.constants, symbols: known.symbols, states };
  const values = new Map<ValueName, Tensor>();
  for (const { name, value } of graph.inputs) {
    values.set(value, inputs[name]);
    options.observe?.(value, inputs[name]);
  }
  const writes: (() => void)[] = [];
  const last = lastReaders(graph);
  graph.nodes.forEach((node, index) => {
    const operands = node.inputs.map((value) => values.get(value) ?? missing(node, value));
    const results = runNode(node, operands, environment);
    node.outputs.forEach((value, output) => {
      values.set(value, results[output]);
      options.observe?.(value, results[output]);
    });
    if (node.op === "writeState") {
      const { state } = node.attributes;
      writes.push(() => states.set(state, results[0]));
    }
    for (const value of [...node.inputs, ...node.outputs]) {
      if ((last.get(value) ?? -1) <= index) values.delete(value);
    }
  });
  for (const write of writes) write();
  states.advance(known.positions);
  const outputs = graph.outputs.map(({ name, value }) => [name, values.get(value) ?? missing(undefined, value)]);
  return { outputs: Object.fromEntries(outputs), states };
}

function missing(node: Node | undefined, value: ValueName): never {
  throw new InvariantError(`Value %${value} is read by ${node?.op ?? "the graph's outputs"} but has not been computed`);
}

function runNode(node: Node, operands: readonly Tensor[], environment: Environment): readonly Tensor[] {
  try {
    return evaluateNode(node, operands, environment);
  } catch (error) {
    if (error instanceof DiagnosticError) throw error;
    const types = operands.map((operand) => printType(typeOfTensor(operand))).join(", ");
    const origin = node.origin.length > 0 ? ` from "${node.origin.join('", "')}"` : "";
    const cause = error instanceof Error ? error.message : String(error);
    throw new InvariantError(`Cannot evaluate ${node.op}(${types})${origin}: ${cause}`);
  }
}

/** Index of the node that reads each value last; graph outputs are read past the end. */
function lastReaders(graph: Graph): Map<ValueName, number> {
  const last = new Map<ValueName, number>();
  graph.nodes.forEach((node, index) => node.inputs.forEach((value) => last.set(value, index)));
  for (const { value } of graph.outputs) last.set(value, Infinity);
  return last;
}

function checkInputNames(graph: Graph, inputs: Readonly<Record<string, Tensor>>): void {
  const names = graph.inputs.map((input) => input.name);
  const faults: Diagnostic[] = [];
  for (const name of names) {
    if (!Object.hasOwn(inputs, name)) {
      faults.push(errorDiagnostic("Q0101", `Input "${name}" is missing`, { node: name }));
    }
  }
  for (const name of Object.keys(inputs)) {
    if (names.includes(name)) continue;
    const near = nearestName(name, names);
    const help = near === undefined ? `Inputs are ${names.join(", ")}` : `Did you mean "${near}"?`;
    faults.push(errorDiagnostic("Q0102", `There is no input "${name}"`, { node: name, help }));
  }
  if (faults.length > 0) throw new DiagnosticError(faults);
}

interface SolvedSymbols {
  readonly symbols: SymbolValues;
  /** Positions that this run adds to the states. */
  readonly positions: number;
}

/** Values of all symbols: from input shapes, then `past` from the states and `total` = past + appended positions. */
export function solveSymbols(
  graph: Graph,
  inputs: Readonly<Record<string, Tensor>>,
  given: SymbolValues,
  past: number,
): SolvedSymbols {
  const symbols: Record<string, number> = { ...given };
  const faults: Diagnostic[] = [];
  for (const { name, value } of graph.inputs) {
    const fault = solveInput(typeOf(graph, value), inputs[name], symbols);
    if (fault !== undefined) faults.push(errorDiagnostic("Q0103", `Input "${name}" ${fault}`, { node: name }));
  }
  if (faults.length > 0) throw new DiagnosticError(faults);
  symbols.past = past;
  const positions = appendedPositions(graph, symbols);
  symbols.total = past + positions;
  for (const [name, { min, max }] of Object.entries(graph.symbols)) {
    const value = symbols[name];
    if (value === undefined) {
      faults.push(errorDiagnostic("Q0104", `Symbol "${name}" has no value: no input's shape holds it`));
    } else if (value < min || value > max) {
      faults.push(errorDiagnostic("Q0105", `Symbol "${name}" is ${value}, its range is ${min}..${max}`));
    }
  }
  if (faults.length > 0) throw new DiagnosticError(faults);
  return { symbols, positions };
}

/** Matches a tensor with its declared type; sets symbols, or says what is wrong. */
function solveInput(type: TensorType, tensor: Tensor, symbols: Record<string, number>): string | undefined {
  const given = typeOfTensor(tensor);
  const wanted = `is ${printType(given)}, wants ${printType(type)}`;
  if (given.element !== type.element || given.encoding.kind !== type.encoding.kind) return wanted;
  if (given.shape.length !== type.shape.length) return wanted;
  for (let axis = 0; axis < type.shape.length; axis++) {
    const extent = type.shape[axis];
    const actual = tensor.shape[axis];
    if (isStatic(extent)) {
      if (extent !== actual) return wanted;
      continue;
    }
    const value = symbols[extent.symbol] ?? (actual - extent.offset) / extent.factor;
    if (!Number.isInteger(value) || evaluateExtent(extent, { [extent.symbol]: value }) !== actual) return wanted;
    symbols[extent.symbol] = value;
  }
  if (dataLength(tensor) !== tensor.shape.reduce((size, extent) => size * extent, 1)) {
    return `has ${dataLength(tensor)} entries for the shape [${tensor.shape}]`;
  }
  return undefined;
}

function dataLength(tensor: Tensor): number {
  return tensor.kind === "plain" ? tensor.data.length : tensor.codes.data.length;
}

/** Positions that one run adds: the extent that the first append writes; `seq` where states grow without one. */
function appendedPositions(graph: Graph, symbols: SymbolValues): number {
  for (const node of graph.nodes) {
    if (node.op !== "append") continue;
    const extent: Extent = typeOf(graph, node.inputs[0]).shape[node.attributes.axis];
    return evaluateExtent(extent, symbols);
  }
  return graph.states.some((state) => state.axis >= 0) ? symbols.seq ?? 0 : 0;
}
