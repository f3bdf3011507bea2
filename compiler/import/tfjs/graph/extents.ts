/** Shape arithmetic of TensorFlow graphs over sizes that hold symbols. */

import {
  addExtents,
  equalExtents,
  type Extent,
  isStatic,
  multiplyExtents,
  type SymbolTable,
} from "../../../ir/extent.ts";
import { plainTensor } from "../../../ir/tensor.ts";
import { compareExtents } from "../../onnx/shape_vector.ts";
import { extentsValue, type KnownExtents, knownExtents, type TfContext } from "./context.ts";
import { stridedBounds } from "./strided.ts";
import { tensorValue, type TfValue } from "./value.ts";

/** What the node makes of known integers; undefined when the op has no rule or the result is no longer known. */
type ExtentRule = (inputs: readonly KnownExtents[], context: TfContext) => TfValue | undefined;

/** Applies the rule of an op whose inputs are all known and some of which hold symbols. */
export function applyExtentRule(context: TfContext): TfValue | undefined {
  const rule = Object.hasOwn(rules, context.node.op) ? rules[context.node.op] : undefined;
  if (rule === undefined || !context.inputs.some((value) => value.kind === "extents")) return undefined;
  const known = context.inputs.map((value) => knownExtents(context.builder, value));
  const all = known.filter((value) => value !== undefined);
  return all.length === known.length ? rule(all, context) : undefined;
}

function result(context: TfContext, rank: number, entries: readonly (Extent | undefined)[]): TfValue | undefined {
  const known = entries.filter((entry) => entry !== undefined);
  if (known.length !== entries.length || rank > 1) return undefined;
  return extentsValue(context.builder, rank === 0 ? 0 : 1, known);
}

/** Pairs of entries with a scalar spread over a vector. */
function pairs([x, y]: readonly KnownExtents[]): readonly (readonly [Extent, Extent])[] {
  const length = Math.max(x.entries.length, y.entries.length);
  const at = (value: KnownExtents, index: number) => value.entries[value.entries.length === 1 ? 0 : index];
  return Array.from({ length }, (_, index) => [at(x, index), at(y, index)]);
}

function arithmetic(combine: (x: Extent, y: Extent, symbols: SymbolTable) => Extent | undefined): ExtentRule {
  return (inputs, context) => {
    const rank = Math.max(...inputs.map((value) => value.rank));
    return result(context, rank, pairs(inputs).map(([x, y]) => combine(x, y, context.builder.symbols)));
  };
}

function comparison(holds: (sign: -1 | 0 | 1) => boolean): ExtentRule {
  return (inputs, context) => {
    const signs = pairs(inputs).map(([x, y]) => compareExtents(x, y, context.builder.symbols));
    const known = signs.filter((sign) => sign !== undefined);
    if (known.length !== signs.length) return undefined;
    const shape = Math.max(...inputs.map((value) => value.rank)) === 0 ? [] : [known.length];
    const data = Uint8Array.from(known, (sign) => (holds(sign) ? 1 : 0));
    return tensorValue(context.builder.constant(plainTensor("bool", shape, data)));
  };
}

function extremum(sign: -1 | 1): ExtentRule {
  return arithmetic((x, y, symbols) => {
    if (equalExtents(x, y)) return x;
    const order = compareExtents(x, y, symbols);
    return order === undefined ? undefined : order === sign ? x : y;
  });
}

function subtract(x: Extent, y: Extent): Extent | undefined {
  if (isStatic(y)) return addExtents(x, -y);
  if (isStatic(x) || x.symbol !== y.symbol || x.factor !== y.factor) return undefined;
  return x.offset - y.offset;
}

/** Rank 1 made of all entries, rank 0 kept. */
const keep: ExtentRule = ([x], context) => result(context, x.rank, x.entries);

const rules: Readonly<Record<string, ExtentRule>> = {
  Add: arithmetic(addExtents),
  AddV2: arithmetic(addExtents),
  Cast: keep,
  ConcatV2: (inputs, context) => result(context, 1, inputs.slice(0, -1).flatMap((value) => value.entries)),
  Cumsum: ([x], context) => {
    const sums: (Extent | undefined)[] = [];
    for (const entry of x.entries) {
      const last = sums.length === 0 ? 0 : sums[sums.length - 1];
      sums.push(last === undefined ? undefined : addExtents(last, entry));
    }
    const plain = !context.attributes.boolean("exclusive", false) && !context.attributes.boolean("reverse", false);
    return plain ? result(context, 1, sums) : undefined;
  },
  Equal: comparison((sign) => sign === 0),
  ExpandDims: ([x], context) => (x.rank === 0 ? result(context, 1, x.entries) : undefined),
  GatherV2: ([x, indices], context) =>
    result(context, indices.rank, indices.entries.map((index) => isStatic(index) ? x.entries.at(index) : undefined)),
  Greater: comparison((sign) => sign > 0),
  GreaterEqual: comparison((sign) => sign >= 0),
  Identity: keep,
  Less: comparison((sign) => sign < 0),
  LessEqual: comparison((sign) => sign <= 0),
  Maximum: extremum(1),
  Minimum: extremum(-1),
  Mul: arithmetic(multiplyExtents),
  NotEqual: comparison((sign) => sign !== 0),
  Pack: (inputs, context) => {
    if (inputs.some((value) => value.rank !== 0)) return undefined;
    return result(context, 1, inputs.flatMap((value) => value.entries));
  },
  Prod: ([x], context) =>
    result(context, context.attributes.boolean("keep_dims", false) ? 1 : 0, [
      x.entries.reduce<Extent | undefined>(
        (size, entry) => (size === undefined ? undefined : multiplyExtents(size, entry)),
        1,
      ),
    ]),
  Reshape: ([x, target], context) => {
    if (target.entries.length === 0) return x.entries.length === 1 ? result(context, 0, x.entries) : undefined;
    return target.entries.length === 1 ? result(context, 1, x.entries) : undefined;
  },
  Slice: ([x, starts, sizes], context) => {
    const [start, size] = [starts.entries[0], sizes.entries[0]];
    if (!isStatic(start) || !isStatic(size)) return undefined;
    return result(context, 1, x.entries.slice(start, size < 0 ? undefined : start + size));
  },
  Squeeze: ([x], context) => (x.entries.length === 1 ? result(context, 0, x.entries) : undefined),
  StridedSlice: ([x], context) => {
    if (x.rank !== 1) return undefined;
    const { starts, steps, extents, shape } = stridedBounds(context, [x.entries.length]);
    const count = extents[0];
    if (!isStatic(count)) return undefined;
    const entries = Array.from({ length: count }, (_, index) => x.entries[starts[0] + index * steps[0]]);
    return result(context, shape.length, entries);
  },
  Sub: arithmetic(subtract),
};
