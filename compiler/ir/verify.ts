/** Checks a graph from scratch: nothing that built it is trusted. Returns all faults, located. */

import { type Diagnostic, errorDiagnostic } from "../diagnostics.ts";
import { attributeFaults } from "./attribute_codecs.ts";
import { type Extent, isStatic } from "./extent.ts";
import { type Graph, type Level, levels, type State } from "./graph.ts";
import type { Node, OpAttributes, OpName, ValueName } from "./node.ts";
import { printValue } from "./print.ts";
import { outputTypes, type TypeContext } from "./type_rules.ts";
import { schemeFault } from "../numeric/scheme.ts";
import { equalTypes, printType, schemeOf, type TensorType } from "./types.ts";

/**
 * Q0130 unknown value · Q0131 value read before it is made · Q0132 value made twice · Q0133 type rule · Q0134 recorded
 * type differs · Q0135 value without a type · Q0136 constant not in the store · Q0137 state not declared, or declared
 * twice · Q0138 symbol not declared · Q0139 quantized or packed type below its level · Q0140 wrong number of outputs ·
 * Q0141 name used twice at the border · Q0142 malformed attribute · Q0143 wrong level · Q0144 state written twice ·
 * Q0145 empty symbol range · Q0146 malformed state · Q0147 blocks that do not suit.
 */
export interface Fault {
  readonly diagnostic: Diagnostic;
  /** The faulty node; absent where the fault is of the graph's border, states or symbols. */
  readonly node?: Node;
}

/** All faults of a graph as diagnostics; none when it is valid at `level` (the graph's own when absent). */
export function verify(graph: Graph, level?: Level): readonly Diagnostic[] {
  return findFaults(graph, level).map((fault) => fault.diagnostic);
}

/** As `verify`, with the node that each fault is at. */
export function findFaults(graph: Graph, level: Level = graph.level): readonly Fault[] {
  const checker = new Checker(graph, level);
  checker.checkLevel();
  checker.checkSymbols();
  checker.checkStates();
  checker.checkInputs();
  graph.nodes.forEach((node, index) => checker.checkNode(node, index));
  checker.checkOutputs();
  return checker.faults;
}

/** Walks the graph once. Invariant: `#made` holds the values that inputs and the nodes so far have made. */
class Checker {
  readonly faults: Fault[] = [];
  readonly #graph: Graph;
  readonly #level: Level;
  readonly #made = new Set<ValueName>();
  readonly #makers: ReadonlyMap<ValueName, number>;
  readonly #written = new Set<string>();
  readonly #context: TypeContext;

  constructor(graph: Graph, level: Level) {
    this.#graph = graph;
    this.#level = level;
    this.#makers = new Map(graph.nodes.flatMap((node, index) => node.outputs.map((value) => [value, index])));
    this.#context = {
      constant: (hash) => (graph.constants.has(hash) ? graph.constants.get(hash) : undefined),
      state: (name) => graph.states.find((state) => state.name === name),
    };
  }

  #report(code: string, message: string, node?: Node): void {
    const place = node === undefined ? "" : `${node.outputs.map(printValue).join(", ") || "a node"} = ${node.op}: `;
    const origin = node?.origin.join(", ");
    this.faults.push({
      diagnostic: errorDiagnostic(code, place + message, origin === undefined || origin === "" ? {} : { node: origin }),
      node,
    });
  }

  checkLevel(): void {
    const { level } = this.#graph;
    if (levels.indexOf(level) > levels.indexOf(this.#level)) {
      this.#report("Q0143", `The graph is at level ${level}, wants ${this.#level}`);
    }
  }

  checkSymbols(): void {
    for (const [name, { min, max }] of Object.entries(this.#graph.symbols)) {
      if (!Number.isSafeInteger(min) || !Number.isSafeInteger(max) || min < 0 || min > max) {
        this.#report("Q0145", `Symbol "${name}" has the range ${min}..${max}`);
      }
    }
  }

  checkStates(): void {
    const seen = new Set<string>();
    for (const state of this.#graph.states) {
      if (seen.has(state.name)) this.#report("Q0137", `State "${state.name}" is declared twice`);
      seen.add(state.name);
      const reason = stateFault(state);
      if (reason !== undefined) this.#report("Q0146", `State "${state.name}" ${reason}`);
      this.#checkType(state.type, `State "${state.name}"`);
    }
  }

  checkInputs(): void {
    const names = new Set<string>();
    for (const { name, value } of this.#graph.inputs) {
      if (names.has(name)) this.#report("Q0141", `Two inputs are named "${name}"`);
      names.add(name);
      if (this.#made.has(value)) this.#report("Q0132", `${printValue(value)} is two inputs`);
      this.#made.add(value);
      const type = this.#graph.types.get(value);
      if (type === undefined) this.#report("Q0135", `Input ${printValue(value)} has no type`);
      else this.#checkType(type, `Input ${printValue(value)}`);
    }
  }

  checkOutputs(): void {
    const names = new Set<string>();
    for (const { name, value } of this.#graph.outputs) {
      if (names.has(name)) this.#report("Q0141", `Two outputs are named "${name}"`);
      names.add(name);
      if (!this.#made.has(value)) {
        this.#report("Q0130", `Output "${name}" is ${printValue(value)}, which nothing makes`);
      }
    }
  }

  checkNode(node: Node, index: number): void {
    const reads = node.inputs.map((value) => this.#checkRead(node, value, index));
    const malformed = attributeFaults(node.op, node.attributes);
    for (const reason of malformed) this.#report("Q0142", reason, node);
    this.#checkState(node);
    if (node.op === "constant" && !this.#graph.constants.has(node.attributes.hash)) {
      this.#report("Q0136", `constant #${node.attributes.hash} is not in the store`, node);
    } else if (malformed.length === 0 && reads.every((isKnown) => isKnown)) {
      this.#checkTypes(node);
    }
    for (const value of node.outputs) {
      if (this.#made.has(value)) this.#report("Q0132", `${printValue(value)} is made twice`, node);
      this.#made.add(value);
      const type = this.#graph.types.get(value);
      if (type === undefined) this.#report("Q0135", `${printValue(value)} has no type`, node);
      else this.#checkType(type, printValue(value), node);
    }
  }

  /** Whether the value is made before this node and has a type. */
  #checkRead(node: Node, value: ValueName, index: number): boolean {
    if (this.#made.has(value)) return this.#graph.types.has(value);
    const maker = this.#makers.get(value);
    if (maker === undefined) this.#report("Q0130", `reads ${printValue(value)}, which nothing makes`, node);
    else {
      const where = maker === index ? "its own output" : "a later node's output";
      this.#report("Q0131", `reads ${printValue(value)}, ${where}`, node);
    }
    return false;
  }

  #checkState(node: Node): void {
    if (node.op !== "append" && node.op !== "readState" && node.op !== "writeState") return;
    const { state } = node.attributes;
    if (!this.#graph.states.some((declared) => declared.name === state)) {
      this.#report("Q0137", `state "${state}" is not declared`, node);
    }
    if (node.op === "readState") return;
    if (this.#written.has(state)) this.#report("Q0144", `state "${state}" is written by two nodes`, node);
    this.#written.add(state);
  }

  /** Runs the op's type rule again and compares. */
  #checkTypes(node: Node): void {
    const types = node.inputs.flatMap((value) => this.#graph.types.get(value) ?? []);
    const ruled = this.#ruledTypes(node.op, types, node.attributes);
    if (typeof ruled === "string") return this.#report("Q0133", ruled, node);
    if (ruled.length !== node.outputs.length) {
      return this.#report("Q0140", `makes ${ruled.length} values, ${node.outputs.length} are named`, node);
    }
    node.outputs.forEach((value, index) => {
      const recorded = this.#graph.types.get(value);
      if (recorded === undefined || agrees(recorded, ruled[index])) return;
      const wanted = `${printType(recorded)}, its op makes ${printType(ruled[index])}`;
      this.#report("Q0134", `${printValue(value)} is recorded as ${wanted}`, node);
    });
  }

  #ruledTypes<Op extends OpName>(
    op: Op,
    inputs: readonly TensorType[],
    attributes: OpAttributes[Op],
  ): readonly TensorType[] | string {
    try {
      return outputTypes(op, inputs, attributes, this.#context);
    } catch (error) {
      // Whatever a type rule throws on a malformed node is the reason why the node is malformed.
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** Level and symbols of a type. */
  #checkType(type: TensorType, what: string, node?: Node): void {
    const { kind } = type.encoding;
    const least: Level = kind === "plain" ? "float" : kind === "quantized" ? "quant" : "packed";
    if (levels.indexOf(least) > levels.indexOf(this.#level)) {
      this.#report("Q0139", `${what} is ${printType(type)}, which level ${this.#level} does not have`, node);
    }
    const scheme = schemeOf(type);
    const reason = scheme === undefined ? undefined : schemeFault(scheme, type.shape.length);
    if (reason !== undefined) this.#report("Q0147", `${what} is ${printType(type)}: ${reason}`, node);
    for (const symbol of symbolsIn(type.shape)) {
      if (Object.hasOwn(this.#graph.symbols, symbol)) continue;
      this.#report("Q0138", `${what} has the symbol "${symbol}", which is not declared`, node);
    }
    const bad = type.shape.find((extent) => isStatic(extent) && !(Number.isSafeInteger(extent) && extent >= 0));
    if (bad !== undefined) this.#report("Q0134", `${what} has the extent ${String(bad)}`, node);
  }
}

/** A constant may be held packed: its tensor has the quantized type of the same scheme. */
function agrees(recorded: TensorType, ruled: TensorType): boolean {
  if (recorded.encoding.kind !== "packed" || ruled.encoding.kind !== "quantized") return equalTypes(recorded, ruled);
  return equalTypes({ ...recorded, encoding: { kind: "quantized", scheme: recorded.encoding.scheme } }, ruled);
}

function symbolsIn(shape: readonly Extent[]): string[] {
  return [...new Set(shape.flatMap((extent) => (isStatic(extent) ? [] : [extent.symbol])))];
}

function stateFault({ type, axis }: State): string | undefined {
  if (!Number.isInteger(axis) || axis < -1 || axis >= type.shape.length) {
    return `runs along axis ${axis} of ${printType(type)}`;
  }
  const { encoding } = type;
  if (axis >= 0 && encoding.kind !== "plain" && encoding.scheme.block[axis] !== 1) {
    return `shares steps along axis ${axis}, where positions are added one by one`;
  }
  return undefined;
}
