import { fail } from "../../compiler/diagnostics.ts";
import { binary, input } from "../../compiler/ir/expression.ts";
import { isStatic, shapeBound } from "../../compiler/ir/extent.ts";
import type { Graph, State } from "../../compiler/ir/graph.ts";
import type { Node, NodeOf, ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, type PlainTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { quantizedType } from "../../compiler/ir/types.ts";
import { elementBytes } from "../../compiler/numeric/element.ts";
import { codeElement } from "../../compiler/numeric/number_format.ts";
import { perToken, type QuantScheme, stepShape } from "../../compiler/numeric/scheme.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";
import { booleanOption, choiceOption, integerOption, nullable } from "../../compiler/rewrite/options.ts";
import { definePass, type PassContext } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule } from "../../compiler/rewrite/rule.ts";
import { type GraphView, Rewriting } from "../../compiler/rewrite/view.ts";
import { spread } from "../calibrate/calibrate.ts";
import { collectRows, type RowRequest, type RowSample } from "../migrate/collect_rows.ts";
import { formatOf, formatOption } from "./format_option.ts";

const options = {
  format: formatOption("int4", "Number format of the codes"),
  bits: nullable(integerOption({ min: 2, max: 8 }, 4, "Width that replaces that of an integer format")),
  symmetric: booleanOption(false, "No zero point; false gives integer codes a zero point"),
  block: nullable(
    integerOption({ min: 1, max: 4096 }, 32, "Entries of a head that share a step; null for the whole head"),
  ),
  hold: choiceOption(["both", "keys", "values"], "both", "Which caches hold codes"),
  center: booleanOption(false, "Take the mean key of calibration off every key first; softmax does not see it"),
  samples: integerOption({ min: 1, max: 4096 }, 32, "Calibration samples that the mean keys are taken over"),
} as const;

/**
 * Keys and values are held as codes: every row that is appended to a cache is quantized, one step (and zero point) per
 * token and head, or per block of a head, and attention reads the codes (QServe's KV4, Lin et al. 2024, arXiv 2405.04532).
 * Keys are quantized after their rotation by position; queries stay float.
 *
 * `center` subtracts a constant vector from the keys of every head: all scores of a query fall by the same amount, and
 * softmax is unchanged, so nothing has to make up for it. Keys often hold large means, which would take up the range.
 * A softcap between scores and softmax sees the shift, so such an attention's keys are not centred.
 *
 * Lossy: an entry errs by at most half its step, (hi - lo) / (2^bits - 1) with a zero point, 2 max|x| / (2^bits - 2)
 * without. A cache that something else than attention reads is left alone: it would see the rounded rows.
 */
export const quantizeCache = definePass({
  name: "quantize-cache",
  summary: "Hold the keys and values of attention as codes",
  from: "any",
  to: "quant",
  exactness: "lossy",
  needs: [],
  options,
  run: async (graph, scope) => {
    const { format, bits, symmetric, center, samples, ...rest } = scope.options;
    const recipe: CacheRecipe = { ...rest, ...formatOf(format, bits, symmetric) };
    const view = new Rewriting(graph);
    const chosen = new Map<string, QuantScheme>();
    for (const node of graph.nodes) {
      if (node.op !== "append" || !scope.selects(node) || !isHeld(node, view, recipe.hold)) continue;
      if (obstacle(node, view) === undefined) chosen.set(node.attributes.state, cacheScheme(recipe));
    }
    const means = center ? await meanKeys(graph, chosen, scope, samples) : new Map<ValueName, PlainTensor<"f32">>();
    const states = graph.states.map((state) => retyped(state, chosen.get(state.name)));
    const rule = cacheRule(recipe, chosen, means);
    const result = sweep({ ...graph, states }, [rule], { selects: scope.selects });
    const level = chosen.size > 0 && graph.level === "float" ? "quant" : graph.level;
    return {
      ...result,
      graph: Object.freeze({ ...result.graph, level }),
      metrics: { caches: chosen.size, ...cacheBytes(graph, result.graph) },
    };
  },
});

interface CacheRecipe extends ReturnType<typeof formatOf> {
  readonly block: number | null;
  readonly hold: "both" | "keys" | "values";
}

/** [B, S, G, D]: a step per token and head, or per block of a head. */
function cacheScheme({ format, zeroPoint, block }: CacheRecipe): QuantScheme {
  const rows = perToken(4);
  return {
    format,
    block: block === null ? rows : [...rows.slice(0, 3), block],
    step: "f32",
    zeroPoint,
    range: "dynamic",
  };
}

function retyped(state: State, scheme: QuantScheme | undefined): State {
  return scheme === undefined ? state : { ...state, type: quantizedType(scheme, state.type.shape, state.type.element) };
}

function cacheRule(
  recipe: CacheRecipe,
  chosen: ReadonlyMap<string, QuantScheme>,
  means: ReadonlyMap<ValueName, PlainTensor<"f32">>,
): Rule {
  return {
    name: "quantize-cache",
    rewrite: (node, view) => {
      if (node.op !== "append" || !isHeld(node, view, recipe.hold)) return undefined;
      const scheme = chosen.get(node.attributes.state);
      if (scheme === undefined) return declined(obstacle(node, view) ?? "its state is not quantized");
      const patch = new PatchBuilder("quantize-cache", view);
      patch.remove(node);
      const [rows] = node.inputs;
      const [held] = node.outputs;
      const mean = means.get(rows);
      const source = mean === undefined
        ? rows
        : patch.map(binary("sub", input(0), input(1)), [rows, patch.constant(mean, { name: "mean_key" })], {
          name: `${rows}.centred`,
        });
      const codes = patch.add("quantize", [source], { scheme }, { name: `${rows}.q` });
      patch.replace(held, patch.add("append", [codes], node.attributes, { name: `${held}.q` }), { retyped: true });
      return patched(patch.finish());
    },
  };
}

/** The mean of the keys that each chosen cache takes, [G, D], by the rows' value. */
async function meanKeys(
  graph: Graph,
  chosen: ReadonlyMap<string, QuantScheme>,
  { calibration, onProgress }: Pick<PassContext, "calibration" | "onProgress">,
  samples: number,
): Promise<ReadonlyMap<ValueName, PlainTensor<"f32">>> {
  if (calibration === undefined) return fail("Q0309", `"center" of "quantize-cache" needs calibration samples`);
  const view = new Rewriting(graph);
  const requests = graph.nodes.flatMap((node): RowRequest[] => {
    if (node.op !== "append" || !chosen.has(node.attributes.state) || !isShiftFree(node, view)) return [];
    const [groups, extent] = view.typeOf(node.inputs[0]).shape.slice(2);
    return isStatic(groups) && isStatic(extent) ? [{ value: node.inputs[0], columns: groups * extent }] : [];
  });
  const rows = await collectRows(graph, requests, spread(calibration, samples), 65536, 0, onProgress);
  return new Map(
    [...rows].filter(([, { count }]) => count > 0).map(([value, sample]) => {
      const shape = view.typeOf(value).shape.slice(2).filter(isStatic);
      return [value, floatTensor(shape, columnMeans(sample))];
    }),
  );
}

function columnMeans({ data, columns, count }: RowSample): Float64Array {
  const sums = new Float64Array(columns);
  data.forEach((entry, index) => sums[index % columns] += entry / count);
  return sums;
}

/** Whether every attention that reads the rows as keys passes its scores to softmax as they are. */
function isShiftFree(node: NodeOf<"append">, view: GraphView): boolean {
  return view.readers(node.outputs[0]).every((reader) =>
    reader.op === "attention" && reader.attributes.softcap === 0 && reader.inputs.indexOf(node.outputs[0]) === 1 &&
    reader.inputs.lastIndexOf(node.outputs[0]) === 1
  );
}

/** Whether an append grows keys or values that the pass is asked for. */
function isHeld(node: NodeOf<"append">, view: GraphView, hold: CacheRecipe["hold"]): boolean {
  const [held] = node.outputs;
  const roles = view.readers(held).filter((reader) => reader.op === "attention").map((reader) =>
    reader.inputs.indexOf(held)
  );
  const wanted = { both: [1, 2], keys: [1], values: [2] }[hold];
  return roles.some((role) => wanted.includes(role));
}

/** Why a cache keeps its numbers; undefined when it can hold codes. */
function obstacle(node: NodeOf<"append">, view: GraphView): string | undefined {
  const [rows] = node.inputs;
  const [held] = node.outputs;
  const { state } = node.attributes;
  const type = view.typeOf(rows);
  if (type.encoding.kind !== "plain") return "the cache holds codes already";
  if (type.element !== "f32") return `the cache is ${type.element}, not f32`;
  if (view.isOutput(held)) return "the cache is an output of the model";
  if (!view.readers(held).every((reader) => readsAsCache(reader, held))) {
    return "something else than attention reads the cache";
  }
  const others = view.graph.nodes.some((other) => touchesState(other, state) && other.outputs[0] !== held);
  return others ? "its state is read or written elsewhere too" : undefined;
}

function readsAsCache(reader: Node, held: string): boolean {
  return reader.op === "attention" &&
    reader.inputs.every((input, index) => input !== held || index === 1 || index === 2);
}

function touchesState(node: Node, state: string): boolean {
  return (node.op === "append" || node.op === "readState" || node.op === "writeState") &&
    node.attributes.state === state;
}

/** Bytes of all states before and after, as targets hold them: a byte or more a code. */
function cacheBytes(before: Graph, after: Graph): { readonly bytesBefore: number; readonly bytesAfter: number } {
  const total = (graph: Graph) => graph.states.reduce((sum, state) => sum + stateBytes(state, graph), 0);
  return { bytesBefore: total(before), bytesAfter: total(after) };
}

function stateBytes({ type }: State, graph: Graph): number {
  const shape = shapeBound(type.shape, graph.symbols);
  if (type.encoding.kind === "plain") return sizeOf(shape) * elementBytes(type.element);
  const { scheme } = type.encoding;
  const steps = sizeOf(stepShape(scheme, shape));
  return sizeOf(shape) * elementBytes(codeElement(scheme.format)) + steps * (scheme.zeroPoint ? 8 : 4);
}
