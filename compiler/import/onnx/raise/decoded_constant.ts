/** Decodings of constants that no contraction took up. */

import { decodedTensor } from "../../../ir/evaluate/codes.ts";
import type { RaisingRule } from "./rebuilding.ts";

/** A gather from a decoded table reads the codes and decodes what it takes. */
export const raiseGather: RaisingRule = ({ builder }, node, inputs) => {
  if (node.op !== "gather") return undefined;
  const decode = builder.producerOf(inputs[0]);
  if (decode?.op !== "dequantize" || builder.constantOf(decode.inputs[0]) === undefined) return undefined;
  return [builder.add("gather", [decode.inputs[0], inputs[1]], node.attributes)];
};

/** Entries up to which a decoded constant is kept as numbers: biases, gains and the like. */
const foldLimit = 2 ** 14;

/** What is left of small decoded constants becomes plain numbers, the same that decoding gives at run time. */
export const foldSmallDecodings: RaisingRule = ({ builder }, node, inputs) => {
  const tensor = node.op === "dequantize" ? builder.constantOf(inputs[0]) : undefined;
  if (tensor?.kind !== "quantized" || tensor.codes.data.length > foldLimit) return undefined;
  return [builder.constant(decodedTensor(tensor))];
};
