/** The tuned kernel families of WebGPU: the one list that dispatch, tests and reports read. */

import type { OpName } from "../../compiler/ir/node.ts";
import type { KernelSelector } from "./kernel.ts";
import { selectConv } from "./conv/select.ts";
import { selectMatmul } from "./dot/matmul.ts";
import { selectGather } from "./gather/select.ts";
import { selectWorkgroup } from "./workgroup/select.ts";

export interface KernelFamily {
  readonly ops: readonly OpName[];
  readonly select: KernelSelector;
  readonly summary: string;
}

/** Tried in order; the first that takes a region makes its kernel. */
export const kernelFamilies: readonly KernelFamily[] = [
  {
    ops: ["matmul"],
    select: selectMatmul,
    summary: "rows and columns in tiles, or few rows with the depth dealt out; bytes by packed dot products",
  },
  {
    ops: ["conv"],
    select: selectConv,
    summary: "windows and filters in tiles",
  },
  {
    ops: ["gather"],
    select: selectGather,
    summary: "rows of a quantized table, from the layout of the products",
  },
  {
    ops: ["argReduce", "attention", "norm", "recurrent", "softmax", "reduce", "quantize", "transform"],
    select: selectWorkgroup,
    summary: "a workgroup for each row, whose loops its invocations share",
  },
];
