/** The codes that targets have kernels for. */

import type { Node } from "../compiler/ir/node.ts";
import { formatBits, formatName } from "../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../compiler/numeric/scheme.ts";
import type { Unsupported } from "./target.ts";

/** Codes wider than this have no kernels. */
const widestCode = 16;

/** Whether a scheme's codes are narrow enough for kernels, whatever the node. */
export function supportsCodes(_node: Node, { format }: QuantScheme): true | Unsupported {
  if (formatBits(format) <= widestCode) return true;
  return { reason: `codes of ${formatName(format)} are wider than ${widestCode} bits`, nearest: "int16" };
}
