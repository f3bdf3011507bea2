import { fail } from "../../compiler/diagnostics.ts";
import type { NumberFormat } from "../../compiler/numeric/number_format.ts";
import { perTensor, perToken, printScheme, type QuantScheme, type StepFormat } from "../../compiler/numeric/scheme.ts";
import { isStatic } from "../../compiler/ir/extent.ts";
import { binary, input, literal } from "../../compiler/ir/expression.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import type { TensorType } from "../../compiler/ir/types.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";
import { booleanOption, choiceOption, integerOption, nullable, numberOption } from "../../compiler/rewrite/options.ts";
import { definePass, type PassResult } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule } from "../../compiler/rewrite/rule.ts";
import { observers } from "../calibrate/observers.ts";
import type { Statistics } from "../../compiler/rewrite/statistics.ts";
import { formatOf, formatOption } from "./format_option.ts";
import { quantizeStatically } from "./static_activations.ts";
import { addScaled, scaleCanLeave, tensorScale, type Weighted } from "./tensor_scale.ts";

const options = {
  range: choiceOption(["dynamic", "static"], "dynamic", "Steps from each tensor at run time, or from calibration"),
  format: formatOption("int8", "Number format of the codes"),
  bits: nullable(integerOption({ min: 2, max: 8 }, 8, "Width that replaces that of an integer format")),
  symmetric: booleanOption(true, "No zero point; false gives codes a zero point"),
  granularity: choiceOption(
    ["token", "tensor", "block"],
    "token",
    "Dynamic steps: one per token, per tensor, or per block of a token",
  ),
  block: integerOption({ min: 1, max: 65536 }, 32, "Length of a block along the last axis"),
  step: choiceOption(
    ["f32", "e8m0", "e4m3fn"],
    "f32",
    "Dynamic steps: storage format; e4m3fn takes a power-of-two scale per tensor from calibration, 1 without one",
  ),
  observer: choiceOption(observers, "mse", "Static steps: how the range is chosen from what calibration saw"),
  percentile: numberOption(
    { min: 50, max: 100 },
    99.99,
    "Share of the entries inside the range of the percentile observer",
  ),
  sink: integerOption(
    { min: 0, max: 64 },
    0,
    "Static steps: first positions whose rows take 8-bit steps of their own; give the calibrate pass the same",
  ),
} as const;

/**
 * Puts codes in place of the float operand of every convolution and matmul whose weights are codes.
 *
 * Dynamic: the quantize op computes the step from the tensor, per token (row), block of a row or for the whole tensor;
 * convolutions take one for the whole tensor. Static: steps are those that the calibrate pass chose, one per tensor; elementwise
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
  formats: ({ format, bits, symmetric }) => [formatOf(format, bits, symmetric).format],
  run: (graph, scope): PassResult => {
    const { format: name, bits, symmetric, ...rest } = scope.options;
    const recipe = { ...rest, ...formatOf(name, bits, symmetric) };
    if (recipe.range === "dynamic") {
      return sweep(graph, [dynamicRule(recipe, scope.statistics)], { selects: scope.selects });
    }
    if (scope.statistics === undefined) {
      return fail("Q0309", `Static activations need the statistics of a "calibrate" pass before them`);
    }
    return quantizeStatically(graph, scope.statistics, recipe, scope.selects);
  },
});

interface DynamicRecipe {
  readonly format: NumberFormat;
  readonly zeroPoint: boolean;
  readonly granularity: "token" | "tensor" | "block";
  readonly block: number;
  readonly step: StepFormat;
}

function dynamicRule(recipe: DynamicRecipe, statistics: Statistics | undefined): Rule {
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
      const scheme = dynamicScheme(node, type, recipe);
      const scale = scaleCanLeave(node, view) ? operandScale(a, recipe, statistics) : 1;
      const patch = new PatchBuilder("quantize-activations", view);
      patch.remove(node);
      const key = `${a} ${scale} ${printScheme(scheme)}`;
      const codes = known.get(key) ?? addCodes(patch, a, scheme, scale);
      known.set(key, codes);
      addScaled(patch, view, withOperand(node, codes), scale);
      return patched(patch.finish());
    },
  };
}

function addCodes(patch: PatchBuilder, a: ValueName, scheme: QuantScheme, scale: number): ValueName {
  const operand = scale === 1
    ? a
    : patch.add("map", [a], { expression: binary("mul", input(0), literal(1 / scale)) }, { name: `${a}.scaled` });
  return patch.add("quantize", [operand], { scheme }, { name: `${a}.q` });
}

function withOperand(node: Weighted, operand: ValueName): Weighted {
  return { ...node, inputs: [operand, ...node.inputs.slice(1)] };
}

/** The scale under which the steps that calibration saw fit e4m3fn; blocks that grow past it later saturate. */
function operandScale(a: ValueName, { format, step }: DynamicRecipe, statistics: Statistics | undefined): number {
  const seen = statistics?.values.get(a);
  return seen === undefined ? 1 : tensorScale(format, step, Math.max(-seen.min, seen.max));
}

function dynamicScheme(node: Node, { shape }: TensorType, recipe: DynamicRecipe): QuantScheme {
  const { format, zeroPoint, granularity, step } = recipe;
  const rank = shape.length;
  const rows = perToken(rank);
  const extent = shape[rank - 1];
  const isCut = granularity === "block" && isStatic(extent) && recipe.block < extent;
  const perRow = isCut ? [...rows.slice(0, -1), recipe.block] : rows;
  const block = node.op === "matmul" && granularity !== "tensor" ? perRow : perTensor(rank);
  return { format, block, step, zeroPoint, range: "dynamic" };
}
