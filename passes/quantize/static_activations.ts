/** Static activation codes: one step per tensor, chosen from calibration, wherever the plan holds a value as codes. */

import { formatBits, formatMax, intFormat, intRange, type NumberFormat } from "../../compiler/numeric/number_format.ts";
import { roundHalfEven } from "../../compiler/numeric/element.ts";
import { perTensor, perToken, type QuantScheme } from "../../compiler/numeric/scheme.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { compare, input, literal, select } from "../../compiler/ir/expression.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";
import type { NodeOptions } from "../../compiler/ir/build.ts";
import { floatTensor, plainTensor } from "../../compiler/ir/tensor.ts";
import type { PassResult } from "../../compiler/rewrite/pass.ts";
import { type Patch, PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { type Declined, nodeLabel } from "../../compiler/rewrite/rule.ts";
import type { Statistics } from "../../compiler/rewrite/statistics.ts";
import { Rewriting } from "../../compiler/rewrite/view.ts";
import { observedRange, type Observer, type Range } from "../calibrate/observers.ts";
import { positionAxis, type Positions, positionsOf } from "../sink/positions.ts";
import { type NodeMaker, rowSteps } from "../sink/row_steps.ts";
import { type CodePlan, planCodes, wantsCodes } from "./code_plan.ts";

export interface StaticRecipe {
  readonly format: NumberFormat;
  readonly zeroPoint: boolean;
  readonly observer: Observer;
  readonly percentile: number;
  /** First positions whose rows take steps of their own. */
  readonly sink: number;
}

/** One step and zero point for a whole tensor. Integer codes are signed. */
export interface TensorGrid {
  readonly format: NumberFormat;
  readonly step: number;
  readonly zero: number;
}

/** The grid whose codes cover a range that holds zero; zero has a code of its own. */
export function gridOf(range: Range, wanted: NumberFormat, zeroPoint: boolean): TensorGrid {
  if (!(range.high > range.low)) return { format: signedFormat(wanted), step: 1, zero: 0 };
  if (wanted.kind !== "int") return { format: wanted, step: Math.fround(range.high / formatMax(wanted)), zero: 0 };
  const format = intFormat(wanted.bits, true);
  const { min, max } = intRange(format);
  if (!zeroPoint) return { format, step: Math.fround(range.high / max), zero: 0 };
  const step = Math.fround((range.high - range.low) / (max - min));
  return { format, step, zero: Math.min(max, Math.max(min, roundHalfEven(min - range.low / step))) };
}

function signedFormat(format: NumberFormat): NumberFormat {
  return format.kind === "int" ? intFormat(format.bits, true) : format;
}

/** Other formats than integers have no integer arithmetic to join: only what contractions read is held. */
function planFor(graph: Graph, view: Rewriting, format: NumberFormat, contracts: (node: Node) => boolean): CodePlan {
  if (format.kind === "int") return planCodes(graph.nodes, view, contracts);
  const operands = graph.nodes.filter(contracts).map((node) => node.inputs[0]);
  return { held: new Map(operands.map((value) => [value, value])), integer: new Set() };
}

/** Puts quantize and dequantize nodes where the plan of codes says. */
export function quantizeStatically(
  graph: Graph,
  statistics: Statistics,
  recipe: StaticRecipe,
  selects: (node: Node) => boolean,
): PassResult {
  const rewriting = new Rewriting(graph);
  const measured = (node: Node) => statistics.values.has(node.inputs[0]);
  const contracts = (node: Node) => wantsCodes(node, rewriting) && selects(node) && measured(node);
  const plan = planFor(graph, rewriting, recipe.format, contracts);
  const declined: Declined[] = graph.nodes.filter((node) =>
    wantsCodes(node, rewriting) && selects(node) && !measured(node)
  )
    .map((node) => ({
      rule: "quantize-activations",
      node: nodeLabel(node),
      reason: "calibration saw no operand of it",
    }));
  const chosen = graph.nodes.map((node) => ({ node, contracts: contracts(node) }));
  const insertion = new Insertion(rewriting, plan, statistics, recipe, positionsOf(graph));
  const applied: Patch[] = [];
  for (const { node, contracts: wants } of chosen) {
    if (!wants && !plan.integer.has(node.outputs[0])) continue;
    const patch = insertion.rebuilt(node, wants);
    if (patch === undefined) continue;
    rewriting.apply(patch);
    applied.push(patch);
  }
  return {
    graph: rewriting.finish(),
    applied,
    declined,
    metrics: {
      tensors: plan.held.size,
      rowSinks: insertion.rowSinks,
      integer: plan.integer.size,
      contractions: chosen.filter((entry) => entry.contracts).length,
    },
  };
}

/** The codes and decoded values made so far. Each held value is quantized once. */
class Insertion {
  readonly #codes = new Map<ValueName, ValueName>();
  readonly #decoded = new Map<ValueName, ValueName>();
  /** Values whose rows at the sink have steps of their own. */
  rowSinks = 0;

  constructor(
    readonly view: Rewriting,
    readonly plan: CodePlan,
    readonly statistics: Statistics,
    readonly recipe: StaticRecipe,
    readonly positions: Positions | undefined,
  ) {}

  /** The node over codes (a contraction's left operand) or over decoded codes; undefined when none of its operands is held. */
  rebuilt(node: Node, wants: boolean): Patch | undefined {
    const reads = (value: ValueName, index: number) => this.plan.held.has(value) && (!wants || index === 0);
    if (!node.inputs.some(reads)) return undefined;
    const patch = new PatchBuilder("quantize-activations", this.view);
    patch.remove(node);
    const inputs = node.inputs.map((value, index) => {
      if (!reads(value, index)) return value;
      return wants ? this.#quantized(patch, value) : this.#dequantized(patch, value);
    });
    patch.addAs(node.outputs, node.op, inputs, node.attributes);
    return patch.finish();
  }

  #quantized(patch: PatchBuilder, value: ValueName): ValueName {
    const known = this.#codes.get(value);
    if (known !== undefined) return known;
    const source = this.plan.held.get(value) ?? value;
    const seen = this.statistics.values.get(source);
    const { observer, percentile, format, zeroPoint } = this.recipe;
    const symmetric = !zeroPoint;
    const range = seen === undefined
      ? { low: 0, high: 0 }
      : observedRange(observer, seen, { percentile, symmetric, levels: 2 ** formatBits(format), format });
    const grid = gridOf(range, format, zeroPoint);
    const rank = this.view.typeOf(value).shape.length;
    const options = { name: `${value}.q`, origin: this.#originOf(value) };
    const codes = this.#hasSink(value)
      ? this.#quantizedRows(patch, value, grid, options)
      : patch.add("quantize", gridOperands(patch, value, grid, rank, symmetric), {
        scheme: gridScheme(grid, rank, symmetric),
      }, options);
    this.#codes.set(value, codes);
    return codes;
  }

  /** Integer codes of a value whose last axis but one runs along the positions. */
  #hasSink(value: ValueName): boolean {
    const { shape } = this.view.typeOf(value);
    const { sink, format } = this.recipe;
    return sink > 0 && format.kind === "int" && this.positions !== undefined &&
      positionAxis(shape, this.positions) === shape.length - 2;
  }

  /**
   * One step per row: the static one, or at the sink that of the row itself, without a zero point. A zero point of the
   * other rows stays out of rows at the sink.
   */
  #quantizedRows(patch: PatchBuilder, value: ValueName, grid: TensorGrid, options: NodeOptions): ValueName {
    const { shape } = this.view.typeOf(value);
    const { positions, recipe: { sink, zeroPoint } } = this;
    if (positions === undefined || grid.format.kind !== "int") throw new InvariantError(`%${value} has no positions`);
    const maker: NodeMaker = {
      constant: (tensor, name) => patch.constant(tensor, { name }),
      add: (op, inputs, attributes, name) => patch.add(op, inputs, attributes, { name, origin: options.origin ?? [] }),
    };
    this.rowSinks++;
    const { max } = intRange(grid.format);
    const { mask, steps } = rowSteps(maker, value, shape, positions, grid.step, { sink, top: max });
    const scheme: QuantScheme = { ...gridScheme(grid, shape.length, !zeroPoint), block: perToken(shape.length) };
    if (!zeroPoint) return patch.add("quantize", [value, steps], { scheme }, options);
    const chosen = select(compare("gt", input(0), literal(0)), literal(0, "i32"), literal(grid.zero, "i32"));
    const zeros = patch.map(chosen, [mask], { name: `${value}.row_zeros`, origin: options.origin ?? [] });
    return patch.add("quantize", [value, steps, zeros], { scheme }, options);
  }

  #originOf(value: ValueName): readonly string[] {
    return this.view.producer(value)?.origin ?? [];
  }

  #dequantized(patch: PatchBuilder, value: ValueName): ValueName {
    const known = this.#decoded.get(value);
    if (known !== undefined) return known;
    const decoded = patch.add("dequantize", [this.#quantized(patch, value)], {}, {
      name: `${value}.d`,
      origin: this.#originOf(value),
    });
    this.#decoded.set(value, decoded);
    return decoded;
  }
}

function gridScheme(grid: TensorGrid, rank: number, symmetric: boolean): QuantScheme {
  return { format: grid.format, block: perTensor(rank), step: "f32", zeroPoint: !symmetric, range: "static" };
}

function gridOperands(
  patch: PatchBuilder,
  value: ValueName,
  grid: TensorGrid,
  rank: number,
  symmetric: boolean,
): readonly ValueName[] {
  const ones = new Array<number>(rank).fill(1);
  const step = patch.constant(floatTensor(ones, [grid.step]), { name: "step" });
  return symmetric
    ? [value, step]
    : [value, step, patch.constant(plainTensor("i32", ones, Int32Array.of(grid.zero)), { name: "zero" })];
}
