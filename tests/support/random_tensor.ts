/** Random tensors of any static type, the same for one seed on every machine. */

import { parseLiteral } from "../../compiler/ir/constant_text.ts";
import { evaluateShape, type SymbolValues } from "../../compiler/ir/extent.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";
import { TextCursor } from "../../compiler/ir/text_cursor.ts";
import type { TensorType } from "../../compiler/ir/types.ts";

/** The tensor that `random(seed)` stands for in `.qir`: floats in [-1, 1), small integers, codes of the whole format. */
export function randomTensor(type: TensorType, seed: number, symbols: SymbolValues = {}): Tensor {
  const shape = evaluateShape(type.shape, symbols);
  return parseLiteral(new TextCursor(`random(${seed})`), { ...type, shape });
}
