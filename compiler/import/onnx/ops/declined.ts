/** Ops that are known and not supported, each with its reason. */

import type { OpImporter, OpImporterTable } from "../op_importer.ts";
import { unsupported } from "./faults.ts";

const dataDependent = "the shape of its output depends on the data, and shapes are fixed when a model is compiled";
const random = "it draws random numbers, which cannot be reproduced; pass them in as an input of the model";
const notTensors = "sequences and optionals are not tensors";
const strings = "tensors of strings are not supported; prepare text outside of the model";
const training = "it trains the model; export the model for inference";

const reasons: Readonly<Record<string, readonly string[]>> = {
  [dataDependent]: ["NonMaxSuppression", "Unique"],
  [random]: [
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
  ],
  [notTensors]: [
    "ConcatFromSequence",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SequenceMap",
    "SplitToSequence",
  ],
  [strings]: ["RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"],
  [training]: [
    "ai.onnx.preview.training:Adagrad",
    "ai.onnx.preview.training:Adam",
    "ai.onnx.preview.training:Gradient",
    "ai.onnx.preview.training:Momentum",
  ],
  "determinants are not expressed in Quern's ops": ["Det"],
  "its windows move with the data, which is not expressed in Quern's ops": ["DeformConv"],
  "it decodes image files; decode them outside of the model": ["ImageDecoder"],
};

function decline(reason: string): OpImporter {
  return (context) => unsupported(context, `cannot be imported: ${reason}`);
}

export const declinedImporters: OpImporterTable = Object.fromEntries(
  Object.entries(reasons).flatMap(([reason, ops]) => ops.map((op) => [op, decline(reason)])),
);
