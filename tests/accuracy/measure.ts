/** Measures one case on compiled WebAssembly. */

import type { FormatRow } from "../../targets/artifact/sizes.ts";
import { elementTypes } from "../../compiler/numeric/element.ts";
import { evaluateSmol } from "../support/smollm2_quality.ts";
import { evaluateStories } from "../support/stories.ts";
import { evaluateVision } from "../support/vision.ts";
import { zooModel } from "../support/zoo.ts";
import type { AccuracyCase, AccuracyModel } from "./case.ts";

export interface Measured {
  readonly model: string;
  readonly name: string;
  /** Bits on disk of one quantized weight, steps and zero points included; 32 where none is quantized. */
  readonly bits: number;
  /** Bytes of weights.bin: what stays float too. */
  readonly weightBytes: number;
  /** KL to float in nats, or SQNR of the logits in dB. `null` stands for an error of exactly zero in dB. */
  readonly error: number | null;
  /** Perplexity, or top-1 accuracy; absent where the set has no labels. */
  readonly quality?: number;
  /** Compilation and evaluation together. */
  readonly seconds: number;
}

export async function measure(model: AccuracyModel, { name, recipe, overrides }: AccuracyCase): Promise<Measured> {
  const begin = performance.now();
  const seconds = () => Math.round((performance.now() - begin) / 1000);
  if (model.kind === "language") {
    const evaluate = model.name === "smollm2" ? evaluateSmol : evaluateStories;
    const { kl, perplexity, weightBytes, formats } = await evaluate(recipe, overrides);
    const sizes = { bits: bitsOf(formats), weightBytes };
    return { model: model.name, name, ...sizes, error: kl, quality: perplexity, seconds: seconds() };
  }
  const { compiled, sqnr, top1 } = await evaluateVision(zooModel(model.name), recipe, model.samples, overrides);
  const { weightBytes, formats } = compiled.artifact.report.sizes;
  return {
    model: model.name,
    name,
    bits: bitsOf(formats),
    weightBytes,
    error: Number.isFinite(sqnr) ? sqnr : null,
    ...(top1 === undefined ? {} : { quality: top1 }),
    seconds: seconds(),
  };
}

/** Over the rows of quantized formats. */
function bitsOf(formats: readonly FormatRow[]): number {
  const plain: readonly string[] = elementTypes;
  const quantized = formats.filter(({ format }) => !plain.includes(format));
  const parameters = quantized.reduce((sum, row) => sum + row.parameters, 0);
  return parameters === 0 ? 32 : 8 * quantized.reduce((sum, row) => sum + row.bytes, 0) / parameters;
}
