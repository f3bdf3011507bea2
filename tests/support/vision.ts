/**
 * The vision protocol of the project's reference figures: calibrate on every fifth sample, evaluate on the rest, compare
 * logits. Minifloat nets, whose convolutions run in loop form, are evaluated on the float reference of the compiled graph
 * (codes exact, sums in f32) once the artifact has given the same on the first samples.
 */

import { type Diagnostic, formatDiagnostic, success } from "../../compiler/diagnostics.ts";
import { type Agreement, compareOnSamples } from "../../compiler/evaluation/agreement.ts";
import { artifactRunner, floatRunner, type Runner } from "../../compiler/evaluation/runners.ts";
import { type CompileResult, emitModel, prepareImported } from "../../compiler/driver.ts";
import { importModel } from "../../compiler/import/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { producers } from "../../compiler/ir/graph.ts";
import { type Sample, zooFile, type ZooModel } from "./zoo.ts";

export function expectOk<T>(
  outcome: { readonly ok: true; readonly value: T } | {
    readonly ok: false;
    readonly diagnostics: readonly Diagnostic[];
  },
): T {
  if (outcome.ok) return outcome.value;
  throw new Error(outcome.diagnostics.map(formatDiagnostic).join("\n"));
}

/** The graph with the input of a final softmax as its output: logits compare better than probabilities. */
export function withLogits(graph: Graph): Graph {
  const made = producers(graph);
  const outputs = graph.outputs.map((output) => {
    const node = made.get(output.value);
    return node?.op === "softmax" ? { ...output, value: node.inputs[0] } : output;
  });
  return Object.freeze({ ...graph, outputs });
}

export interface VisionResult extends Agreement {
  readonly compiled: CompileResult;
  /** SQNR of the first output, in dB. */
  readonly sqnr: number;
}

/** Samples that an artifact runs for comparison with the reference that stands for it. */
const checkedSamples = 3;

/** The artifact, or for a net with minifloat codes the reference of its graph, shown to be as good. */
async function runnerOf(
  name: string,
  compiled: CompileResult,
  float: Runner,
  samples: readonly Sample[],
): Promise<Runner> {
  const artifact = await artifactRunner(name, compiled.artifact.files, {});
  if (!holdsMinifloats(compiled.graph)) return artifact;
  const reference = await floatRunner(compiled.graph);
  try {
    const [fromFloat, fromArtifact] = [
      await compareOnSamples(float, reference, samples),
      await compareOnSamples(artifact, reference, samples),
    ].map(({ outputs }) => Object.values(outputs)[0].sqnr);
    // Codes may tip at a rounding boundary: that must stay a tenth of the noise that is to be measured.
    if (fromArtifact < fromFloat + 10) {
      throw new Error(`${name}: the artifact is ${fromArtifact} dB from its reference, float ${fromFloat} dB`);
    }
  } finally {
    await artifact.dispose();
  }
  return reference;
}

function holdsMinifloats(graph: Graph): boolean {
  return [...graph.types.values()].some(({ encoding }) =>
    encoding.kind === "quantized" && encoding.scheme.format.kind === "minifloat"
  );
}

/** Calibrates on samples 0, 5, 10, ... of the model's set and evaluates on the others. */
export async function evaluateVision(
  model: ZooModel,
  recipe: string,
  count: number,
  overrides: readonly string[] = [],
): Promise<VisionResult> {
  const samples = model.samples(count);
  const calibration = samples.filter((_, index) => index % 5 === 0);
  const kept = samples.map((sample, index) => ({ sample, index })).filter(({ index }) => index % 5 !== 0);
  const labels = model.labels?.();
  const imported = expectOk(await importModel(zooFile(model) ?? "", { bind: model.bind }));
  const logits = { ...imported, graph: withLogits(imported.graph) };
  const prepared = expectOk(
    await prepareImported(logits, { recipe, overrides, calibration: () => Promise.resolve(success(calibration)) }),
  );
  const compiled = expectOk(await emitModel(prepared));
  const float = await floatRunner(logits.graph);
  const runner = await runnerOf(recipe, compiled, float, kept.slice(0, checkedSamples).map(({ sample }) => sample));
  try {
    const agreement = await compareOnSamples(float, runner, kept.map(({ sample }) => sample), {
      ...(labels === undefined ? {} : { labels: kept.map(({ index }) => labels[index]) }),
    });
    const [first] = Object.values(agreement.outputs);
    return { ...agreement, compiled, sqnr: first.sqnr };
  } finally {
    await runner.dispose();
    await float.dispose();
  }
}
