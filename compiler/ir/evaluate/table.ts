/** The evaluator of every op; a new op does not type-check until it stands here. */

import type { OpName } from "../node.ts";
import { evaluateTransform } from "./transform.ts";
import { evaluateAttention, evaluateRope } from "./attention.ts";
import { evaluateConv, evaluateConvTranspose, evaluateMatmul } from "./contraction.ts";
import { evaluateMap } from "./elementwise.ts";
import type { Evaluate } from "./environment.ts";
import {
  evaluateGather,
  evaluateGatherElements,
  evaluateGatherNd,
  evaluateScatterElements,
  evaluateScatterNd,
} from "./indexing.ts";
import {
  evaluateDequantize,
  evaluateFromCodes,
  evaluateQuantize,
  evaluateToCodes,
  evaluateToSteps,
} from "./quantization.ts";
import { evaluateRecurrent } from "./recurrent.ts";
import {
  evaluateArgReduce,
  evaluateCumulative,
  evaluateNorm,
  evaluateReduce,
  evaluateSoftmax,
  evaluateTopK,
} from "./reduction.ts";
import { evaluateAppend, evaluateReadState, evaluateWriteState } from "./state.ts";
import {
  evaluateConcat,
  evaluateExpand,
  evaluatePad,
  evaluateReshape,
  evaluateSlice,
  evaluateTranspose,
} from "./view.ts";
import { evaluatePool, evaluatePoolIndices, evaluateResample } from "./window.ts";

export const evaluators: { readonly [Op in OpName]: Evaluate<Op> } = {
  constant: (_, { hash }, { constants }) => [constants.get(hash)],
  map: evaluateMap,
  matmul: evaluateMatmul,
  conv: evaluateConv,
  convTranspose: evaluateConvTranspose,
  pool: evaluatePool,
  poolIndices: evaluatePoolIndices,
  reduce: evaluateReduce,
  argReduce: evaluateArgReduce,
  softmax: evaluateSoftmax,
  norm: evaluateNorm,
  rope: evaluateRope,
  attention: evaluateAttention,
  append: evaluateAppend,
  readState: evaluateReadState,
  writeState: evaluateWriteState,
  gather: evaluateGather,
  gatherElements: evaluateGatherElements,
  gatherNd: evaluateGatherNd,
  scatterElements: evaluateScatterElements,
  scatterNd: evaluateScatterNd,
  reshape: evaluateReshape,
  transpose: evaluateTranspose,
  expand: evaluateExpand,
  slice: evaluateSlice,
  pad: evaluatePad,
  concat: evaluateConcat,
  resample: evaluateResample,
  cumulative: evaluateCumulative,
  transform: evaluateTransform,
  topK: evaluateTopK,
  recurrent: evaluateRecurrent,
  quantize: evaluateQuantize,
  dequantize: evaluateDequantize,
  fromCodes: evaluateFromCodes,
  toCodes: evaluateToCodes,
  toSteps: evaluateToSteps,
};
