import { fail } from "../../compiler/diagnostics.ts";
import { formatBits, formatName, type NumberFormat, parseFormat } from "../../compiler/numeric/number_format.ts";
import type { QuantScheme, StepFormat } from "../../compiler/numeric/scheme.ts";
import { isPlain, type PlainTensor, plainTensor, type QuantizedTensor } from "../../compiler/ir/tensor.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";
import {
  booleanOption,
  choiceOption,
  integerOption,
  nullable,
  numberOption,
  textOption,
} from "../../compiler/rewrite/options.ts";
import { type CalibrationData, definePass } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule } from "../../compiler/rewrite/rule.ts";
import { type GraphView, Rewriting } from "../../compiler/rewrite/view.ts";
import { spread } from "../calibrate/calibrate.ts";
import type { RowRounding } from "../solve/round_rows.ts";
import { type ConvolutionJob, isSolvableConvolution, solveConvolutions } from "../solve/convolutions.ts";
import { isSolvable, type SolveJob, solveWeights } from "../solve/solve_weights.ts";
import { encodeTensor, type StepRule, stepRules } from "./encode_tensor.ts";
import { formatOf, formatOption } from "./format_option.ts";
import { isHead } from "./head.ts";
import { addScaled, divided, largestMagnitude, scaleCanLeave, tensorScale, type Weighted } from "./tensor_scale.ts";

const options = {
  format: formatOption("int8", "Number format of the codes"),
  bits: nullable(integerOption({ min: 2, max: 8 }, 8, "Width that replaces that of an integer format")),
  symmetric: booleanOption(true, "No zero point; false stores integers unsigned with a zero point per block"),
  granularity: choiceOption(
    ["tensor", "channel", "block", "two-level"],
    "channel",
    "Weights that share a step; two-level has integer steps of blocks under the step of their channel",
  ),
  block: integerOption({ min: 1, max: 65536 }, 32, "Length of a block along the inner axis"),
  clip: choiceOption(["none", "search"], "search", "Fit the range by squared error, or take it whole"),
  step: choiceOption(
    ["f32", "f16", "bf16", "e8m0", "e4m3fn"],
    "f32",
    "Storage format of the steps; e4m3fn adds a power-of-two scale per tensor",
  ),
  "step-rule": choiceOption(stepRules, "rounded", "e8m0: how the power of two is chosen when nothing is clipped"),
  head: choiceOption(["quantize", "float"], "quantize", "What to do with the layer that makes the model's output"),
  solver: choiceOption(
    ["nearest", "gptq", "descent"],
    "nearest",
    "How codes are chosen; gptq and descent want calibration",
  ),
  damping: numberOption({ min: 1e-6, max: 1 }, 0.01, "gptq: added to the Hessian's diagonal, as a share of its mean"),
  "activation-order": booleanOption(true, "gptq: columns with the largest inputs first; blocks stay where they are"),
  "fresh-steps": booleanOption(
    false,
    "gptq: fit the steps of a block when the sweep reaches it, in the columns' own order",
  ),
  asymmetry: numberOption(
    { min: 0, max: 1 },
    0,
    "Share of the correction for what quantized layers have done to the inputs (GPTAQ); costs a second run of the samples",
  ),
  sweeps: integerOption({ min: 0, max: 50 }, 0, "Sweeps of coordinate descent, after gptq or from the nearest codes"),
  samples: integerOption({ min: 1, max: 4096 }, 32, "Calibration samples that solvers look at"),
  "input-bits": integerOption(
    { min: 0, max: 8 },
    0,
    "Solvers see inputs as per-token codes of this width; 0 for float",
  ),
  "input-symmetric": booleanOption(true, "Those codes have no zero point"),
  "input-format": textOption(
    "float or a number format",
    (text) => text === "float" || parseFormat(text) !== undefined,
    "float",
    "Solvers see inputs in this format; input-bits takes its place",
  ),
  "input-block": integerOption({ min: 0, max: 65536 }, 0, "Entries of an input that share a step; 0 for a whole row"),
  "input-step": choiceOption(["f32", "e8m0", "e4m3fn"], "f32", "Storage format of the inputs' steps"),
} as const;

interface WeightRecipe {
  readonly format: NumberFormat;
  readonly zeroPoint: boolean;
  readonly granularity: "tensor" | "channel" | "block" | "two-level";
  readonly block: number;
  readonly clip: "none" | "search";
  readonly step: StepFormat;
  readonly stepRule: StepRule;
  readonly head: "quantize" | "float";
}

/**
 * Holds the constant weights of convolutions and matmuls as codes.
 *
 *   code = clamp(round(w / step) + zero),  ŵ = (code - zero) * step,  |w - ŵ| <= step / 2 inside the range
 *
 * Weights of matmuls are stored [N, K], so that the axis that is summed over lies inside. What is quantized already
 * keeps its integers.
 */
export const quantizeWeights = definePass({
  name: "quantize-weights",
  summary: "Hold the weights of convolutions and matmuls as low-bit codes",
  from: "any",
  to: "quant",
  exactness: "lossy",
  needs: [],
  options,
  formats: ({ format, bits, symmetric }) => [formatOf(format, bits, symmetric).format],
  run: async (graph, scope) => {
    const { format: name, bits, symmetric, ...rest } = scope.options;
    const recipe: WeightRecipe = { ...rest, stepRule: rest["step-rule"], ...formatOf(name, bits, symmetric) };
    checkTwoLevels(recipe, rest["fresh-steps"]);
    const total = graph.nodes.length;
    let seen = 0;
    const solved = scope.options.solver === "nearest"
      ? noneSolved
      : await solveAll(graph, recipe, scope.options, scope);
    const selects = (node: Node) => {
      scope.onProgress?.(seen++ / total);
      return scope.selects(node);
    };
    const result = sweep(graph, [quantizeRule(recipe, solved)], { selects });
    const level = result.applied.length > 0 && graph.level === "float" ? "quant" : graph.level;
    return { ...result, graph: Object.freeze({ ...result.graph, level }) };
  },
});

/** Fails where two-level steps are asked for what they do not go with. */
function checkTwoLevels({ granularity, format, step }: WeightRecipe, freshSteps: boolean): void {
  if (granularity !== "two-level") return;
  const help = (text: string) => ({ help: text });
  if (format.kind !== "int" || formatBits(format) > 7) {
    fail("Q0314", `"quantize-weights" has two-level steps over ${formatName(format)}, wants integers of 2 to 7 bits`, {
      help: `Set "format": "int4", or "granularity": "block"`,
    });
  }
  // A step that rounds far down in its format would take the channel out of the protective range.
  if (step === "e4m3fn" || step === "e8m0") {
    fail("Q0314", `"quantize-weights" has an outer step in ${step}, wants f32, f16 or bf16`, help(`Set "step": "f16"`));
  }
  if (freshSteps) {
    const message = `"quantize-weights" fits two-level steps before the sweep, and "fresh-steps" in it`;
    fail("Q0314", message, help(`Set "fresh-steps": false`));
  }
}

const noneSolved: ReadonlyMap<ValueName, QuantizedTensor> = new Map();

interface SolverOptions {
  readonly solver: "nearest" | "gptq" | "descent";
  readonly damping: number;
  readonly "activation-order": boolean;
  readonly "fresh-steps": boolean;
  readonly asymmetry: number;
  readonly sweeps: number;
  readonly samples: number;
  readonly "input-bits": number;
  readonly "input-symmetric": boolean;
  readonly "input-format": string;
  readonly "input-block": number;
  readonly "input-step": StepFormat;
}

/** How the quantizer in front of a linear will round its rows; undefined when it leaves them float. */
function inputRounding(options: SolverOptions): RowRounding | undefined {
  const bits = options["input-bits"];
  if (bits === 0 && options["input-format"] === "float") return undefined;
  const name = bits === 0 ? options["input-format"] : `int${bits}`;
  const { format, zeroPoint } = formatOf(name, null, options["input-symmetric"]);
  return { format, zeroPoint, block: options["input-block"], step: options["input-step"] };
}

interface SolverScope {
  readonly calibration?: CalibrationData;
  readonly selects: (node: Node) => boolean;
  readonly onProgress?: (fraction: number) => void;
}

/** Codes of every selected matmul and, by gptq, convolution, on the grids that round to nearest would use. */
async function solveAll(
  graph: Graph,
  recipe: WeightRecipe,
  options: SolverOptions,
  scope: SolverScope,
): Promise<ReadonlyMap<ValueName, QuantizedTensor>> {
  if (scope.calibration === undefined) {
    return fail("Q0309", `Solver "${options.solver}" of "quantize-weights" needs calibration samples`, {
      help: `Give --calibration, or set "solver": "nearest"`,
    });
  }
  const view = new Rewriting(graph);
  const jobs = graph.nodes.flatMap((node): SolveJob[] => {
    if (node.op !== "matmul" || !scope.selects(node) || (recipe.head === "float" && isHead(node, view))) return [];
    const weights = view.constantOf(node.inputs[1]);
    const bias = node.attributes.hasBias ? view.constantOf(node.inputs[2]) : undefined;
    if (weights === undefined || !isPlain(weights, "f32") || weights.shape.length !== 2) return [];
    if (node.attributes.result.kind !== "real" || (bias !== undefined && !isPlain(bias, "f32"))) return [];
    if (!isSolvable(graph, { input: node.inputs[0] })) return [];
    const whole = node.attributes.transposeB ? weights : transposedMatrix(weights);
    const scale = scaleOf(node, whole, recipe, view);
    const oriented = divided(whole, scale);
    return [{
      output: node.outputs[0],
      input: node.inputs[0],
      weights: oriented,
      fit: (matrix) => encodeTensor(matrix, { ...recipe, scheme: schemeOf(node, matrix, recipe) }),
      scale,
      ...(bias === undefined ? {} : { bias }),
    }];
  });
  const samples = spread(scope.calibration, options.samples);
  const convolutions = options.solver === "gptq" ? convolutionJobs(graph, view, recipe, scope.selects) : [];
  const solved = await solveConvolutions(graph, convolutions, samples, options.damping, scope.onProgress);
  const matrices = await solveWeights(graph, jobs, samples, {
    solver: options.solver === "gptq" ? "gptq" : "descent",
    damping: options.damping,
    activationOrder: options["activation-order"],
    freshSteps: options["fresh-steps"],
    asymmetry: options.asymmetry,
    sweeps: options.sweeps,
    input: inputRounding(options),
  }, scope.onProgress);
  return new Map([...solved, ...matrices]);
}

function convolutionJobs(
  graph: Graph,
  view: GraphView,
  recipe: WeightRecipe,
  selects: (node: Node) => boolean,
): readonly ConvolutionJob[] {
  return graph.nodes.flatMap((node): ConvolutionJob[] => {
    if (node.op !== "conv" || !selects(node) || (recipe.head === "float" && isHead(node, view))) return [];
    const weights = view.constantOf(node.inputs[1]);
    const bias = node.attributes.hasBias ? view.constantOf(node.inputs[2]) : undefined;
    if (weights === undefined || !isPlain(weights, "f32") || scaleOf(node, weights, recipe, view) !== 1) return [];
    if (node.attributes.result.kind !== "real" || (bias !== undefined && !isPlain(bias, "f32"))) return [];
    const nearest = encodeTensor(weights, { ...recipe, scheme: schemeOf(node, weights, recipe) });
    if (!isSolvableConvolution(graph, { node, nearest })) return [];
    return [{ node, weights, nearest, ...(bias === undefined ? {} : { bias }) }];
  });
}

/** The scale that two-level steps take out of the whole tensor. */
function scaleOf(node: Weighted, weights: PlainTensor<"f32">, recipe: WeightRecipe, view: GraphView): number {
  if (!scaleCanLeave(node, view)) return 1;
  return tensorScale(recipe.format, recipe.step, largestMagnitude(weights.data));
}

function quantizeRule(recipe: WeightRecipe, solved: ReadonlyMap<ValueName, QuantizedTensor>): Rule {
  return {
    name: "quantize-weights",
    rewrite: (node, view) => {
      if (node.op !== "conv" && node.op !== "matmul") return undefined;
      const weights = view.constantOf(node.inputs[1]);
      if (weights === undefined) return node.op === "conv" ? declined("the weights are not constant") : undefined;
      if (weights.kind === "quantized") return declined("the weights are quantized already");
      if (!isPlain(weights, "f32")) return declined(`the weights are ${weights.element}, not f32`);
      if (node.attributes.result.kind !== "real" || view.typeOf(node.inputs[0]).element !== "f32") return undefined;
      if (recipe.head === "float" && isHead(node, view)) return declined("it makes the model's output");
      return patched(withCodes(node, weights, recipe, view, solved.get(node.outputs[0])));
    },
  };
}

function withCodes(
  node: Weighted,
  weights: PlainTensor<"f32">,
  recipe: WeightRecipe,
  view: GraphView,
  solved: QuantizedTensor | undefined,
) {
  const patch = new PatchBuilder("quantize-weights", view);
  patch.remove(node);
  const isFlat = node.op === "matmul" && weights.shape.length === 2;
  const whole = isFlat && !node.attributes.transposeB ? transposedMatrix(weights) : weights;
  const scale = scaleOf(node, whole, recipe, view);
  const oriented = divided(whole, scale);
  const encoded = solved ?? encodeTensor(oriented, { ...recipe, scheme: schemeOf(node, oriented, recipe) });
  const origin = view.producer(node.inputs[1])?.origin ?? [];
  const codes = patch.constant(encoded, { name: "w", origin });
  const inputs: ValueName[] = [node.inputs[0], codes, ...node.inputs.slice(2)];
  const rebuilt: Weighted = node.op === "conv"
    ? { ...node, inputs }
    : { ...node, inputs, attributes: { ...node.attributes, transposeB: isFlat || node.attributes.transposeB } };
  addScaled(patch, view, rebuilt, scale);
  return patch.finish();
}

/** Steps per output channel run along axis 0 of oriented weights; blocks along the inner axis, or a conv's input channels. */
function schemeOf(node: Weighted, weights: PlainTensor<"f32">, recipe: WeightRecipe): QuantScheme {
  const rank = weights.shape.length;
  const [outer, inner] = axesOf(node, rank);
  const blockOf = (granularity: WeightRecipe["granularity"]) =>
    weights.shape.map((extent, axis): number | "all" => {
      if (granularity === "tensor") return "all";
      if (axis === outer || (node.op === "matmul" && axis < rank - 2)) return 1;
      if (granularity === "channel" || axis !== inner) return "all";
      return recipe.block >= extent ? "all" : recipe.block;
    });
  const block = blockOf(recipe.granularity);
  const common = { format: recipe.format, block, zeroPoint: recipe.zeroPoint, range: "static" } as const;
  if (recipe.granularity !== "two-level") return { ...common, step: recipe.step };
  return { ...common, step: "u8", outer: { block: blockOf("channel"), step: recipe.step } };
}

function axesOf(node: Weighted, rank: number): readonly [number, number] {
  if (node.op === "conv") return [0, node.attributes.layout === "channelsFirst" ? 1 : rank - 1];
  return rank === 2 || node.attributes.transposeB ? [rank - 2, rank - 1] : [rank - 1, rank - 2];
}

function transposedMatrix(matrix: PlainTensor<"f32">): PlainTensor<"f32"> {
  const [rows, columns] = matrix.shape;
  const data = new Float32Array(matrix.data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) data[column * rows + row] = matrix.data[row * columns + column];
  }
  return plainTensor("f32", [columns, rows], data);
}
