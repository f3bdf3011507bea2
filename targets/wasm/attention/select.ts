/** Selects the attention kernel. */

import { extentBound, isStatic, printExtent, shapeBound } from "../../../compiler/ir/extent.ts";
import { typeOf } from "../../../compiler/ir/graph.ts";
import { stridesOf } from "../../../compiler/ir/tensor.ts";
import type { TensorType } from "../../../compiler/ir/types.ts";
import type { KernelSelector, SelectContext } from "../kernel.ts";
import type { Parameter } from "../dot/finish.ts";
import { printFunction } from "../text.ts";
import { attentionBody } from "./attention.ts";
import { cacheCodes, cacheName, cacheParameters } from "./cache.ts";
import { type AttentionMask, type AttentionOptions, attentionScratch, tileRowsOf } from "./options.ts";

export const selectAttention: KernelSelector = (region, context) => {
  const node = region.main;
  if (node.op !== "attention") return { declined: "not attention" };
  if (region.epilogue !== undefined) return { declined: "epilogue" };
  const { graph, symbols } = context;
  const [q, k, v, mask] = node.inputs;
  const types = [q, k, v].map((value) => typeOf(graph, value));
  if (types[0].encoding.kind !== "plain" || types[0].element !== "f32") return { declined: "queries are not f32" };
  const [batch, length, heads, width] = types[0].shape;
  const [, keys, groups] = types[1].shape;
  const valueWidth = types[2].shape[3];
  if (!isStatic(batch) || !isStatic(heads) || !isStatic(groups) || !isStatic(width) || !isStatic(valueWidth)) {
    return { declined: "extents other than lengths are symbolic" };
  }
  if ([...types[0].shape, ...types[1].shape, valueWidth].some((extent) => extentBound(extent, symbols) === 0)) {
    return { declined: "no entries" };
  }
  const [keyCodes, valueCodes] = [cacheCodes(types[1], width), cacheCodes(types[2], valueWidth)];
  if (keyCodes !== undefined && "declined" in keyCodes) return keyCodes;
  if (valueCodes !== undefined && "declined" in valueCodes) return valueCodes;
  const maskForm = mask === undefined ? undefined : attentionMask(typeOf(graph, mask), context);
  if (maskForm !== undefined && "declined" in maskForm) return maskForm;
  const options: AttentionOptions = {
    attributes: node.attributes,
    batch,
    length,
    lengthBound: extentBound(length, symbols),
    keys,
    keysBound: extentBound(keys, symbols),
    heads,
    groups,
    width,
    valueWidth,
    mask: maskForm,
    keyCodes,
    valueCodes,
  };
  const data = (name: string, value: string): Parameter => ({ name, operand: { kind: "value", value, part: "data" } });
  const parameters: Parameter[] = [
    data("q", q),
    ...cacheParameters("k", k, keyCodes),
    ...cacheParameters("v", v, valueCodes),
  ];
  if (mask !== undefined) parameters.push(data("mask", mask));
  parameters.push(data("y", node.outputs[0]));
  parameters.push({ name: "scratch", operand: { kind: "scratch", bytes: attentionScratch(options) } });
  const { scale, causal, softcap, window } = node.attributes;
  const sizes = `b=${batch},t=${printExtent(length)}<=${options.lengthBound},s=${
    printExtent(keys)
  }<=${options.keysBound},h=${heads},g=${groups},d=${width},e=${valueWidth}`;
  const form = `scale=${Math.fround(scale)}${causal ? ",causal" : ""}${window > 0 ? `,window=${window}` : ""}${
    softcap === 0 ? "" : `,softcap=${softcap}`
  }${maskForm === undefined ? "" : `,mask=${maskForm.element}:${maskForm.strides.join(":")}`}`;
  const codes = keyCodes === undefined && valueCodes === undefined
    ? ""
    : `,k=${cacheName(keyCodes)},v=${cacheName(valueCodes)}`;
  return {
    id: `attention.${codes === "" ? "f32" : "codes"}(${sizes},${form}${codes})`,
    operands: parameters.map((parameter) => parameter.operand),
    calls: [],
    wat: (name, variant) =>
      printFunction({
        name,
        header: [
          "y[t][h] = sum over s of p[s] * v[s] / sum of p, p[s] = exp(score[s] - max)",
          "score[s] = cap(scale * q[t][h] . k[s]) + mask[s], over the keys that row t sees",
          ...(codes === "" ? [] : ["k and v = (code - zero) * step, decoded to scratch once a head"]),
          `${sizes}, ${form}${codes}; tiles of ${tileRowsOf(options)} rows`,
        ],
        parameters: parameters.map((parameter) => parameter.name),
        body: attentionBody(options, variant),
      }),
  };
};

/** Strides of a mask that broadcasts to [B, H, T, S]. */
function attentionMask({ element, shape, encoding }: TensorType, { symbols }: SelectContext): AttentionMask | {
  readonly declined: string;
} {
  if (encoding.kind !== "plain" || element !== "f32" && element !== "bool") {
    return { declined: "mask is not f32 or bool" };
  }
  const bounds = shapeBound(shape, symbols);
  const missing = 4 - bounds.length;
  const strides = stridesOf(bounds);
  const stride = (axis: number): number => axis < missing || shape[axis - missing] === 1 ? 0 : strides[axis - missing];
  return { element, strides: [stride(0), stride(1), stride(2), stride(3)] };
}
