/** Sums and averages of embedded rows by segment. */

import { type Extent, isStatic } from "../../../../ir/extent.ts";
import { input } from "../../../../ir/expression.ts";
import type { ValueName } from "../../../../ir/node.ts";
import { div } from "../../../onnx/ops/expressions.ts";
import { filled, type TfContext, type TfImporter, type TfImporterTable } from "../context.ts";
import { tensorValue } from "../value.ts";

/** A table's rows at `ids`, summed or averaged by segment. Only one segment is known at import: every row belongs to it. */
function importSegment(average: boolean): TfImporter {
  return (context) => {
    const { builder } = context;
    const segments = context.inputs[2];
    if (segments?.kind !== "sequence" || segments.of !== "zeros") {
      return context.fail("more than one segment is not supported");
    }
    const rows = builder.add("gather", [context.stored(0), context.tensor(1)], { axis: 0 });
    const sum = builder.add("reduce", [rows], { kind: "sum", axes: [0], keepAxes: true });
    if (!average) return [tensorValue(sum)];
    const { count } = segments;
    const rowCount = isStatic(count) ? filled(builder, "f32", [1], count) : countOf(context, count);
    return [tensorValue(builder.map(div(input(0), input(1)), [sum, rowCount], { name: "mean" }))];
  };
}

/** A symbolic extent as f32[1], counted at run time as a sum of ones. */
function countOf(context: TfContext, extent: Extent): ValueName {
  const { builder } = context;
  const one = filled(builder, "f32", [1], 1);
  const ones = builder.add("expand", [one], { shape: [extent] });
  return builder.add("reduce", [ones], { kind: "sum", axes: [0], keepAxes: true });
}

export const segmentOps: TfImporterTable = {
  SparseSegmentMean: importSegment(true),
  SparseSegmentSum: importSegment(false),
};
