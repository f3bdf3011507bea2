/** One linear layer of 2048 x 2048: our kernels against onnxruntime-web's and against the engine's peak. */

import type { Contender, Timing } from "./measure.ts";
import { race } from "./measure.ts";
import { compileBytes, type CompiledModel, type RecipeOptions, runOf } from "./compiled.ts";
import { floatLinear, integerLinear, type LinearSize, nibbleLinear } from "./linear_models.ts";
import { openOnnxRuntimeWeb } from "./onnxruntime_web.ts";
import { openPeak, type Peak, peakForms } from "./peak.ts";
import type { BenchTable, PartResult, Verdict } from "./report.ts";
import { formOf } from "../../targets/wasm/kernels.ts";
import { normalArray } from "../support/random.ts";

const extent = 2048;

interface OurLinear {
  readonly name: string;
  readonly options: RecipeOptions;
  readonly peak: "integer" | "float";
  /** The form of kernel that the row stands for. */
  readonly form: string;
}

/** Recipes leave a model's last layer in float; here it is the only one. */
const quantizeHead = "quantize-weights.head=quantize";
/** The solver of a recipe wants calibration samples, which kernels do not see. */
const plainlyRounded = ["solver=nearest", "sweeps=0", "asymmetry=0"].map((option) => `quantize-weights.${option}`);
const perColumn = ["quantize-weights.granularity=channel", "quantize-weights.symmetric=true"];

const ours: readonly OurLinear[] = [
  {
    name: "int4 x int8, blocks of 32 (w4a8)",
    options: { recipe: "w4a8", overrides: [quantizeHead] },
    peak: "integer",
    form: "matmul.int4",
  },
  {
    name: "int4 x int8, per column",
    options: { recipe: "w4a8", overrides: [quantizeHead, ...perColumn] },
    peak: "integer",
    form: "matmul.int4",
  },
  {
    name: "int8 x int8, per column (w8a8-dynamic)",
    options: { recipe: "w8a8-dynamic", overrides: [quantizeHead] },
    peak: "integer",
    form: "matmul.int8",
  },
  {
    name: "int4 x f32, blocks of 32 (w4)",
    options: { recipe: "w4", overrides: [quantizeHead] },
    peak: "float",
    form: "matmul.weights",
  },
  {
    name: "int3 x int8, blocks of 32",
    options: { recipe: "w4a8", overrides: [quantizeHead, "quantize-weights.bits=3"] },
    peak: "integer",
    form: "matmul.packed",
  },
  {
    name: "two-level int4 x int8, blocks of 128",
    options: {
      recipe: "w4a8",
      overrides: [quantizeHead, "quantize-weights.granularity=two-level", "quantize-weights.block=128"],
    },
    peak: "integer",
    form: "matmul.packed",
  },
  {
    name: "MXFP4 x MXFP4",
    options: { recipe: "mxfp4", overrides: [quantizeHead, ...plainlyRounded] },
    peak: "integer",
    form: "matmul.packed",
  },
  { name: "f32 x f32 (as-is)", options: { recipe: "as-is" }, peak: "float", form: "matmul.f32" },
];

/** Compiles the layer, and sees to it that the kernel is the one that the row is about. */
async function compileLinear({ name, options, form }: OurLinear, float: Uint8Array): Promise<CompiledModel> {
  const model = await compileBytes(float, options);
  if (!model.kernelIds.some((id) => formOf(id)?.name === form)) {
    throw new Error(`"${name}" runs ${model.kernelIds.join(", ")}, not ${form}`);
  }
  return model;
}

const peers = [
  { name: "onnxruntime-web MatMulNBits, int4 blocks of 32", model: nibbleLinear },
  { name: "onnxruntime-web MatMulInteger, int8", model: integerLinear },
  { name: "onnxruntime-web MatMul, f32", model: floatLinear },
] as const;

interface Peaks {
  readonly integer: readonly Peak[];
  readonly float: readonly Peak[];
}

interface SizeResult {
  readonly table: BenchTable;
  /** Of w4a8: multiply-adds per second of the kernels as a share of the peak, and the ratio to MatMulNBits. */
  readonly share: number;
  readonly ratio: number;
}

/** Measures both sizes. */
export async function benchLinear(rounds: number, show: (stage: string) => void): Promise<PartResult> {
  const open = (forms: readonly (keyof typeof peakForms)[]) =>
    Promise.all(forms.map((form) => openPeak(peakForms[form])));
  const peaks: Peaks = {
    integer: await open(["relaxedDotPairs", "relaxedDot"]),
    float: await open(["relaxedMadd"]),
  };
  const one = await benchSize({ rows: 1, depth: extent, columns: extent }, peaks, rounds, show);
  const many = await benchSize({ rows: 128, depth: extent, columns: extent }, peaks, rounds, show);
  return {
    tables: [one.table, many.table],
    verdicts: [
      verdict("w4a8 at M=1 reaches 15% of the relaxed-dot peak", one.share, 0.15),
      verdict("w4a8 at M=128 reaches 35% of the relaxed-dot peak", many.share, 0.35),
      ...([[1, one], [128, many]] as const).map(([rows, { ratio }]): Verdict => ({
        target: `w4a8 at M=${rows} is faster than MatMulNBits`,
        measured: `${ratio.toFixed(1)} x its speed`,
        met: ratio > 1,
      })),
    ],
  };
}

function verdict(target: string, share: number, wanted: number): Verdict {
  return { target, measured: `${(100 * share).toFixed(1)}%`, met: share >= wanted };
}

async function benchSize(
  size: LinearSize,
  peaks: Peaks,
  rounds: number,
  show: (stage: string) => void,
): Promise<SizeResult> {
  const { rows } = size;
  const x = { data: normalArray(rows * size.depth, 4), shape: [rows, size.depth] };
  const float = floatLinear(size);
  const compiled: CompiledModel[] = [];
  for (const linear of ours) {
    show(`linear M=${rows}: ${linear.name}`);
    compiled.push(await compileLinear(linear, float));
  }
  const contenders: Contender[] = [
    ...compiled.map((model, index) => ({ name: ours[index].name, run: runOf(model, { x }) })),
    ...compiled.map((model, index) => ({ name: `${ours[index].name}: kernels`, run: model.kernels })),
    ...await Promise.all(peers.map(async ({ name, model }) => ({
      name,
      run: await openOnnxRuntimeWeb(model(size), { x }),
    }))),
    ...[...peaks.integer, ...peaks.float].map(({ form, run }) => ({ name: form.name, run })),
  ];
  const timings = await race(contenders, {
    rounds,
    warmUp: 400,
    slice: rows === 1 ? 10 : 40,
    onRound: (round) => show(`linear M=${rows}: round ${round + 1} of ${rounds}`),
  });
  return summarize(size, timings, peaks);
}

function summarize(size: LinearSize, timings: readonly Timing[], peaks: Peaks): SizeResult {
  const products = size.rows * size.depth * size.columns;
  const speed = (index: number): number => products / timings[index].milliseconds / 1e6;
  const firstPeer = 2 * ours.length;
  const firstPeak = firstPeer + peers.length;
  const peakSpeed = (list: readonly Peak[], start: number): number =>
    Math.max(...list.map((peak, index) => peak.products / timings[start + index].milliseconds / 1e6));
  const peak = {
    integer: peakSpeed(peaks.integer, firstPeak),
    float: peakSpeed(peaks.float, firstPeak + peaks.integer.length),
  };
  const nbits = timings[firstPeer].milliseconds;
  const row = (index: number, kernels: number | undefined, of: "integer" | "float" | undefined): string[] => [
    timings[index].name,
    timings[index].milliseconds.toFixed(3),
    speed(index).toFixed(2),
    of === undefined || kernels === undefined ? "" : speed(kernels).toFixed(2),
    of === undefined || kernels === undefined ? "" : `${(100 * speed(kernels) / peak[of]).toFixed(1)}%`,
    `${(nbits / timings[index].milliseconds).toFixed(2)} x`,
  ];
  return {
    share: speed(ours.length) / peak.integer,
    ratio: nbits / timings[0].milliseconds,
    table: {
      title: `M=${size.rows}, ${size.depth} x ${size.columns}. Peaks in the same rounds: relaxed dot ${
        peak.integer.toFixed(1)
      } GMAC/s, f32 multiply-add ${peak.float.toFixed(1)} GMAC/s.`,
      columns: ["", "ms", "GMAC/s", "GMAC/s, kernels alone", "of the peak", "MatMulNBits / this"],
      rows: [
        ...ours.map((linear, index) => row(index, ours.length + index, linear.peak)),
        ...peers.map((_, index) => row(firstPeer + index, undefined, undefined)),
      ],
    },
  };
}
