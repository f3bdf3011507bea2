/** Gate activations and soft caps as scalar expressions. */

import { binary, type Expression, input, literal, unary } from "../../ir/expression.ts";
import type { Activation } from "./description.ts";

/** activation(gate) * up, with gate as input 0 and up as input 1. */
export function gatedExpression(activation: Activation): Expression {
  return binary("mul", activate(activation, input(0)), input(1));
}

/** cap * tanh(x / cap): bounds x smoothly to ±cap. */
export function softcapExpression(cap: number): Expression {
  return binary("mul", unary("tanh", binary("div", input(0), literal(cap))), literal(cap));
}

function activate(activation: Activation, x: Expression): Expression {
  switch (activation) {
    case "silu":
      return binary("div", x, binary("add", literal(1), unary("exp", unary("neg", x))));
    case "gelu": {
      const erf = unary("erf", binary("mul", x, literal(Math.SQRT1_2)));
      return binary("mul", binary("mul", x, literal(0.5)), binary("add", literal(1), erf));
    }
    case "geluTanh": {
      // 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))), Hendrycks and Gimpel 2016.
      const cube = binary("mul", binary("mul", x, x), x);
      const inner = binary("add", x, binary("mul", literal(0.044715), cube));
      const tanh = unary("tanh", binary("mul", literal(Math.sqrt(2 / Math.PI)), inner));
      return binary("mul", binary("mul", x, literal(0.5)), binary("add", literal(1), tanh));
    }
    case "relu":
      return binary("max", x, literal(0));
  }
}
