/** Builds the graph of a Llama-family decoder with its KV cache from a description and its weights. */

import { GraphBuilder } from "../../ir/build.ts";
import { symbolic } from "../../ir/extent.ts";
import type { Graph } from "../../ir/graph.ts";
import { input, literal } from "../../ir/expression.ts";
import { binary } from "../../ir/expression.ts";
import type { ContractionResult, ValueName } from "../../ir/node.ts";
import { floatTensor, type PlainTensor, plainTensor, type Tensor } from "../../ir/tensor.ts";
import { tensorType } from "../../ir/types.ts";
import { InvariantError } from "../../diagnostics.ts";
import { gatedExpression, softcapExpression } from "./activation.ts";
import type { DecoderDescription, LayerRole, ModelRole, WeightLookup, WeightSlot } from "./description.ts";
import { weightSlots } from "./description.ts";
import { type RopeDescription, ropeTables } from "./rope_table.ts";

/** What a compiled decoder serves. */
export interface DecoderOptions {
  /** Positions that the KV cache holds. */
  readonly context: number;
  /** Tokens of one call. */
  readonly sequence: { readonly min: number; readonly max: number };
  readonly logits: "all" | "last";
  readonly idElement: "i32" | "i64";
}

const real: ContractionResult = { kind: "real" };

/** State of a builder in progress: shared by the functions below. */
interface Assembly {
  readonly builder: GraphBuilder;
  readonly description: DecoderDescription;
  readonly options: DecoderOptions;
  readonly weight: WeightLookup;
  readonly slots: ReadonlyMap<string, WeightSlot>;
  readonly tables: Map<string, { readonly cos: ValueName; readonly sin: ValueName }>;
}

/**
 * ids[1, seq] -> logits[1, seq, vocabulary], or [1, 1, vocabulary] of the last position.
 * Keys and values live in states `layer.N.key` and `layer.N.value` of [1, context, key heads, head extent].
 * Throws what `weight` throws.
 */
export function buildDecoder(description: DecoderDescription, options: DecoderOptions, weight: WeightLookup): Graph {
  const builder = new GraphBuilder(description.name);
  builder.symbol("seq", options.sequence);
  builder.symbol("past", { min: 0, max: options.context - options.sequence.min });
  builder.symbol("total", { min: options.sequence.min, max: options.context });
  const slots = new Map(weightSlots(description).map((slot) => [slotKey(slot.role, slot.layer), slot]));
  const assembly: Assembly = { builder, description, options, weight, slots, tables: new Map() };
  const ids = builder.input("ids", tensorType(options.idElement, [1, symbolic("seq")]));
  const embedding = weightValue(assembly, "embedding");
  let hidden = builder.add("gather", [embedding.value, ids], { axis: 0 }, named("embedded", embedding));
  if (description.embeddingScale !== 1) {
    const expression = binary("mul", input(0), literal(Math.fround(description.embeddingScale)));
    hidden = builder.map(expression, [hidden], { name: "embedding_scaled", origin: [embedding.origin] });
  }
  description.layers.forEach((_, layer) => {
    hidden = feedForward(assembly, attend(assembly, hidden, layer), layer);
  });
  builder.output("logits", head(assembly, hidden, embedding));
  return builder.finish(holdsQuantized(builder) ? "quant" : "float");
}

interface NamedValue {
  readonly value: ValueName;
  readonly origin: string;
}

function named(name: string, ...weights: readonly NamedValue[]): { name: string; origin: readonly string[] } {
  return { name, origin: weights.map((weight) => weight.origin) };
}

function slotKey(role: LayerRole | ModelRole, layer?: number): string {
  return layer === undefined ? role : `layer.${layer}.${role}`;
}

function lookUp(assembly: Assembly, role: LayerRole | ModelRole, layer?: number): { tensor: Tensor; origin: string } {
  const slot = assembly.slots.get(slotKey(role, layer));
  if (slot === undefined) throw new InvariantError(`The decoder has no weight ${slotKey(role, layer)}`);
  return assembly.weight(slot);
}

function weightValue(assembly: Assembly, role: LayerRole | ModelRole, layer?: number): NamedValue {
  const { tensor, origin } = lookUp(assembly, role, layer);
  return { value: assembly.builder.constant(tensor, { name: slotKey(role, layer), origin: [origin] }), origin };
}

/** x / sqrt(mean(x²) + epsilon) * gain over the last axis. */
function rmsNorm(assembly: Assembly, x: ValueName, role: LayerRole | "finalNorm", layer?: number): ValueName {
  const { builder, description } = assembly;
  const { tensor, origin } = lookUp(assembly, role, layer);
  const name = slotKey(role, layer);
  const gain = builder.constant(offsetGain(tensor, description.gainOffset), { name: `${name}.gain`, origin: [origin] });
  const axis = builder.typeOf(x).shape.length - 1;
  return builder.add("norm", [x, gain], { kind: "rms", axis, epsilon: description.normEpsilon }, {
    name,
    origin: [origin],
  });
}

function offsetGain(tensor: Tensor, offset: 0 | 1): Tensor {
  if (offset === 0) return tensor;
  return floatTensor(tensor.shape, floatData(tensor).map((weight) => weight + offset));
}

function floatData(tensor: Tensor): Float32Array {
  if (tensor.kind === "plain" && tensor.data instanceof Float32Array) return tensor.data;
  throw new InvariantError(`Norm weights and biases are f32, got ${tensor.kind} ${tensor.element}`);
}

/** x · weightᵀ (+ bias). */
function linear(assembly: Assembly, x: ValueName, role: LayerRole, layer: number): ValueName {
  const weight = weightValue(assembly, role, layer);
  const biasRole = biasRoles[role];
  const hasBias = biasRole !== undefined && assembly.slots.has(slotKey(biasRole, layer));
  const bias = hasBias ? [weightValue(assembly, biasRole, layer)] : [];
  return assembly.builder.add(
    "matmul",
    [x, weight.value, ...bias.map((entry) => entry.value)],
    { transposeB: true, hasBias, result: real },
    named(`layer.${layer}.${role}.out`, weight, ...bias),
  );
}

const biasRoles: Partial<Record<LayerRole, LayerRole>> = {
  query: "queryBias",
  key: "keyBias",
  value: "valueBias",
  output: "outputBias",
  gate: "gateBias",
  up: "upBias",
  down: "downBias",
};

function attend(assembly: Assembly, hidden: ValueName, layer: number): ValueName {
  const { builder, description, options } = assembly;
  const { heads, keyValueHeads, headExtent } = description;
  const x = rmsNorm(assembly, hidden, "attentionNorm", layer);
  const split = (role: "query" | "key" | "value", count: number): ValueName => {
    const flat = linear(assembly, x, role, layer);
    return builder.add("reshape", [flat], { shape: [1, symbolic("seq"), count, headExtent] }, {
      name: `layer.${layer}.${role}.heads`,
    });
  };
  const query = positioned(assembly, split("query", heads), "queryNorm", layer);
  const key = positioned(assembly, split("key", keyValueHeads), "keyNorm", layer);
  const cached = (role: "key" | "value", rows: ValueName): ValueName => {
    const state = `layer.${layer}.${role}`;
    builder.state({ name: state, type: tensorType("f32", [1, options.context, keyValueHeads, headExtent]), axis: 1 });
    return builder.add("append", [rows], { state, axis: 1 }, { name: `${state}.cache` });
  };
  const keys = cached("key", key);
  const values = cached("value", split("value", keyValueHeads));
  const mixed = builder.add("attention", [query, keys, values], {
    scale: description.attentionScale,
    causal: true,
    softcap: description.attentionSoftcap,
    window: description.layers[layer].window,
  }, { name: `layer.${layer}.attention` });
  const flat = builder.add("reshape", [mixed], { shape: [1, symbolic("seq"), heads * headExtent] }, {
    name: `layer.${layer}.attention.flat`,
  });
  return addResidual(assembly, hidden, linear(assembly, flat, "output", layer), "attentionPostNorm", layer);
}

/** Head norm (where the model has one), then rotation by position. */
function positioned(assembly: Assembly, x: ValueName, role: "queryNorm" | "keyNorm", layer: number): ValueName {
  const { builder, description } = assembly;
  const normed = description.queryKeyNorms ? rmsNorm(assembly, x, role, layer) : x;
  const rope = description.layers[layer].rope;
  if (rope === undefined) return normed;
  const { cos, sin } = tableValues(assembly, rope);
  const name = `layer.${layer}.${role === "queryNorm" ? "query" : "key"}.rotated`;
  return builder.add("rope", [normed, cos, sin], { extent: rope.extent, interleaved: false, fromPast: true }, { name });
}

/** The tables of a rotation; layers with the same rotation share them. */
function tableValues(assembly: Assembly, rope: RopeDescription): { readonly cos: ValueName; readonly sin: ValueName } {
  const key = JSON.stringify(rope);
  const known = assembly.tables.get(key);
  if (known !== undefined) return known;
  const { cos, sin } = ropeTables(rope, assembly.options.context);
  const values = {
    cos: assembly.builder.constant(cos, { name: "rope.cos" }),
    sin: assembly.builder.constant(sin, { name: "rope.sin" }),
  };
  assembly.tables.set(key, values);
  return values;
}

function feedForward(assembly: Assembly, hidden: ValueName, layer: number): ValueName {
  const { builder, description } = assembly;
  const x = rmsNorm(assembly, hidden, "mlpNorm", layer);
  const gate = linear(assembly, x, "gate", layer);
  const up = linear(assembly, x, "up", layer);
  const gated = builder.map(gatedExpression(description.activation), [gate, up], { name: `layer.${layer}.gated` });
  return addResidual(assembly, hidden, linear(assembly, gated, "down", layer), "mlpPostNorm", layer);
}

function addResidual(
  assembly: Assembly,
  hidden: ValueName,
  branch: ValueName,
  postNorm: "attentionPostNorm" | "mlpPostNorm",
  layer: number,
): ValueName {
  const added = assembly.description.sandwichNorms ? rmsNorm(assembly, branch, postNorm, layer) : branch;
  const name = `layer.${layer}.${postNorm === "mlpPostNorm" ? "hidden" : "attended"}`;
  return assembly.builder.map(binary("add", input(0), input(1)), [hidden, added], { name });
}

function head(assembly: Assembly, hidden: ValueName, embedding: NamedValue): ValueName {
  const { builder, description, options } = assembly;
  const last = options.logits === "all"
    ? hidden
    : builder.add("gather", [hidden, builder.constant(lastRow)], { axis: 1 }, {
      name: "last_hidden",
    });
  const normed = rmsNorm(assembly, last, "finalNorm");
  const weight = description.tiedHead ? embedding : weightValue(assembly, "head");
  const logits = builder.add(
    "matmul",
    [normed, weight.value],
    { transposeB: true, hasBias: false, result: real },
    named("logits", weight),
  );
  if (description.logitSoftcap === 0) return logits;
  return builder.map(softcapExpression(description.logitSoftcap), [logits], { name: "logits_capped" });
}

/** Negative indices count from the end. */
const lastRow: PlainTensor<"i32"> = plainTensor("i32", [1], Int32Array.of(-1));

function holdsQuantized(builder: GraphBuilder): boolean {
  return builder.finish().nodes.some((node) =>
    node.op === "constant" && builder.typeOf(node.outputs[0]).encoding.kind !== "plain"
  );
}
