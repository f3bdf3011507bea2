/** What happens to a finished sum: bias, requantization, the epilogue, and the store, as the loop form has them. */

import type { Graph } from "../../../compiler/ir/graph.ts";
import type { ContractionResult } from "../../../compiler/ir/node.ts";
import { Lowering } from "../../loops/context.ts";
import { finishEntry, storeResultSteps } from "../../loops/lower/contraction.ts";
import type { Index, LoopBuffer, Statement } from "../../loops/program.ts";
import type { Region } from "../../region.ts";
import { assignedVariables, printStatements } from "../loops/print.ts";
import { bare, indexText } from "../loops/scalar.ts";
import { accessOf } from "../loops/stages.ts";
import { safeName } from "../names.ts";
import { placeAxes, type PlaceAxis } from "./places.ts";

export interface Finish {
  readonly buffers: readonly LoopBuffer[];
  readonly reads: ReadonlySet<string>;
  readonly writes: ReadonlySet<string>;
  /** `finish(outer, row, column, total)`. */
  readonly functions: readonly string[];
  /** Statements of the first workgroup, for all of its invocations: steps and zero points of a quantized result. */
  readonly once: readonly string[];
}

export interface FinishRequest {
  readonly region: Region;
  readonly graph: Graph;
  readonly result: ContractionResult;
  readonly hasBias: boolean;
  /** What the kernel hands over: f32, or i32 sums. */
  readonly total: "f32" | "i32";
  readonly outerAxes: readonly PlaceAxis[];
  readonly rowAxes: readonly PlaceAxis[];
  /** Index of the result along each of its axes; `column` counts through an outer block. */
  readonly indices: readonly Index[];
  /** The output channel. */
  readonly channel: Index;
  /** Registers what else the kernel loads, under names that go with those of the finish. */
  readonly register: (lowering: Lowering) => void;
}

export function planFinish(request: FinishRequest): Finish {
  const { region, graph, result, hasBias, total, outerAxes, rowAxes, indices, channel } = request;
  const lowering = new Lowering(region, graph);
  request.register(lowering);
  finishEntry(lowering, { indices, channel, hasBias, result }, { kind: "variable", element: total, name: "total" });
  const program = lowering.finish([]);
  const copies = new Lowering(region, graph);
  storeResultSteps(copies, result, hasBias);
  const once = copies.finish([]);
  const buffers = new Map([...program.buffers, ...once.buffers].map((buffer) => [buffer.name, buffer]));
  const access = [accessOf(program.body), accessOf(once.body)];
  return {
    buffers: [...buffers.values()],
    reads: new Set(access.flatMap(({ reads }) => [...reads])),
    writes: new Set(access.flatMap(({ writes }) => [...writes])),
    functions: [
      "// Finishes the sum of an entry and stores it.",
      `fn finish(outer: i32, row: i32, column: i32, total: ${total}) {`,
      ...[
        ...(outerAxes.length === 0 ? [] : placeAxes("outer", outerAxes)),
        ...placeAxes("row", rowAxes),
        ...printStatements(program.body, assignedVariables(program.body)),
      ].map((line) => `  ${line}`),
      "}",
      "",
    ],
    once: [
      ...once.body.flatMap(onceLines),
    ],
  };
}

/** A loop is dealt out to the invocations; what stands alone is done by the first. */
function onceLines(statement: Statement): string[] {
  if (statement.kind !== "for") {
    return ["if (lane == 0) {", ...printStatements([statement], new Set()).map((line) => `  ${line}`), "}"];
  }
  const name = safeName(statement.variable);
  return [
    `for (var ${name} = lane; ${name} < ${bare(indexText(statement.to))}; ${name} += invocations) {`,
    ...printStatements(statement.body, assignedVariables(statement.body)).map((line) => `  ${line}`),
    "}",
  ];
}
