/** What the lowering of one op works with: its operands, its results, and the region's epilogue at the store. */

import { type Extent, shapeBound, type SymbolTable } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { OpAttributes, OpName, ValueName } from "../../compiler/ir/node.ts";
import { stridesOf } from "../../compiler/ir/tensor.ts";
import { viewsOf } from "../plan/views.ts";
import type { Region } from "../region.ts";
import { LoopBuilder } from "./build.ts";
import { expressionScalar } from "./expression.ts";
import { broadcastStrides, bufferOf, loadPart, type Operand, operandOf, valueSource } from "./operand.ts";
import type { LoopProgram, Scalar } from "./program.ts";
import { castTo } from "./scalar.ts";
import { axisRange, forAxes, joinAxes, type Position, positionOf } from "./space.ts";
import type { Index } from "./program.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";

/** Lowers one op: adds its statements to `lowering.b` and returns the algebra for the header, one line an equation. */
export type Lower<Op extends OpName> = (lowering: Lowering, attributes: OpAttributes[Op]) => readonly string[];

export class Lowering {
  readonly b = new LoopBuilder();
  readonly symbols: SymbolTable;
  readonly #region: Region;
  readonly #graph: Graph;
  readonly #operands = new Map<string, Operand>();

  constructor(region: Region, graph: Graph) {
    this.#region = region;
    this.#graph = graph;
    this.symbols = graph.symbols;
  }

  get inputCount(): number {
    return this.#region.main.inputs.length;
  }

  /** The i-th input of the main node under the name of its role. */
  input(index: number, role: string): Operand {
    const value = this.#region.main.inputs[index];
    if (value === undefined) throw new InvariantError(`${this.#region.main.op} has no input ${index}`);
    return this.#value(value, role);
  }

  optional(index: number, role: string): Operand | undefined {
    return index < this.inputCount ? this.input(index, role) : undefined;
  }

  /** Shape of the main node's i-th output. */
  resultShape(index = 0): readonly Extent[] {
    return typeOf(this.#graph, this.#region.main.outputs[index]).shape;
  }

  /** The element of the main node's i-th output, before any epilogue. */
  resultElement(index = 0): Operand["element"] {
    return typeOf(this.#graph, this.#region.main.outputs[index]).element;
  }

  /** What is stored: the epilogue's output where there is one, else the main node's i-th output. */
  result(index = 0, role = "y"): Operand {
    const { main, epilogue } = this.#region;
    return this.#value(index === 0 && epilogue !== undefined ? epilogue.output : main.outputs[index], role);
  }

  state(name: string, role: string): Operand {
    const state = this.#graph.states.find((candidate) => candidate.name === name);
    if (state === undefined) throw new InvariantError(`State "${name}" is not declared`);
    return operandOf({ kind: "state", state: name }, state.type, role, this.symbols);
  }

  /** Whether the plan lays the main node's output over its operand or state, so that it needs no copy. */
  get isView(): boolean {
    return !this.hasEpilogue && viewsOf(this.#region.main, this.#graph) !== undefined;
  }

  get hasEpilogue(): boolean {
    return this.#region.epilogue !== undefined;
  }

  /** Strides of the result and of every epilogue operand per axis of the result: the participants of a store. */
  storeStrides(): readonly (readonly number[])[] {
    const rank = this.resultShape().length;
    return [this.result().strides, ...this.#epilogueOperands().map((operand) => broadcastStrides(operand, rank))];
  }

  /** Stores a value of the main result at a position, through the epilogue, rounded to the result's element. */
  storeAt(position: Position, value: Scalar): void {
    const result = this.result();
    this.b.store(bufferOf(this.b, result, "data", "write"), position(result.strides), this.#finish(position, value));
  }

  /** `storeAt` for one index per axis of the result. */
  store(indices: readonly Index[], value: Scalar): void {
    this.storeAt(positionOf(indices), value);
  }

  /**
   * Hands `body` an array of the main result's element and strides to read and write as it likes: the result's own memory,
   * or, under an epilogue, a private array whose entries then go through the epilogue to the result.
   */
  throughMemory(body: (target: string) => void): void {
    const shape = this.resultShape();
    const bounds = shapeBound(shape, this.symbols);
    if (!this.hasEpilogue) {
      body(bufferOf(this.b, this.result(), "data", "write"));
      return;
    }
    const element = this.resultElement();
    const target = this.b.array("whole", element, bounds.reduce((size, extent) => size * extent, 1));
    body(target);
    const strides = stridesOf(bounds);
    const axes = joinAxes(shape, axisRange(0, shape.length), [strides, ...this.storeStrides()]);
    forAxes(this.b, axes, "independent", (position) => {
      this.storeAt(position, { kind: "load", element, buffer: target, index: position(strides) });
    });
  }

  #finish(position: Position, value: Scalar): Scalar {
    const { epilogue } = this.#region;
    const main = castTo(this.resultElement(), value);
    if (epilogue === undefined) return main;
    const rank = this.resultShape().length;
    const named = main.kind === "variable" ? main : this.b.let("result", main);
    const operands = this.#epilogueOperands().map((operand) =>
      loadPart(this.b, operand, "data", position(broadcastStrides(operand, rank)))
    );
    return expressionScalar(this.b, epilogue.expression, [named, ...operands]);
  }

  #epilogueOperands(): readonly Operand[] {
    return (this.#region.epilogue?.operands ?? []).map((value, index) => this.#value(value, `e${index}`));
  }

  #value(value: ValueName, role: string): Operand {
    const known = this.#operands.get(value);
    if (known !== undefined) return known;
    const operand = operandOf(valueSource(value), typeOf(this.#graph, value), role, this.symbols);
    this.#operands.set(value, operand);
    return operand;
  }

  finish(algebra: readonly string[]): LoopProgram {
    return this.b.finish(this.#region.main.op, algebra);
  }
}
