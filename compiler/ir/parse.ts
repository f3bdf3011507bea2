/** Reads `.qir` text. Faults are diagnostics with line and column; a faulty statement does not hide the next one. */

import { type Diagnostic, errorDiagnostic, failure, nearestName, type Outcome, success } from "../diagnostics.ts";
import { attributeCodecs, isOpName, parseAttributes } from "./attribute_codecs.ts";
import { makeNode } from "./build.ts";
import { parseLiteral } from "./constant_text.ts";
import { ConstantStore } from "./constants.ts";
import type { SymbolRange } from "./extent.ts";
import { type Graph, type GraphInput, type GraphOutput, type Level, levels, type State } from "./graph.ts";
import type { Node, OpName, ValueName } from "./node.ts";
import { ParseFault, parseName, TextCursor } from "./text_cursor.ts";
import { outputTypes, type TypeContext, TypeFault } from "./type_rules.ts";
import { parseType, type TensorType } from "./types.ts";

export interface ParseOptions {
  /** Where `const #hash` is looked up, and where literals are put; a new store when absent. */
  readonly constants?: ConstantStore;
}

export interface ParsedGraph {
  readonly graph: Graph;
  /** Line of each node in the text, from 1; the graph's own is `headLine`. */
  readonly lines: ReadonlyMap<Node, number>;
  readonly headLine: number;
}

/** The graph that a text describes. It is well formed as text only: `verify` says whether it is a valid graph. */
export function parseGraph(text: string, options: ParseOptions = {}): Outcome<Graph> {
  const outcome = parseGraphLines(text, options);
  return outcome.ok ? success(outcome.value.graph, outcome.diagnostics) : outcome;
}

/** As `parseGraph`, with the line of every node. */
export function parseGraphLines(text: string, options: ParseOptions = {}): Outcome<ParsedGraph> {
  const reader = new GraphReader(text, options.constants ?? new ConstantStore());
  const parsed = reader.read();
  return reader.diagnostics.length > 0 || parsed === undefined ? failure(...reader.diagnostics) : success(parsed);
}

/** Collects what the statements say. Invariant: every value that a statement has defined has a type. */
class GraphReader {
  readonly diagnostics: Diagnostic[] = [];
  readonly #cursor: TextCursor;
  readonly #constants: ConstantStore;
  readonly #types = new Map<ValueName, TensorType>();
  readonly #symbols: Record<string, SymbolRange> = {};
  readonly #states: State[] = [];
  readonly #nodes: Node[] = [];
  readonly #lines = new Map<Node, number>();

  constructor(text: string, constants: ConstantStore) {
    this.#cursor = new TextCursor(text);
    this.#constants = constants;
  }

  read(): ParsedGraph | undefined {
    const cursor = this.#cursor;
    let head: GraphHead | undefined;
    const headLine = cursor.locate(cursor.skipSpace()).line;
    this.#guard(() => head = this.#head());
    if (head === undefined) return undefined;
    while (!cursor.atEnd && !cursor.sees("}")) this.#guard(() => this.#statement());
    this.#guard(() => {
      cursor.expect("}");
      if (!cursor.atEnd) cursor.fault("expected the end after the graph");
    });
    const { name, level, inputs, outputs } = head;
    const graph = Object.freeze({
      name,
      level,
      symbols: Object.freeze(this.#symbols),
      types: this.#types,
      inputs: Object.freeze(inputs),
      outputs: Object.freeze(outputs),
      states: Object.freeze(this.#states),
      nodes: Object.freeze(this.#nodes),
      constants: this.#constants,
    });
    return { graph, lines: this.#lines, headLine };
  }

  /** Runs a part of the parse; a fault in it becomes a diagnostic, and reading goes on at the next line. */
  #guard(body: () => void): void {
    try {
      body();
    } catch (error) {
      if (!(error instanceof ParseFault)) throw error;
      const { line, column } = this.#cursor.locate(error.position);
      this.diagnostics.push(errorDiagnostic("Q0150", error.message, { node: `line ${line}, column ${column}` }));
      this.#cursor.skipLine();
    }
  }

  #head(): GraphHead {
    const cursor = this.#cursor;
    if (!cursor.acceptWord("graph")) cursor.fault('expected "graph"');
    cursor.expect("@");
    const name = parseName(cursor, "the graph's name");
    const level = cursor.acceptWord("level") ? this.#level() : "float";
    const inputs = cursor.list("(", ")", () => this.#input());
    cursor.expect("->");
    const outputs = cursor.list("(", ")", () => this.#border());
    cursor.expect("{");
    return { name, level, inputs, outputs };
  }

  #level(): Level {
    const cursor = this.#cursor;
    cursor.expect("=");
    const start = cursor.skipSpace();
    const word = cursor.word("a level");
    return levels.find((level) => level === word) ??
      cursor.fault(`"${word}" is not a level; levels are ${levels.join(", ")}`, start);
  }

  #input(): GraphInput {
    const input = this.#border();
    this.#cursor.expect(":");
    this.#types.set(input.value, this.#type());
    return input;
  }

  /** `%value` or `%value as "source name"`. */
  #border(): GraphOutput {
    const value = this.#value();
    return { name: this.#cursor.acceptWord("as") ? this.#cursor.quoted("a source name") : value, value };
  }

  #value(): ValueName {
    this.#cursor.expect("%");
    return parseName(this.#cursor, "a value's name");
  }

  #type(): TensorType {
    const cursor = this.#cursor;
    const match = cursor.take(/(?:(?:\w+:)?q<[^<>\n]*>(?:@[\w-]+\([^()\n]*\))?|\w+)\[[^\[\]\n]*\]/y);
    if (match === null) return cursor.fault("expected a type such as f32[1,64]");
    return parseType(match[0]) ?? cursor.fault(`"${match[0]}" is not a type`, cursor.position - match[0].length);
  }

  #statement(): void {
    const cursor = this.#cursor;
    if (cursor.sees("%")) return this.#node();
    const start = cursor.skipSpace();
    const word = cursor.word("a statement");
    if (word === "symbol") return this.#symbol();
    if (word === "state") return this.#state();
    cursor.fault(`expected "symbol", "state" or a value, found "${word}"`, start);
  }

  #symbol(): void {
    const cursor = this.#cursor;
    const start = cursor.skipSpace();
    const name = cursor.word("a symbol's name");
    if (Object.hasOwn(this.#symbols, name)) cursor.fault(`symbol "${name}" is declared twice`, start);
    cursor.expect("=");
    const range = cursor.take(/(\d+)\.\.(\d+)/y);
    if (range === null) return cursor.fault("expected a range such as 1..256");
    this.#symbols[name] = { min: Number(range[1]), max: Number(range[2]) };
  }

  #state(): void {
    const cursor = this.#cursor;
    cursor.expect("@");
    const name = parseName(cursor, "a state's name");
    cursor.expect(":");
    const type = this.#type();
    const axis = cursor.acceptWord("along") ? cursor.integer("an axis") : -1;
    this.#states.push({ name, type, axis });
  }

  #node(): void {
    const cursor = this.#cursor;
    const { line } = cursor.locate(cursor.skipSpace());
    const outputs: ValueName[] = [];
    do outputs.push(this.#value()); while (cursor.accept(","));
    cursor.expect("=");
    const start = cursor.skipSpace();
    const op = cursor.word("an op");
    if (op === "const") return this.#constant(outputs, line);
    if (!isOpName(op) || op === "constant") {
      const near = nearestName(op, ["const", ...Object.keys(attributeCodecs)]);
      return cursor.fault(`"${op}" is not an op${near === undefined ? "" : `; did you mean "${near}"?`}`, start);
    }
    this.#anyNode(op, outputs, start, line);
  }

  #anyNode<Op extends OpName>(op: Op, outputs: readonly ValueName[], start: number, line: number): void {
    const cursor = this.#cursor;
    const inputs: ValueName[] = [];
    if (cursor.sees("%")) { do inputs.push(this.#value()); while (cursor.accept(",")); }
    const attributes = parseAttributes(op, cursor);
    const types = cursor.accept(":") ? this.#typeList() : this.#infer(op, inputs, attributes, start);
    if (types.length !== outputs.length) {
      cursor.fault(`${op} has ${types.length} output types for ${outputs.length} values`, start);
    }
    this.#define(makeNode(op, inputs, outputs, attributes, this.#origin()), types, line);
  }

  #typeList(): TensorType[] {
    const types = [this.#type()];
    while (this.#cursor.accept(",")) types.push(this.#type());
    return types;
  }

  /** Types by the op's rule, where the text leaves them out. */
  #infer<Op extends OpName>(
    op: Op,
    inputs: readonly ValueName[],
    attributes: Parameters<typeof outputTypes<Op>>[2],
    start: number,
  ): readonly TensorType[] {
    const cursor = this.#cursor;
    const context: TypeContext = {
      constant: (hash) => (this.#constants.has(hash) ? this.#constants.get(hash) : undefined),
      state: (name) => this.#states.find((state) => state.name === name),
    };
    const types = inputs.map((value) =>
      this.#types.get(value) ?? cursor.fault(`the type of ${op} is left out, and %${value} is not known here`, start)
    );
    try {
      return outputTypes(op, types, attributes, context);
    } catch (error) {
      if (error instanceof TypeFault) return cursor.fault(`${op}: ${error.message}`, start);
      throw error;
    }
  }

  #constant(outputs: readonly ValueName[], line: number): void {
    const cursor = this.#cursor;
    const hash = cursor.accept("#") ? parseName(cursor, "a hash") : undefined;
    const type = this.#type();
    const held = hash ?? this.#constants.add(parseLiteral(cursor, type));
    this.#define(makeNode("constant", [], outputs, { hash: held }, this.#origin()), [type], line);
  }

  #origin(): string[] {
    const cursor = this.#cursor;
    if (!cursor.acceptWord("from")) return [];
    const names = [cursor.quoted("a source node's name")];
    while (cursor.accept(",")) names.push(cursor.quoted("a source node's name"));
    return names;
  }

  #define(node: Node, types: readonly TensorType[], line: number): void {
    node.outputs.forEach((value, index) => {
      if (!this.#types.has(value)) this.#types.set(value, types[index]);
    });
    this.#nodes.push(node);
    this.#lines.set(node, line);
  }
}

interface GraphHead {
  readonly name: string;
  readonly level: Level;
  readonly inputs: GraphInput[];
  readonly outputs: GraphOutput[];
}
