/** Control flow: branches are chosen or merged, loops of a known length are written out. */

import { input, select } from "../../../ir/expression.ts";
import { isStatic, printExtent } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import { plainTensor } from "../../../ir/tensor.ts";
import { equalTypes, printType } from "../../../ir/types.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { malformed, needsConstant, unsupported } from "./faults.ts";
import { numbersOf, plainConstant, reshaped, scalarOf, sliced } from "./operands.ts";

/** Rounds that a loop is written out for. */
const roundLimit = 1024;

/** A value of one entry as a truth, where it is known. */
function knownTruth(context: ImportContext, value: ValueName): boolean | undefined {
  const tensor = plainConstant(context, value);
  if (tensor === undefined) return undefined;
  const numbers = numbersOf(tensor);
  return numbers.length === 1 ? numbers[0] !== 0 : malformed(context, `a condition has ${numbers.length} entries`);
}

/** A known condition picks its branch; otherwise both are computed, which is sound as they have no effects. */
function importIf(context: ImportContext): readonly ValueName[] {
  const condition = context.input(0);
  const known = knownTruth(context, condition);
  // Both names are read, so that neither branch counts as an unknown attribute.
  const arities = [context.subgraphArity("then_branch"), context.subgraphArity("else_branch")];
  if (known !== undefined) return context.subgraph(known ? "then_branch" : "else_branch", []);
  if (arities[0].outputs !== arities[1].outputs) malformed(context, "the branches have different numbers of outputs");
  const whenTrue = context.subgraph("then_branch", []);
  const whenFalse = context.subgraph("else_branch", []);
  const truth = scalarOf(context, condition);
  return whenTrue.map((value, index) => merged(context, truth, value, whenFalse[index]));
}

function merged(context: ImportContext, condition: ValueName, x: ValueName, y: ValueName): ValueName {
  if (x === y) return x;
  const [left, right] = [context.typeOf(x), context.typeOf(y)];
  if (!equalTypes(left, right)) {
    return unsupported(
      context,
      `the branches give ${printType(left)} and ${printType(right)}, and the condition is not known`,
      "Bind the symbols, or fix the input that decides the branch: --bind NAME=1",
    );
  }
  const body = select(input(0), input(1), input(2));
  return context.withFormat(context.builder.map(body, [condition, x, y], { name: "branch" }), context.formatOf(x));
}

/** Stacks the scan outputs of all rounds along a new axis. */
function stacked(context: ImportContext, rounds: readonly ValueName[], axis = 0): ValueName {
  const rows = rounds.map((value) => {
    const { shape } = context.typeOf(value);
    return reshaped(context, value, [...shape.slice(0, axis), 1, ...shape.slice(axis)]);
  });
  return rows.length === 1 ? rows[0] : context.builder.add("concat", rows, { axis });
}

function importLoop(context: ImportContext): readonly ValueName[] {
  const [tripCount, condition] = [context.optional(0), context.optional(1)];
  const carriedCount = context.node.inputs.length - 2;
  const arity = context.subgraphArity("body");
  if (arity.inputs !== carriedCount + 2) {
    malformed(context, `the body takes ${arity.inputs} inputs, the loop carries ${carriedCount}`);
  }
  const scanCount = arity.outputs - 1 - carriedCount;
  if (scanCount < 0) malformed(context, `the body gives ${arity.outputs} outputs, the loop carries ${carriedCount}`);
  const limit = tripCount === undefined ? Infinity : tripLimit(context);
  let keepsGoing = condition === undefined ? true : knownCondition(context, condition);
  let carried = Array.from({ length: carriedCount }, (_, index) => context.input(index + 2));
  const scans: ValueName[][] = Array.from({ length: scanCount }, () => []);
  for (let round = 0; keepsGoing && round < limit; round++) {
    if (round >= roundLimit) unsupported(context, `the loop runs more than ${roundLimit} rounds`);
    const counter = context.builder.constant(plainTensor("i64", [], BigInt64Array.of(BigInt(round))));
    const truth = context.builder.constant(plainTensor("bool", [], Uint8Array.of(1)));
    const outputs = context.subgraph("body", [counter, truth, ...carried]);
    keepsGoing = knownCondition(context, outputs[0]);
    carried = outputs.slice(1, 1 + carriedCount);
    outputs.slice(1 + carriedCount).forEach((value, index) => scans[index].push(value));
  }
  if (scans.some((rounds) => rounds.length === 0)) unsupported(context, "a loop of no rounds with stacked outputs");
  return [...carried, ...scans.map((rounds) => stacked(context, rounds))];
}

function tripLimit(context: ImportContext): number {
  const counts = context.integers(0);
  return counts.length === 1 ? counts[0] : malformed(context, `the trip count has ${counts.length} entries`);
}

function knownCondition(context: ImportContext, condition: ValueName): boolean {
  return knownTruth(context, condition) ??
    needsConstant(context, "the loop's condition is computed at run time; only loops of a known length are supported");
}

function importScan(context: ImportContext): readonly ValueName[] {
  const { attributes, opset, inputs } = context.node;
  if (opset < 9) unsupported(context, "Scan with batches (opset 8)");
  const scanInputs = attributes.int("num_scan_inputs");
  const stateCount = inputs.length - scanInputs;
  const arity = context.subgraphArity("body");
  if (scanInputs < 1 || stateCount < 0 || arity.inputs !== inputs.length || arity.outputs < stateCount) {
    malformed(context, `the body takes ${arity.inputs} and gives ${arity.outputs} values for ${inputs.length} inputs`);
  }
  const scanOutputs = arity.outputs - stateCount;
  const lists = (name: string, count: number) => attributes.ints(name, new Array<number>(count).fill(0));
  const inputAxes = lists("scan_input_axes", scanInputs).map((axis, index) =>
    context.axis(axis, context.typeOf(context.input(stateCount + index)).shape.length)
  );
  const inputDirections = lists("scan_input_directions", scanInputs);
  const outputAxes = lists("scan_output_axes", scanOutputs);
  const outputDirections = lists("scan_output_directions", scanOutputs);
  const length = scanLength(context, stateCount, inputAxes);
  let states = Array.from({ length: stateCount }, (_, index) => context.input(index));
  const scans: ValueName[][] = Array.from({ length: scanOutputs }, () => []);
  for (let round = 0; round < length; round++) {
    const rows = inputAxes.map((axis, index) => {
      const at = inputDirections[index] === 0 ? round : length - 1 - round;
      return rowOf(context, context.input(stateCount + index), axis, at);
    });
    const outputs = context.subgraph("body", [...states, ...rows]);
    states = outputs.slice(0, stateCount);
    outputs.slice(stateCount).forEach((value, index) => scans[index].push(value));
  }
  const stacks = scans.map((rounds, index) => {
    const ordered = outputDirections[index] === 0 ? rounds : [...rounds].reverse();
    const axis = context.axis(outputAxes[index], context.typeOf(rounds[0]).shape.length + 1);
    return stacked(context, ordered, axis);
  });
  return [...states, ...stacks];
}

/** The common length of all scanned inputs. */
function scanLength(context: ImportContext, first: number, axes: readonly number[]): number {
  const lengths = axes.map((axis, index) => context.typeOf(context.input(first + index)).shape[axis]);
  const [length] = lengths;
  if (!isStatic(length)) return needsConstant(context, `the scanned axis is ${printExtent(length)}`);
  if (lengths.some((other) => other !== length)) malformed(context, `scanned axes of ${lengths.map(printExtent)}`);
  if (length > roundLimit) {
    unsupported(context, `the scan runs ${length} rounds, at most ${roundLimit} are written out`);
  }
  return length > 0 ? length : unsupported(context, "a scan over nothing");
}

function rowOf(context: ImportContext, value: ValueName, axis: number, at: number): ValueName {
  const { shape } = context.typeOf(value);
  return reshaped(context, sliced(context, value, axis, at, 1), shape.filter((_, index) => index !== axis));
}

export const controlImporters: OpImporterTable = {
  If: importIf,
  Loop: importLoop,
  Scan: importScan,
};
