import { fail } from "../../compiler/diagnostics.ts";
import { intFormat } from "../../compiler/numeric/number_format.ts";
import { perTensor, perToken, printScheme, type QuantScheme } from "../../compiler/numeric/scheme.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";
import { booleanOption, choiceOption, integerOption, numberOption } from "../../compiler/rewrite/options.ts";
import { definePass, type PassResult } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule } from "../../compiler/rewrite/rule.ts";
import { observers } from "../calibrate/observers.ts";
import { quantizeStatically } from "./static_activations.ts";

const options = {
  range: choiceOption(["dynamic", "static"], "dynamic", "Steps from each tensor at run time, or from calibration"),
  bits: integerOption({ min: 4, max: 8 }, 8, "Width of the codes"),
  symmetric: booleanOption(true, "No zero point; false gives codes a zero point"),
  granularity: choiceOption(["token", "tensor"], "token", "Dynamic steps: one per token, or one per tensor"),
  observer: choiceOption(observers, "mse", "Static steps: how the range is chosen from what calibration saw"),
  percentile: numberOption(
    { min: 50, max: 100 },
    99.99,
    "Share of the entries inside the range of the percentile observer",
  ),
} as const;

/**
 * Puts codes in place of the float operand of every convolution and matmul whose weights are codes.
 *
 * Dynamic: the quantize op computes the step from the tensor, per token (row) or for the whole tensor; convolutions
 * take one for the whole tensor. Static: steps are those that the calibrate pass chose, one per tensor; elementwise
 * nodes, pools and views between such tensors read codes too.
 */
export const quantizeActivations = definePass({
  name: "quantize-activations",
  summary: "Feed convolutions and matmuls that have quantized weights with codes",
  from: "any",
  to: "any",
  exactness: "lossy",
  needs: [],
  options,
  run: (graph, scope): PassResult => {
    if (scope.options.range === "dynamic") {
      return sweep(graph, [dynamicRule(scope.options)], { selects: scope.selects });
    }
    if (scope.statistics === undefined) {
      return fail("Q0409", `Static activations need the statistics of a "calibrate" pass before them`);
    }
    return quantizeStatically(graph, scope.statistics, scope.options, scope.selects);
  },
});

interface DynamicRecipe {
  readonly bits: number;
  readonly symmetric: boolean;
  readonly granularity: "token" | "tensor";
}

function dynamicRule(recipe: DynamicRecipe): Rule {
  const known = new Map<string, ValueName>();
  return {
    name: "quantize-activations",
    rewrite: (node, view) => {
      if (node.op !== "conv" && node.op !== "matmul") return undefined;
      const [a, b] = node.inputs;
      const weights = view.typeOf(b);
      if (weights.encoding.kind === "plain" || view.constantOf(b) === undefined) return undefined;
      const type = view.typeOf(a);
      if (type.encoding.kind !== "plain") return declined("the operand is quantized already");
      if (type.element !== "f32") return declined(`the operand is ${type.element}, not f32`);
      const scheme = dynamicScheme(node, type.shape.length, recipe);
      const patch = new PatchBuilder("quantize-activations", view);
      patch.remove(node);
      const key = `${a} ${printScheme(scheme)}`;
      const codes = known.get(key) ?? patch.add("quantize", [a], { scheme }, { name: `${a}.q` });
      known.set(key, codes);
      const inputs = [codes, ...node.inputs.slice(1)];
      if (node.op === "conv") patch.addAs(node.outputs, "conv", inputs, node.attributes);
      else patch.addAs(node.outputs, "matmul", inputs, node.attributes);
      return patched(patch.finish());
    },
  };
}

function dynamicScheme(node: Node, rank: number, recipe: DynamicRecipe): QuantScheme {
  const perRow = node.op === "matmul" && recipe.granularity === "token";
  return {
    format: intFormat(recipe.bits, recipe.symmetric),
    block: perRow ? perToken(rank) : perTensor(rank),
    step: "f32",
    zeroPoint: !recipe.symmetric,
    range: "dynamic",
  };
}
