/** f32 rows x f32 weights. */

import type { WasmKernel } from "../kernel.ts";
import { rowBlockOf } from "./engine.ts";
import { floatCore } from "./float.ts";
import { packFloatPanels } from "./pack_float.ts";
import { type Declined, dotKernel, type DotProblem, loopsOf, panelWidth, plainFloats } from "./problem.ts";
import { copySlack } from "./source.ts";

/** Five rows of two vectors, the vectors of a panel and one of the left operand fill 13 of 16 registers. */
const tileRows = 5;

export function selectFloat(problem: DotProblem): WasmKernel | Declined {
  const { a, b, weightsKey, view, space, source } = problem;
  const tensor = plainFloats(problem.tensor);
  if (problem.aType.element !== "f32" || tensor === undefined) return { declined: "operands are not f32" };
  const panelColumns = panelWidth(problem, 8);
  const finish = problem.finishOf(panelColumns);
  if ("declined" in finish) return finish;
  const { depth } = view;
  const layout = `float-panels(columns=${panelColumns})`;
  const rowBytes = 4 * depth;
  const rowBlock = rowBlockOf(space, rowBytes, tileRows);
  return dotKernel({
    problem,
    arithmetic: "f32",
    details: `tile=${tileRows}x${panelColumns}`,
    header: ["y[m][n] = sum over k of a[m][k] * w[k][n]"],
    finish,
    leading: [{ name: "a", operand: { kind: "value", value: a, part: "data" } }],
    weights: {
      key: `${weightsKey}/${layout}`,
      layout,
      value: b,
      pack: () => packFloatPanels(tensor.data, view, panelColumns),
    },
    scratchBytes: source === undefined ? 0 : rowBlock * rowBytes + copySlack,
    body: (variant) => {
      const core = floatCore({ depth, panelColumns, tileRows, rowBytes, variant, source });
      return loopsOf(problem, finish, core, rowBlock);
    },
  });
}
