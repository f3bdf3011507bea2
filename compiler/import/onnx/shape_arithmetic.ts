/** Shape arithmetic over symbols: what Shape, Gather, Concat, Add and their like make of vectors with symbolic entries. */

import { addExtents, equalExtents, type Extent, isStatic, multiplyExtents, type SymbolTable } from "../../ir/extent.ts";
import type { ValueName } from "../../ir/node.ts";
import { emptyTensor, type PlainTensor, sizeOf } from "../../ir/tensor.ts";
import { type ElementType, isWide } from "../../numeric/element.ts";
import { divideExtents } from "./dimension_text.ts";
import type { OnnxNode } from "./op_importer.ts";
import { type Session, vectorOf } from "./session.ts";
import { compareExtents, isStaticVector, type ShapeVector } from "./shape_vector.ts";

/** What a rule may look at beside its operands. */
interface RuleContext {
  readonly node: OnnxNode;
  readonly symbols: SymbolTable;
  /** Shape of the output by its type; undefined where it has symbols. */
  readonly shape: readonly number[];
}

/** Entries of the first output; undefined when they are not known. All operands are known vectors. */
type VectorRule = (inputs: readonly ShapeVector[], context: RuleContext) => readonly (Extent | undefined)[] | undefined;

/**
 * Records what a node makes of symbolic vectors. An output that turns out to be free of symbols becomes a constant.
 * Returns the node's outputs, the first one replaced in that case.
 */
export function propagateVectors(
  session: Session,
  node: OnnxNode,
  outputs: readonly ValueName[],
): readonly ValueName[] {
  const known = node.inputs.map((value) => (value === undefined ? undefined : vectorOf(session, value)));
  const hasSymbols = node.inputs.some((value) => value !== undefined && session.vectors.has(value));
  const rule = node.domain === "" ? vectorRules[node.opType] : undefined;
  if (!hasSymbols || rule === undefined || outputs.length === 0 || session.vectors.has(outputs[0])) return outputs;
  const type = session.builder.typeOf(outputs[0]);
  if (!type.shape.every(isStatic) || session.builder.constantOf(outputs[0]) !== undefined) return outputs;
  const operands = known.filter((vector) => vector !== undefined);
  if (operands.length !== known.length) return outputs;
  const entries = rule(operands, { node, symbols: session.builder.symbols, shape: type.shape });
  if (entries === undefined || !entries.every((entry) => entry !== undefined)) return outputs;
  const vector = { shape: type.shape, entries };
  if (sizeOf(vector.shape) !== entries.length) return outputs;
  if (!isStaticVector(vector)) {
    session.vectors.set(outputs[0], vector);
    return outputs;
  }
  const tensor = vectorTensor(type.element, vector.shape, entries.filter(isStatic));
  return [session.builder.constant(tensor, { name: "shape" }), ...outputs.slice(1)];
}

function vectorTensor(element: ElementType, shape: readonly number[], entries: readonly number[]): PlainTensor {
  const tensor = emptyTensor(element, shape);
  const { data } = tensor;
  entries.forEach((entry, index) => data[index] = isWide(element) ? BigInt(entry) : entry);
  return tensor;
}

/** Rule of a binary op with broadcasting between vectors. */
function elementwise(
  combine: (x: Extent, y: Extent, symbols: SymbolTable) => Extent | undefined,
): VectorRule {
  return ([x, y], { symbols, shape }) => {
    const left = broadcastEntries(x, shape);
    const right = broadcastEntries(y, shape);
    if (left === undefined || right === undefined) return undefined;
    return left.map((entry, index) => combine(entry, right[index], symbols));
  };
}

/** Entries spread over a broadcast shape: equal size, or one entry for all. */
function broadcastEntries(vector: ShapeVector, shape: readonly number[]): readonly Extent[] | undefined {
  const size = sizeOf(shape);
  if (vector.entries.length === size) return vector.entries;
  return vector.entries.length === 1 ? new Array<Extent>(size).fill(vector.entries[0]) : undefined;
}

function comparison(holds: (sign: -1 | 0 | 1) => boolean): VectorRule {
  return elementwise((x, y, symbols) => {
    const sign = compareExtents(x, y, symbols);
    return sign === undefined ? undefined : holds(sign) ? 1 : 0;
  });
}

/** Min and max where one side is the smaller for every value of the symbols, equality included. */
function extremum(wantsSmaller: boolean): VectorRule {
  const pick = elementwise((x, y, symbols) => {
    if (equalExtents(x, y)) return x;
    const sign = compareExtents(x, y, symbols);
    return sign === undefined ? undefined : (sign < 0) === wantsSmaller ? x : y;
  });
  return (inputs, context) =>
    inputs.slice(1).reduce<readonly (Extent | undefined)[] | undefined>(
      (sum, vector) =>
        sum !== undefined && sum.every((entry) => entry !== undefined)
          ? pick([{ shape: inputs[0].shape, entries: sum }, vector], context)
          : undefined,
      inputs[0].entries,
    );
}

const keepEntries: VectorRule = ([x]) => x.entries;

function negate(extent: Extent): Extent | undefined {
  return isStatic(extent) ? -extent : undefined;
}

function subtract(x: Extent, y: Extent): Extent | undefined {
  if (isStatic(y)) return addExtents(x, -y);
  if (isStatic(x) || x.symbol !== y.symbol || x.factor < y.factor) return undefined;
  const offset = x.offset - y.offset;
  return x.factor === y.factor ? offset : { symbol: x.symbol, factor: x.factor - y.factor, offset };
}

/** Division of integers truncates; with symbols only what divides exactly is known, and that is the same. */
function divide(x: Extent, y: Extent): Extent | undefined {
  if (equalExtents(x, y) && !isStatic(x)) return 1;
  if (isStatic(x) && isStatic(y)) return y === 0 || x % y !== 0 ? undefined : x / y;
  return divideExtents(x, y);
}

const concatenate: VectorRule = (inputs) =>
  inputs.every(({ shape }) => shape.length === 1) ? inputs.flatMap(({ entries }) => entries) : undefined;

const gatherEntries: VectorRule = ([data, indices]) => {
  if (data.shape.length !== 1) return undefined;
  const length = data.entries.length;
  return indices.entries.map((index) =>
    isStatic(index) && index >= -length && index < length ? data.entries[(index + length) % length] : undefined
  );
};

const sliceEntries: VectorRule = ([data, ...rest], { node }) => {
  if (data.shape.length !== 1) return undefined;
  const read = (index: number, name: string, fallback: number) =>
    node.opset < 10 ? node.attributes.ints(name, [fallback])[0] : rest[index]?.entries[0] ?? fallback;
  const start = read(0, "starts", 0);
  const end = read(1, "ends", 0);
  const step = node.opset < 10 ? 1 : rest[3]?.entries[0] ?? 1;
  if (!isStatic(start) || !isStatic(end) || !isStatic(step) || step === 0) return undefined;
  const length = data.entries.length;
  const clamp = (at: number, low: number, high: number) => Math.min(high, Math.max(low, at < 0 ? at + length : at));
  const picked: Extent[] = [];
  if (step > 0) {
    for (let at = clamp(start, 0, length); at < clamp(end, 0, length); at += step) picked.push(data.entries[at]);
  } else {
    for (let at = clamp(start, -1, length - 1); at > clamp(end, -1, length - 1); at += step) {
      picked.push(data.entries[at]);
    }
  }
  return picked;
};

const selectEntries: VectorRule = ([condition, x, y], { shape }) => {
  const which = broadcastEntries(condition, shape);
  const yes = broadcastEntries(x, shape);
  const no = broadcastEntries(y, shape);
  if (which === undefined || yes === undefined || no === undefined) return undefined;
  return which.map((choice, index) => (isStatic(choice) ? (choice === 0 ? no[index] : yes[index]) : undefined));
};

/** Reductions of a whole vector. */
function reduction(combine: (x: Extent, y: Extent) => Extent | undefined, start: number): VectorRule {
  return ([x], { shape }) =>
    sizeOf(shape) === 1
      ? [x.entries.reduce<Extent | undefined>((sum, entry) => (sum === undefined ? sum : combine(sum, entry)), start)]
      : undefined;
}

const vectorRules: Readonly<Record<string, VectorRule>> = {
  Identity: keepEntries,
  Cast: keepEntries,
  Floor: keepEntries,
  Ceil: keepEntries,
  Round: keepEntries,
  Reshape: keepEntries,
  Squeeze: keepEntries,
  Unsqueeze: keepEntries,
  Flatten: keepEntries,
  Expand: ([x], { shape }) => broadcastEntries(x, shape),
  Add: elementwise(addExtents),
  Sub: elementwise(subtract),
  Mul: elementwise(multiplyExtents),
  Div: elementwise(divide),
  Neg: ([x]) => x.entries.map(negate),
  Min: extremum(true),
  Max: extremum(false),
  Equal: comparison((sign) => sign === 0),
  Less: comparison((sign) => sign < 0),
  LessOrEqual: comparison((sign) => sign <= 0),
  Greater: comparison((sign) => sign > 0),
  GreaterOrEqual: comparison((sign) => sign >= 0),
  Concat: concatenate,
  Gather: gatherEntries,
  Slice: sliceEntries,
  Where: selectEntries,
  ReduceProd: reduction(multiplyExtents, 1),
  ReduceSum: reduction(addExtents, 0),
};
