/** The tuned kernel families of WebAssembly: the one list that dispatch, tests and reports read. */

import type { OpName } from "../../compiler/ir/node.ts";
import { selectAttention } from "./attention/select.ts";
import { selectConv } from "./conv/conv.ts";
import { selectDynamicMatmul } from "./dot/dynamic_matmul.ts";
import { selectMatmul } from "./dot/matmul.ts";
import { selectGather } from "./gather/select.ts";
import type { KernelSelector } from "./kernel.ts";
import { selectNorm } from "./norm/select.ts";
import { selectTransform } from "./transform/select.ts";

/** What the relaxed variant of a form does otherwise. */
export type RelaxedUse = "multiply-add" | "byte dot" | "none";

/** Kernels of one arithmetic. Their ids are `name(parameters)`, with every parameter that the code depends on. */
export interface KernelForm {
  readonly name: string;
  readonly summary: string;
  readonly relaxed: RelaxedUse;
}

export interface KernelFamily {
  readonly ops: readonly OpName[];
  readonly select: KernelSelector;
  readonly forms: readonly KernelForm[];
}

const dotForms = (family: "matmul" | "conv"): readonly KernelForm[] => [
  { name: `${family}.f32`, summary: "f32 rows, f32 weights in panels", relaxed: "multiply-add" },
  { name: `${family}.int8`, summary: "8-bit codes, weights of up to 8 bits; exact i32 sums", relaxed: "none" },
  { name: `${family}.int4`, summary: "8-bit codes, weights of up to 4 bits; exact sums", relaxed: "byte dot" },
  {
    name: `${family}.packed`,
    summary: "small codes, packed codes of any width decoded to bytes; exact sums",
    relaxed: "none",
  },
  {
    name: `${family}.packed-weights`,
    summary: "f32 rows, packed codes of any width decoded on the way",
    relaxed: "multiply-add",
  },
  { name: `${family}.weights`, summary: "f32 rows, quantized weights decoded on the way", relaxed: "multiply-add" },
];

/** Tried in order; the first that takes a region makes its kernel. */
export const kernelFamilies: readonly KernelFamily[] = [
  { ops: ["matmul"], select: selectMatmul, forms: dotForms("matmul") },
  {
    ops: ["matmul"],
    select: selectDynamicMatmul,
    forms: [{ name: "matmul.dynamic", summary: "f32 rows, f32 columns packed at run time", relaxed: "multiply-add" }],
  },
  {
    ops: ["conv"],
    select: selectConv,
    forms: [
      ...dotForms("conv"),
      { name: "conv.depthwise", summary: "one filter per channel, f32 or 8-bit codes", relaxed: "multiply-add" },
    ],
  },
  {
    ops: ["attention"],
    select: selectAttention,
    forms: [
      { name: "attention.f32", summary: "softmax attention over a cache or operands", relaxed: "multiply-add" },
      { name: "attention.codes", summary: "the same over keys and values held as codes", relaxed: "multiply-add" },
    ],
  },
  {
    ops: ["gather"],
    select: selectGather,
    forms: [{ name: "gather.rows", summary: "rows of quantized weights in panels", relaxed: "none" }],
  },
  {
    ops: ["norm"],
    select: selectNorm,
    forms: [{ name: "norm.f32", summary: "norms of rows, up to integer codes", relaxed: "none" }],
  },
  {
    ops: ["transform"],
    select: selectTransform,
    forms: [{ name: "transform.f32", summary: "Walsh-Hadamard butterflies, then a core", relaxed: "multiply-add" }],
  },
];

/** The form that an id belongs to; undefined for the loop form. */
export function formOf(id: string): KernelForm | undefined {
  const name = id.slice(0, id.indexOf("("));
  return kernelFamilies.flatMap((family) => family.forms).find((form) => form.name === name);
}
