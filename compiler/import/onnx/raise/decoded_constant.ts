/** Decodings of constants that no contraction took up. */

import { decodedTensor } from "../../../ir/evaluate/codes.ts";
import { perTensor } from "../../../numeric/scheme.ts";
import { joinedOrigin, type RaisingRule } from "./rebuilding.ts";

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

/** Decoding codes that were gathered from a constant table: a gather from the table as a quantized value. */
export const raiseGatheredCodes: RaisingRule = ({ builder, uses }, node, inputs) => {
  const bundle = node.op === "dequantize" ? builder.producerOf(inputs[0]) : undefined;
  if (bundle?.op !== "fromCodes" || uses(inputs[0]) !== 1) return undefined;
  const { scheme } = bundle.attributes;
  const gather = builder.producerOf(bundle.inputs[0]);
  if (gather?.op !== "gather" || !scheme.block.every((entry) => entry === "all")) return undefined;
  const [table, indices] = gather.inputs;
  const rank = builder.typeOf(table).shape.length;
  if (builder.constantOf(table) === undefined) return undefined;
  const ones = new Array<number>(rank).fill(1);
  const steps = bundle.inputs.slice(1).map((value) => builder.add("reshape", [value], { shape: ones }));
  const attributes = { ...bundle.attributes, scheme: { ...scheme, block: perTensor(rank) } };
  const whole = builder.add("fromCodes", [table, ...steps], attributes);
  return [builder.add("gather", [whole, indices], gather.attributes, { origin: joinedOrigin(gather, builder) })];
};
