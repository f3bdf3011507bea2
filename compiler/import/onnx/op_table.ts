/** Every ONNX op that Quern imports: the op type alone for ai.onnx, `domain:Type` for other domains. */

import { InvariantError } from "../../diagnostics.ts";
import type { OpImporter, OpImporterTable } from "./op_importer.ts";
import { activationImporters } from "./ops/activation.ts";
import { attentionImporters } from "./ops/attention.ts";
import { blockedWeightImporters } from "./ops/blocked_weights.ts";
import { contribImporters } from "./ops/contrib.ts";
import { controlImporters } from "./ops/control.ts";
import { castImporters } from "./ops/cast.ts";
import { convolutionImporters } from "./ops/convolution.ts";
import { declinedImporters } from "./ops/declined.ts";
import { einsumImporters } from "./ops/einsum.ts";
import { elementwiseImporters } from "./ops/elementwise.ts";
import { indexingImporters } from "./ops/indexing.ts";
import { integerProductImporters } from "./ops/integer_products.ts";
import { linearImporters } from "./ops/linear.ts";
import { lossImporters } from "./ops/loss.ts";
import { normalizationImporters } from "./ops/normalization.ts";
import { poolingImporters } from "./ops/pooling.ts";
import { qlinearImporters } from "./ops/qlinear.ts";
import { quantizedImporters } from "./ops/quantized.ts";
import { rearrangeImporters } from "./ops/rearrange.ts";
import { recurrentImporters } from "./ops/recurrent.ts";
import { reductionImporters } from "./ops/reduction.ts";
import { resizeImporters } from "./ops/resize.ts";
import { rotaryImporters } from "./ops/rotary.ts";
import { samplingImporters } from "./ops/sampling.ts";
import { shapeImporters } from "./ops/shape.ts";
import { signalImporters } from "./ops/signal.ts";
import { sliceImporters } from "./ops/slice.ts";
import { softmaxImporters } from "./ops/softmax.ts";

const families: readonly OpImporterTable[] = [
  shapeImporters,
  sliceImporters,
  elementwiseImporters,
  castImporters,
  activationImporters,
  reductionImporters,
  softmaxImporters,
  normalizationImporters,
  linearImporters,
  convolutionImporters,
  poolingImporters,
  resizeImporters,
  rearrangeImporters,
  indexingImporters,
  attentionImporters,
  einsumImporters,
  lossImporters,
  recurrentImporters,
  rotaryImporters,
  controlImporters,
  quantizedImporters,
  integerProductImporters,
  qlinearImporters,
  blockedWeightImporters,
  contribImporters,
  samplingImporters,
  signalImporters,
  declinedImporters,
];

export const opImporters: ReadonlyMap<string, OpImporter> = mergeTables(families);

function mergeTables(tables: readonly OpImporterTable[]): ReadonlyMap<string, OpImporter> {
  const merged = new Map<string, OpImporter>();
  for (const [key, importer] of tables.flatMap((table) => Object.entries(table))) {
    if (merged.has(key)) throw new InvariantError(`Two families import ${key}`);
    merged.set(key, importer);
  }
  return merged;
}

/** The key of an op in the table. */
export function opKey(domain: string, opType: string): string {
  return domain === "" ? opType : `${domain}:${opType}`;
}
