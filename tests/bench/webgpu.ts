/** WebGPU: what a token costs in dispatches and bytes, from the programs themselves; tuned kernels against the loop form. */

import { formatDiagnostic, type Outcome } from "../../compiler/diagnostics.ts";
import { prepareModel } from "../../compiler/driver.ts";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { evaluateExtent, isStatic } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import { plainTensor } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { int4, int8 } from "../../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../../compiler/numeric/scheme.ts";
import { indexValue } from "../../targets/loops/index.ts";
import { partsOfType } from "../../targets/plan/parts.ts";
import type { WgslOperand } from "../../targets/wgsl/kernel.ts";
import { lowerWgsl, type WgslProgram, type WgslStep } from "../../targets/wgsl/program.ts";
import { gpuDevice, type RunningProgram } from "../../targets/wgsl/run_program.ts";
import { startOnGpu } from "../../targets/wgsl/run_graph.ts";
import { wgslKernels, wgslLoops } from "../../targets/wgsl/select.ts";
import { elementWords } from "../../targets/wgsl/storage.ts";
import { fetchedFile, smollm2 } from "../support/fetched.ts";
import { sharedFile } from "../support/models.ts";
import { uniform } from "../support/random.ts";
import { randomFloats, randomQuantized } from "../support/wasm_kernels.ts";
import { median } from "./measure.ts";
import type { PartResult, Verdict } from "./report.ts";

type Symbols = Readonly<Record<string, number>>;

/** The token whose cost is counted: the keys that it sees. */
const position = 256;

interface Model {
  readonly name: string;
  readonly path: string;
  readonly total: number;
}

export interface TokenCost {
  readonly dispatches: number;
  readonly weightBytes: number;
  readonly valueBytes: number;
}

/** Dispatches of a run at given symbols, and the bytes of their operands, each read or written once a dispatch. */
export function tokenCost(program: WgslProgram, symbols: Symbols): TokenCost {
  const steps = program.steps.filter(({ workgroups }) =>
    workgroups[workgroups.length - 1].every((count) => indexValue(count, symbols) > 0)
  );
  const operands = steps.flatMap((step) => dispatchOf(program, step).operands.map((operand) => ({ step, operand })));
  const sum = (wanted: boolean) =>
    operands.filter(({ operand }) => isWeights(program, operand) === wanted)
      .reduce((bytes, { step, operand }) => bytes + operandBytes(program, step, operand, symbols), 0);
  return { dispatches: steps.length, weightBytes: sum(true), valueBytes: sum(false) };
}

/** The dispatch of a step: steps of a kernel follow one another in the order of its dispatches. */
function dispatchOf({ steps }: WgslProgram, step: WgslStep) {
  const first = steps.findIndex(({ region }) => region === step.region);
  return step.kernel.dispatches[steps.indexOf(step) - first];
}

function isWeights({ graph }: WgslProgram, operand: WgslOperand): boolean {
  return operand.kind === "weights" ||
    operand.kind === "value" && graph.nodes.some((node) => node.op === "constant" && node.outputs[0] === operand.value);
}

/** A gather reads as many entries of its table as it writes; a rotation, the rows of its tables that it turns by. */
function operandBytes(program: WgslProgram, { region }: WgslStep, operand: WgslOperand, symbols: Symbols): number {
  const { graph } = program;
  const isTable = region.main.op === "gather" && operand.kind !== "scratch" && operand.name !== "indices" &&
    operand.name !== "y";
  if (operand.kind === "scratch") return 0;
  if (region.main.op === "rope" && isWeights(program, operand)) {
    const rows = typeOf(graph, region.main.inputs[0]).shape[1];
    return 4 * region.main.attributes.extent / 2 * (isStatic(rows) ? rows : evaluateExtent(rows, symbols));
  }
  if (isTable) return valueBytes(graph, region.main.outputs[0], "data", symbols);
  if (operand.kind === "weights") {
    return program.weights.find(({ key }) => key === operand.weights.key)?.bytes.byteLength ?? 0;
  }
  if (operand.kind === "state") return 0;
  if (isWeights(program, operand)) {
    const { layout, value } = { layout: operand.part, value: operand.value };
    return program.weights.find((entry) => entry.value === value && entry.layout === layout)?.bytes.byteLength ?? 0;
  }
  return valueBytes(graph, operand.value, operand.part, symbols);
}

function valueBytes(graph: Graph, value: string, part: string, symbols: Symbols): number {
  const found = partsOfType(typeOf(graph, value)).find((candidate) => candidate.part === part);
  if (found === undefined) return 0;
  const extents = found.shape.map((extent) => isStatic(extent) ? extent : evaluateExtent(extent, symbols));
  return 4 * elementWords(found.element) * extents.reduce((size, extent) => size * extent, 1);
}

async function graphOf({ path, total }: Model, recipe: string): Promise<Graph> {
  const prepared = valueOf(
    await prepareModel({
      model: path,
      recipe,
      target: "wgsl",
      logits: "last",
      bind: { seq: { min: 1, max: 128 }, total },
    }),
  );
  return prepared.graph;
}

function valueOf<T>(outcome: Outcome<T>): T {
  if (!outcome.ok) throw new Error(outcome.diagnostics.map(formatDiagnostic).join("\n"));
  return outcome.value;
}

/** One layer of int8 rows and int4 weights in blocks of 32. */
function linearGraph(rows: number, extent: number): Graph {
  const random = uniform(1);
  const b = new GraphBuilder("linear");
  const left: QuantScheme = { format: int8, block: [1, "all"], step: "f32", zeroPoint: false, range: "dynamic" };
  const right: QuantScheme = { format: int4, block: [1, 32], step: "f16", zeroPoint: false, range: "static" };
  const x = b.input("x", tensorType("f32", [rows, extent]));
  const codes = b.add("quantize", [x], { scheme: left });
  const w = b.constant(randomQuantized(random, [extent, extent], right));
  b.output("y", b.add("matmul", [codes, w], { transposeB: true, hasBias: false, result: { kind: "real" } }));
  return b.finish("quant");
}

const linearExtent = 1024;

/** Rows of the speed table for one layer. */
async function linearSpeeds(rounds: number): Promise<string[][]> {
  const rowsOf: string[][] = [];
  for (const rows of [1, 64]) {
    const graph = linearGraph(rows, linearExtent);
    const inputs = { x: randomFloats(uniform(2), [rows, linearExtent]) };
    const times = await interleaved(graph, rounds, async (running) => void await running.run(inputs));
    if (times !== undefined) rowsOf.push(speedRow(`int4 x int8, ${rows} x ${linearExtent} x ${linearExtent}`, times));
  }
  return rowsOf;
}

function speedRow(name: string, { tuned, loops }: Times): string[] {
  return [name, tuned.toFixed(1), loops.toFixed(1), `${(loops / tuned).toFixed(2)} x`];
}

interface Times {
  readonly tuned: number;
  readonly loops: number;
}

/** Medians of a run's time, tuned and in loop form, in turn; the drivers have compiled the shaders before. */
async function interleaved(
  graph: Graph,
  rounds: number,
  run: (running: RunningProgram) => Promise<void>,
): Promise<Times | undefined> {
  if (await gpuDevice() === undefined) return undefined;
  const contenders = [await startOnGpu(graph, wgslKernels), await startOnGpu(graph, wgslLoops)];
  const times: number[][] = [[], []];
  for (let round = -1; round < rounds; round++) {
    for (const [index, running] of contenders.entries()) {
      const start = performance.now();
      await run(running);
      if (round >= 0) times[index].push(performance.now() - start);
    }
  }
  contenders.forEach((running) => running.dispose());
  const [tuned, loops] = times.map(median);
  return { tuned, loops };
}

async function runToken({ program: { graph }, run }: RunningProgram): Promise<void> {
  const [{ name, value }] = graph.inputs;
  const { element, shape } = typeOf(graph, value);
  const one = shape.map(() => 1);
  const ids = element === "i64"
    ? plainTensor("i64", one, BigInt64Array.of(7n))
    : plainTensor("i32", one, Int32Array.of(7));
  await run({ [name]: ids });
}

export async function benchWebgpu(rounds: number, show: (stage: string) => void): Promise<PartResult> {
  const stories = sharedFile("stories260k");
  const smol = fetchedFile(smollm2);
  const models: Model[] = [
    ...(stories === undefined ? [] : [{ name: "stories260k", path: stories, total: 512 }]),
    ...(smol === undefined ? [] : [{ name: "SmolLM2-135M", path: smol, total: 1024 }]),
  ];
  if (models.length === 0) return { skipped: "neither model is here" };
  const costs: string[][] = [];
  const speeds: string[][] = [];
  const verdicts: Verdict[] = [];
  for (const model of models) {
    for (const recipe of ["as-is", "w8a8-dynamic", "w4a8"]) {
      show(`webgpu: ${model.name} ${recipe}`);
      const graph = await graphOf(model, recipe);
      const program = lowerWgsl(graph, wgslKernels);
      const cost = tokenCost(program, { seq: 1, past: position - 1, total: position });
      const regions = new Set(program.steps.map(({ region }) => region)).size;
      const megabytes = (bytes: number) => (bytes / 1e6).toFixed(2);
      costs.push([
        `${model.name} ${recipe}`,
        String(regions),
        String(cost.dispatches),
        megabytes(cost.weightBytes),
        megabytes(cost.valueBytes),
      ]);
      verdicts.push({
        target: `${model.name} ${recipe}: no more than one dispatch a region`,
        measured: `${cost.dispatches} for ${regions}`,
        met: cost.dispatches <= regions,
      });
      if (model.name !== "stories260k") continue;
      const times = await interleaved(graph, rounds, runToken);
      if (times !== undefined) speeds.push(speedRow(`${model.name} ${recipe}, a token`, times));
    }
  }
  show("webgpu: one layer");
  speeds.push(...await linearSpeeds(rounds));
  return {
    tables: [
      {
        title: `One token, ${position} keys in the cache: bytes of every operand, once a dispatch.`,
        columns: ["model and recipe", "regions", "dispatches", "weights, MB", "values, MB"],
        rows: costs,
      },
      ...(speeds.length === 0 ? [] : [{
        title: "On the GPU of this machine (Mesa's software rasterizer where it has none), in turn.",
        columns: ["what runs", "tuned, ms", "loop form, ms", "loop form / tuned"],
        rows: speeds,
      }]),
    ],
    verdicts,
  };
}
