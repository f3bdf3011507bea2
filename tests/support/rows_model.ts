/** A small model with a dynamic axis and three elements at its border, for tests of artifacts. */

import { GraphBuilder } from "../../compiler/ir/build.ts";
import { binary, cast, input, literal } from "../../compiler/ir/expression.ts";
import { symbolic } from "../../compiler/ir/extent.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";

/** y = max(x W, 0) over a dynamic number of rows; ids pass through doubled. */
export function rowsGraph(): Graph {
  const builder = new GraphBuilder("rows");
  builder.symbol("seq", { min: 1, max: 6 });
  const x = builder.input("x", tensorType("f32", [2, symbolic("seq"), 3]));
  const ids = builder.input("ids", tensorType("i64", [symbolic("seq")]));
  const flag = builder.input("flag", tensorType("bool", [1]));
  const weights = builder.constant(floatTensor([3, 2], [1, 2, 3, 4, 5, 6]), { origin: ["fc.weight"] });
  const product = builder.add("matmul", [x, weights], { transposeB: false, hasBias: false, result: { kind: "real" } }, {
    origin: ["fc"],
  });
  builder.output("y", builder.map(binary("max", input(0), literal(0)), [product], { origin: ["relu"] }));
  builder.output("twice", builder.map(binary("add", input(0), input(0)), [ids], { origin: ["twice"] }));
  builder.output("number", builder.map(cast("f32", input(0)), [flag], { origin: ["number"] }));
  return builder.finish();
}

export const rowInputs = {
  x: { data: Float32Array.from([1, 0, 0, 0, 1, 0, 0, 0, 1, -1, 0, 0]), shape: [2, 2, 3] },
  ids: BigInt64Array.from([5n, -7n]),
  flag: Uint8Array.of(3),
};

export const rowOutputs = {
  y: { data: Float32Array.from([1, 2, 3, 4, 5, 6, 0, 0]), shape: [2, 2, 2] },
  twice: { data: BigInt64Array.from([10n, -14n]), shape: [2] },
  number: { data: Float32Array.of(1), shape: [1] },
};
