/** The pipeline: every pass, in the order in which a recipe lists them. */

import type { Pass } from "../compiler/rewrite/pass.ts";
import { calibrate } from "./calibrate/calibrate.ts";
import { mergeCommonSubexpressions } from "./cleanup/common_subexpressions.ts";
import { eliminateDead } from "./cleanup/eliminate_dead.ts";
import { foldConstants } from "./cleanup/fold_constants.ts";
import { fuseMaps } from "./cleanup/fuse_maps.ts";
import { inlineScalars } from "./cleanup/inline_scalars.ts";
import { mergeViews } from "./cleanup/merge_views.ts";
import { correctBias } from "./correct/correct_bias.ts";
import { foldBatchNorm } from "./fold/fold_batch_norm.ts";
import { foldBias } from "./fold/fold_bias.ts";
import { foldPad } from "./fold/fold_pad.ts";
import { integerArithmetic } from "./integer/integer_arithmetic.ts";
import { decodeWeights } from "./quantize/decode_weights.ts";
import { quantizeActivations } from "./quantize/quantize_activations.ts";
import { quantizeCache } from "./quantize/quantize_cache.ts";
import { quantizeWeights } from "./quantize/quantize_weights.ts";
import { encodeMigrated } from "./migrate/encode_migrated.ts";
import { migrateQuantStep } from "./migrate/migrate_quant_step.ts";
import { absorbBias } from "./transform/absorb_bias.ts";
import { awq } from "./transform/awq.ts";
import { centerResidual } from "./transform/center_residual.ts";
import { equalize } from "./transform/equalize.ts";
import { clipWeights } from "./transform/clip_weights.ts";
import { foldNormGain } from "./transform/fold_norm_gain.ts";
import { permute } from "./transform/permute.ts";
import { rotate } from "./transform/rotate.ts";
import { shift } from "./transform/shift.ts";
import { smooth } from "./transform/smooth.ts";
import { smoothKeys } from "./transform/smooth_keys.ts";
import { raiseAttention } from "./raise/raise_attention.ts";
import { raiseNorm } from "./raise/raise_norm.ts";

/** Run before the recipe's own passes: the function stays the same, its form becomes the one that the others expect. */
export const preparation: readonly Pass[] = [
  eliminateDead,
  foldConstants,
  mergeViews,
  inlineScalars,
  mergeCommonSubexpressions,
  raiseNorm,
  raiseAttention,
  mergeViews,
  foldPad,
  foldBias,
  foldBatchNorm,
  fuseMaps,
];

/** What recipes choose from, in the order that the methods depend on. */
export const methods: readonly Pass[] = [
  decodeWeights,
  centerResidual,
  foldNormGain,
  rotate,
  shift,
  smooth,
  awq,
  smoothKeys,
  permute,
  equalize,
  absorbBias,
  clipWeights,
  migrateQuantStep,
  calibrate,
  quantizeWeights,
  encodeMigrated,
  quantizeActivations,
  quantizeCache,
  correctBias,
  integerArithmetic,
];

/** Run after the recipe's own passes. */
export const completion: readonly Pass[] = [mergeCommonSubexpressions, fuseMaps];

/** Every pass, each once. */
export const passes: readonly Pass[] = [...new Set([...preparation, ...methods, ...completion])];
