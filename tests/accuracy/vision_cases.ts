/** The vision nets of the gallery, with the best figures of public tools under the same protocol: SQNR of the logits in dB. */

import { type AccuracyCase, type AccuracyModel, row } from "./case.ts";

/** Best SQNR in dB by width; minifloats by Brevitas 0.13, the rest by the best of five tools. */
interface PublicSqnr {
  readonly w8a8: number;
  readonly e4m3: number;
  readonly e3m4: number;
  readonly e2m1: number;
  readonly w4a8: number;
  readonly w4a4: number;
}

const bestOfFive = "best of onnxruntime, NNCF, Brevitas, AIMET, Quark";
const brevitas = "Brevitas 0.13";
const gptqWithBias = "GPTQ + bias correction, Brevitas 0.13";

const gptq = ["quantize-weights.bits=4", "quantize-weights.solver=gptq"];
const few = [...gptq, "quantize-weights.samples=32"];

/** A token is one row of the solver's sums, a pixel of a convolution many: transformers want more samples. */
const many = [...gptq, "quantize-weights.samples=200", "quantize-weights.sweeps=2"];

function minifloat(format: string, best?: number): AccuracyCase {
  const overrides = [`quantize-weights.format=${format}`, `quantize-activations.format=${format}`];
  return row(format, "minifloat-ptq", overrides, best === undefined ? undefined : [best, brevitas]);
}

function vision(
  name: string,
  samples: number,
  best: PublicSqnr,
  extra: readonly AccuracyCase[] = [],
  int4: readonly string[] = few,
): AccuracyModel {
  return {
    name,
    kind: "vision",
    samples,
    cases: [
      row("float", "as-is"),
      row("w8a8 static", "w8a8-static", [], [best.w8a8, bestOfFive]),
      ...extra,
      minifloat("e4m3fn", best.e4m3),
      minifloat("e3m4", best.e3m4),
      minifloat("e2m3"),
      minifloat("e3m2"),
      minifloat("e2m1", best.e2m1),
      row("w4a8 static, gptq", "w8a8-static", int4, [best.w4a8, gptqWithBias]),
      row("w4a4 static, gptq", "w8a8-static", [...int4, "quantize-activations.bits=4"], [best.w4a4, gptqWithBias]),
    ],
  };
}

const equalized = (best: number): AccuracyCase => row("w8a8 equalized", "cle-conv", [], [best, bestOfFive]);

/** Both by the weights and by what calibration saw: the form that one step per weight tensor wants. */
const evenly = "equalize.balance=both";
const perTensor = "quantize-weights.granularity=tensor";

const depthwise = (best: number): readonly AccuracyCase[] => [
  equalized(best),
  row("w8a8 equalized by both", "cle-conv", [evenly], [best, bestOfFive]),
  row("w8 tensor, a8 static", "w8a8-static", [perTensor]),
  row("w8 tensor, a8 equalized", "cle-conv", [evenly, perTensor]),
];

export const visionModels: readonly AccuracyModel[] = [
  vision("mnist8", 5000, { w8a8: 38, e4m3: 29.5, e3m4: 35.5, e2m1: 16.5, w4a8: 20, w4a4: 17.1 }),
  vision("mlperf-resnet8", 1000, { w8a8: 29.8, e4m3: 16.6, e3m4: 21.2, e2m1: 7.5, w4a8: 14.6, w4a4: 11.3 }, [
    equalized(29.8),
  ]),
  vision("resnet20", 1000, { w8a8: 30.8, e4m3: 15.7, e3m4: 23.6, e2m1: 6.4, w4a8: 16, w4a4: 7.2 }, [equalized(30.8)]),
  vision(
    "mobilenetv1-025",
    125,
    { w8a8: 21.8, e4m3: 1.3, e3m4: 6.9, e2m1: -1.3, w4a8: 3.7, w4a4: 0.3 },
    depthwise(21.8),
  ),
  vision("vit-pgd", 1000, { w8a8: 30.9, e4m3: 24.1, e3m4: 29.4, e2m1: 11.3, w4a8: 18.8, w4a4: 10.6 }, [], many),
  vision(
    "vww-mobilenetv1-025",
    250,
    { w8a8: 25.8, e4m3: 12.8, e3m4: 18.7, e2m1: 2.8, w4a8: 9.5, w4a4: 6.2 },
    depthwise(25.8),
  ),
  vision("dit-mnist", 40, { w8a8: 25.6, e4m3: 19.1, e3m4: 21.5, e2m1: -1.2, w4a8: 17, w4a4: 3.7 }),
];
