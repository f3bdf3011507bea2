/** The largest or smallest entries along an axis, in order. */

import type { OpAttributes } from "../../../compiler/ir/node.ts";
import { isFloat } from "../../../compiler/numeric/element.ts";
import type { Lowering } from "../context.ts";
import { addIndex, extentIndex, indexOfScalar, mulIndex } from "../index.ts";
import { bufferOf, loadPart } from "../operand.ts";
import type { Scalar } from "../program.ts";
import { binaryOf, castTo, compareOf, i32, scalarOfIndex } from "../scalar.ts";
import { axisRange, forAxes, joinAxes } from "../space.ts";

/**
 * Selection without memory: each rank is the best of the entries that come after the previous rank in the order
 * (value, then index; NaN after all numbers). It takes count * extent steps.
 */
export function lowerTopK(lowering: Lowering, { axis, count, largest }: OpAttributes["topK"]): readonly string[] {
  const { b } = lowering;
  const x = lowering.input(0, "x");
  const [values, indices] = [lowering.result(0, "y"), lowering.result(1, "indices")];
  const others = axisRange(0, x.shape.length).filter((other) => other !== axis);
  const axes = joinAxes(x.shape, others, [x.strides, values.strides, indices.strides]);
  const valueBuffer = bufferOf(b, values, "data", "write");
  const indexBuffer = bufferOf(b, indices, "data", "write");
  const precedes = precedence(x.element === "bool" ? "i32" : x.element, largest);
  forAxes(b, axes, "independent", (outer) => {
    const previous = b.let("previous", castTo(precedes.element, loadPart(b, x, "data", outer(x.strides))));
    const previousIndex = b.let("previousIndex", i32(-1));
    b.for("rank", count, "sequential", (rank) => {
      const best = b.let("best", previous);
      const where = b.let("where", i32(-1));
      b.for("k", extentIndex(x.shape[axis]), "sequential", (k) => {
        const place = addIndex(outer(x.strides), mulIndex(k, x.strides[axis]));
        const value = b.let("value", castTo(precedes.element, loadPart(b, x, "data", place)));
        const isFirst = compareOf("lt", previousIndex, i32(0));
        const isLater = compareOf("gt", scalarOfIndex(k), previousIndex);
        const same = precedes.same(previous, value);
        const isNext = or(isFirst, or(precedes.before(previous, value), binaryOf("and", same, isLater)));
        const isBetter = or(compareOf("lt", where, i32(0)), precedes.before(value, best));
        b.if(binaryOf("and", isNext, isBetter), () => {
          b.assign(best, value);
          b.assign(where, scalarOfIndex(k));
        });
      });
      b.assign(previous, best);
      b.assign(previousIndex, where);
      const at = (strides: readonly number[]) => addIndex(outer(strides), mulIndex(rank, strides[axis]));
      const place = addIndex(outer(x.strides), mulIndex(indexOfScalar(where), x.strides[axis]));
      b.store(valueBuffer, at(values.strides), loadPart(b, x, "data", place));
      b.store(indexBuffer, at(indices.strides), castTo("i64", where));
    });
  });
  return [
    `y, indices = the ${count} ${largest ? "largest" : "smallest"} along axis ${axis}, lower index first among equals`,
  ];
}

function or(x: Scalar, y: Scalar): Scalar {
  return binaryOf("or", x, y);
}

/** The order of ranks by value. */
function precedence(element: Scalar["element"], largest: boolean): {
  readonly element: Scalar["element"];
  readonly before: (x: Scalar, y: Scalar) => Scalar;
  readonly same: (x: Scalar, y: Scalar) => Scalar;
} {
  const ordered = (x: Scalar, y: Scalar) => compareOf(largest ? "gt" : "lt", x, y);
  const equal = (x: Scalar, y: Scalar) => compareOf("eq", x, y);
  if (!isFloat(element)) return { element, before: ordered, same: equal };
  const isNaN = (x: Scalar) => compareOf("ne", x, x);
  return {
    element,
    before: (x, y) => or(ordered(x, y), binaryOf("and", equal(x, x), isNaN(y))),
    same: (x, y) => or(equal(x, y), binaryOf("and", isNaN(x), isNaN(y))),
  };
}
