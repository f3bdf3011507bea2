/** What the gallery measures: settings by model, each with the best figure that public tools reach on the same protocol. */

import { type AccuracyCase, type AccuracyModel, row } from "./case.ts";
import { visionModels } from "./vision_cases.ts";

const weights = (...settings: readonly string[]): string[] => settings.map((setting) => `quantize-weights.${setting}`);

const blocks = weights("granularity=block", "symmetric=false");

const swept = weights("solver=gptq", "sweeps=2", "samples=64");

const e2m1 = [...weights("format=e2m1", "symmetric=true"), ...swept];

const corrected = [...swept, ...weights("asymmetry=0.5")];

const unrotated = ["rotate.residual=none", "rotate.heads=none", "rotate.down=none"];

const stories: readonly AccuracyCase[] = [
  row("float", "as-is"),
  row("w8 channel, a8 token", "w8a8-dynamic", [], [0.0013, "SmoothQuant + GPTQ, llm-compressor 0.14"]),
  row("w8 channel, a8 static, smoothquant", "smoothquant", [], [0.0124, "SmoothQuant + GPTQ, llm-compressor 0.14"]),
  row("w8 channel, a8 static per channel, outliertune", "outliertune"),
  row("w8 channel, a8 static, rotated", "quarot-static", [
    ...weights("bits=8"),
    "migrate-quant-step.bits=8",
  ], [0.0019, "rotations + GPTQ"]),
  row("w4 block 32, rounded", "w4", [], [0.103, "round to nearest"]),
  row("w4 block 32, smoothquant+", "smoothquant+"),
  row("w4 block 32, awq", "awq"),
  row("w4 block 32, awq + gptq", "awq", swept, [0.062, "AWQ + GPTQ"]),
  row("w4 block 32, quantease", "quantease", [], [0.042, "AutoRound 0.16"]),
  row("w4 block 32, gptaq", "w4", corrected, [0.042, "AutoRound 0.16"]),
  row("w4 channel, a8 token, gptq", "gptq", [], [0.1, "GPTQ"]),
  row("w4 channel, a8 token, gptaq", "gptaq", [], [0.1, "GPTQ"]),
  row("w4 block 32, a8 token, gptq", "gptq", blocks),
  row("w3 block 32, quantease", "quantease", weights("bits=3"), [0.193, "AutoRound 0.16"]),
  row("w3 block 32, gptaq", "w4", [...corrected, ...weights("bits=3")], [0.193, "AutoRound 0.16"]),
  row("w2 block 32, quantease", "quantease", weights("bits=2"), [1.03, "AutoRound 0.16"]),
  row("w4 channel, a4 token, quarot", "quarot", [], [0.174, "FlatQuant + GPTQ"]),
  row("w4 channel, a4 token, quarot, gptaq", "quarot", weights("asymmetry=0.5"), [0.174, "FlatQuant + GPTQ"]),
  row("w4 channel, a4 token, dense transforms", "quarot-dense", [], [0.174, "FlatQuant + GPTQ"]),
  row("mxfp4 weights", "w4", [...e2m1, ...weights("block=32", "step=e8m0")], [0.134, "GPTQ"]),
  row("mxfp4", "mxfp4", [], [0.304, "AutoRound 0.16"]),
  row("nvfp4 weights", "w4", [...e2m1, ...weights("block=16", "step=e4m3fn")], [0.098, "GPTQ"]),
  row("nvfp4", "nvfp4", [], [0.185, "AutoRound 0.16"]),
  row("kv 4 bits", "kv4", [], [0.339, "FlatQuant"]),
  row("w4a4 static, one step a tensor", "quarot-static", [], [0.539, "rotation + GPTQ, searched ranges"]),
  row("w4a4 static, a step a channel, not rotated", "mergequant", unrotated),
  row("w4a4 static, a step a channel", "mergequant", [], [0.539, "rotation + GPTQ, searched ranges"]),
  row("w4a4 static, a step a channel, gptaq", "mergequant", weights("asymmetry=0.5"), [
    0.539,
    "rotation + GPTQ, searched ranges",
  ]),
  row("w4 two-level, a8 token, kv8, qoq", "qoq"),
  row("w4 two-level of 128, a8 token, kv4, qoq", "qoq", [
    ...weights("block=128"),
    "quantize-cache.format=int4",
  ]),
];

/** Calibration windows have 1,024 ids here, four times those of the stories model: 8 of them do. */
const few = weights("samples=8");

const wikitext: readonly AccuracyCase[] = [
  row("float", "as-is"),
  row("w8 channel, a8 static per channel, outliertune", "outliertune"),
  row("w8 channel, a8 static, rotated", "quarot-static", [
    ...few,
    ...weights("bits=8"),
    "migrate-quant-step.bits=8",
    "migrate-quant-step.samples=8",
  ], [0.414, "SmoothQuant .8 + GPTQ"]),
  row("w4 channel, a8 token, gptq", "gptq", few, [0.26, "GPTQ"]),
  row("w4 channel, a8 token, gptaq", "gptaq", few, [0.26, "GPTQ"]),
  row("w4 channel, a4 token, quarot", "quarot", few, [0.341, "FlatQuant + GPTQ"]),
  row("w4a4 static, one step a tensor", "quarot-static", [...few, "migrate-quant-step.samples=8"], [
    1.825,
    "rotation + GPTQ, shrunk ranges",
  ]),
  row("w4a4 static, a step a channel", "mergequant", [...few, "migrate-quant-step.samples=8"], [
    1.825,
    "rotation + GPTQ, shrunk ranges",
  ]),
  row("kv 4 bits", "kv4", ["quantize-cache.samples=4"], [0.0905, "round to nearest"]),
  row("nvfp4", "nvfp4", [...few, "calibrate.samples=8"], [0.382, "round to nearest"]),
];

export const accuracyModels: readonly AccuracyModel[] = [
  { name: "stories260k", kind: "language", samples: 0, cases: stories },
  { name: "smollm2", kind: "language", samples: 0, cases: wikitext },
  ...visionModels,
];
