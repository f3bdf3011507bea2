import { equal, throws } from "node:assert/strict";
import { assertLikeRuntime, importNodeModel, normalTensor } from "../../../../tests/support/onnx_model.ts";

/** Sums of up to 60 products in f32, in two orders. */
const sumBound = { relative: 64 * 2 ** -24, absolute: 1e-7 };

const equations: readonly (readonly [string, readonly (readonly number[])[]])[] = [
  ["ij,jk->ik", [[3, 4], [4, 5]]],
  ["ij,kj", [[3, 4], [5, 4]]],
  ["bij,bjk->bik", [[2, 3, 4], [2, 4, 5]]],
  ["bhwc,hkc->bhwk", [[2, 3, 4, 5], [3, 6, 5]]],
  ["bthd,bshd->bhts", [[2, 3, 2, 4], [2, 5, 2, 4]]],
  ["...ij,...jk->...ik", [[2, 1, 3, 4], [1, 5, 4, 2]]],
  ["i,j->ij", [[3], [4]]],
  ["i,i->", [[6], [6]]],
  ["ij->", [[3, 4]]],
  ["ij->ji", [[3, 4]]],
  ["ii->i", [[4, 4]]],
  ["ii", [[4, 4]]],
  ["bii->b", [[2, 3, 3]]],
  ["ij,ij->ij", [[3, 4], [3, 4]]],
  ["ab,bc,cd->ad", [[2, 3], [3, 4], [4, 5]]],
  ["ab,ac,ad->bcd", [[2, 3], [2, 4], [2, 5]]],
  ["abc,cd,ae->bde", [[2, 3, 4], [4, 5], [2, 2]]],
  ["...i->...", [[2, 3, 4]]],
  ["a b, b -> a", [[3, 4], [4]]],
];

for (const [equation, shapes] of equations) {
  Deno.test(`Einsum "${equation}" gives what onnxruntime gives`, async () => {
    const inputs = shapes.map((shape, index) => normalTensor(shape, index + 1));
    await assertLikeRuntime({ op: "Einsum", opset: 13, attributes: { equation }, inputs }, sumBound);
  });
}

Deno.test("Einsum of a batched product is one matmul without transposes", () => {
  const graph = importNodeModel({
    op: "Einsum",
    opset: 13,
    attributes: { equation: "bij,bkj->bik" },
    inputs: [normalTensor([2, 3, 4], 1), normalTensor([2, 5, 4], 2)],
  });
  equal(graph.nodes.map(({ op }) => op).join(), "matmul");
});

Deno.test("an Einsum that does not fit its operands is a diagnostic", () => {
  const model = (equation: string) => ({
    op: "Einsum",
    opset: 13,
    attributes: { equation },
    inputs: [normalTensor([2, 3], 1), normalTensor([4, 5], 2)],
  });
  throws(() => importNodeModel(model("ij,jk->ik")), /"j" is both 3 and 4/);
  throws(() => importNodeModel(model("ij->ij")), /does not fit 2 operands/);
  throws(() => importNodeModel(model("ijk,kl->il")), /does not fit an operand of rank 2/);
  throws(() => importNodeModel(model("ij,kl->ix")), /unknown/);
  throws(() => importNodeModel(model("i?,kl->ik")), /not an einsum subscript/);
});
