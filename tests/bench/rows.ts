/** Kernels that go row by row: Walsh-Hadamard transforms against the f32 peak, norms against their loop form. */

import { GraphBuilder } from "../../compiler/ir/build.ts";
import { binary, cast, input, literal, unary } from "../../compiler/ir/expression.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { orthogonalFactors } from "../../compiler/numeric/hadamard.ts";
import { formOf } from "../../targets/wasm/kernels.ts";
import { selectLoops } from "../../targets/wasm/loops/select.ts";
import type { KernelChoice } from "../../targets/wasm/program.ts";
import { wasmKernels } from "../../targets/wasm/target.ts";
import { normalArray } from "../support/random.ts";
import { openGraph } from "./compiled.ts";
import { race } from "./measure.ts";
import { openPeak, peakForms } from "./peak.ts";
import type { PartResult } from "./report.ts";

const rowCount = 128;

/** The loop form of everything. */
const loopKernels: KernelChoice = {
  ...wasmKernels,
  selectKernel: (region, context) => {
    const kernel = selectLoops(region, context);
    if ("declined" in kernel) throw new Error(`No loop form: ${kernel.declined}`);
    return kernel;
  },
};

interface Row {
  readonly name: string;
  readonly form: string;
  readonly graph: Graph;
  /** Additions and multiply-adds of one call; 0 where bytes are what counts. */
  readonly operations: number;
  readonly bytes: number;
}

function transformRow(order: number): Row {
  const { core, doublings } = orthogonalFactors(order);
  const builder = new GraphBuilder(`transform${order}`);
  const matrix = builder.constant(
    floatTensor([core.order, core.order], core.entries.map((entry) => entry / Math.sqrt(order))),
  );
  const x = builder.input("x", tensorType("f32", [rowCount, order]));
  builder.output("y", builder.add("transform", [x, matrix], { doublings, stride: 1 }));
  const perEntry = doublings + (core.order === 1 ? 1 : core.order);
  const factors = core.order === 1 ? "" : ` (${core.order} x ${2 ** doublings})`;
  return {
    name: `transform of ${order}${factors}`,
    form: "transform.f32",
    graph: builder.finish(),
    operations: rowCount * order * perEntry,
    bytes: 8 * rowCount * order,
  };
}

function normRow(width: number, codes: boolean): Row {
  const builder = new GraphBuilder(`norm${width}`);
  const x = builder.input("x", tensorType("f32", [rowCount, width]));
  const gain = builder.constant(floatTensor([width], normalArray(width, 1)));
  const y = builder.add("norm", [x, gain], { kind: "rms", axis: 1, epsilon: 1e-5 });
  const rounded = binary("min", binary("max", unary("round", input(0)), literal(-8)), literal(7));
  builder.output("y", codes ? builder.map(cast("i8", rounded), [y]) : y);
  return {
    name: `norm of ${width}${codes ? " to codes" : ""}`,
    form: "norm.f32",
    graph: builder.finish(),
    operations: 0,
    bytes: (codes ? 5 : 8) * rowCount * width,
  };
}

export async function benchRows(rounds: number, show: (stage: string) => void): Promise<PartResult> {
  show("rows");
  const rows = [
    ...[64, 352, 576, 1024, 1536].map(transformRow),
    ...[normRow(576, false), normRow(576, true), normRow(1536, true)],
  ];
  const peak = await openPeak(peakForms.relaxedMadd);
  const contenders = [{ name: peak.form.name, run: peak.run }];
  for (const { name, form, graph } of rows) {
    for (const choice of [wasmKernels, loopKernels]) {
      const { model, kernels, kernelIds } = await openGraph(graph, "relaxed", choice);
      const [id] = kernelIds;
      if (choice === wasmKernels && formOf(id)?.name !== form) throw new Error(`"${name}" runs ${id}, not ${form}`);
      const [{ value }] = graph.inputs;
      const extents = graph.types.get(value)?.shape.map(Number) ?? [];
      await model.run({ x: normalArray(extents.reduce((a, b) => a * b, 1), 2) });
      contenders.push({ name, run: kernels });
    }
  }
  const [peakTiming, ...timings] = await race(contenders, { rounds, warmUp: 500, slice: 30 });
  const limit = peak.products / peakTiming.milliseconds / 1e6;
  return {
    tables: [{
      title: `${rowCount} rows, kernels alone; f32 multiply-add peak in the same rounds ${limit.toFixed(1)} G/s.`,
      columns: ["", "us", "G operations/s", "of the peak", "GB/s", "loop form / this"],
      rows: rows.map(({ name, operations, bytes }, index) => {
        const [own, loops] = [timings[2 * index].milliseconds, timings[2 * index + 1].milliseconds];
        const rate = operations / own / 1e6;
        return [
          name,
          (1000 * own).toFixed(1),
          operations === 0 ? "" : rate.toFixed(1),
          operations === 0 ? "" : `${(100 * rate / limit).toFixed(0)}%`,
          (bytes / own / 1e6).toFixed(1),
          `${(loops / own).toFixed(1)} x`,
        ];
      }),
    }],
    verdicts: [],
  };
}
