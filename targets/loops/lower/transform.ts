/** Products of runs of the last axis with core ⊗ Sylvester ⊗ I. */

import type { OpAttributes } from "../../../compiler/ir/node.ts";
import type { LoopBuilder } from "../build.ts";
import type { Lowering } from "../context.ts";
import { addIndex, mulIndex } from "../index.ts";
import { load, loadPart } from "../operand.ts";
import type { Index, Scalar } from "../program.ts";
import { accumulatorOf, add, castTo, literalOf, mul, sub } from "../scalar.ts";
import { axisRange, forAxes, joinAxes, type Position } from "../space.ts";

/**
 * Each run is copied to a private array, where `doublings` passes of butterflies (a, b) -> (a + b, a - b) over entries
 * 2^s strides apart make the Sylvester part (n log n), and the core then mixes whole blocks.
 */
export function lowerTransform(
  lowering: Lowering,
  { doublings, stride }: OpAttributes["transform"],
): readonly string[] {
  const { b } = lowering;
  const [x, core] = [lowering.input(0, "x"), lowering.input(1, "core")];
  const extent = core.bounds[0];
  const width = 2 ** doublings * stride;
  const run = extent * width;
  const last = x.shape.length - 1;
  const element = accumulatorOf(x.element);
  // The last axis is seen as two: the runs, and the entries of one.
  const shape = [...x.shape.slice(0, last), x.bounds[last] / run, run];
  const split = (strides: readonly number[]) => [...strides.slice(0, last), strides[last] * run, strides[last]];
  const own = split(x.strides);
  const stores = lowering.storeStrides().map(split);
  forAxes(b, joinAxes(shape, axisRange(0, last + 1), [own, ...stores]), "independent", (outer) => {
    const held = b.array("run", element, run);
    const at = (index: Index): Scalar => ({ kind: "load", element, buffer: held, index });
    b.for("i", run, "independent", (index) => {
      b.store(held, index, castTo(element, loadPart(b, x, "data", addIndex(outer(own), index))));
    });
    for (let stage = 0; stage < doublings; stage++) butterflies(b, held, run, 2 ** stage * stride, at);
    b.for("to", extent, "independent", (to) => {
      b.for("lane", width, "independent", (lane) => {
        const sum = b.let("sum", literalOf(element, 0));
        b.for("from", extent, "reduction", (from) => {
          const factor = castTo(element, load(b, core, [from, to]));
          b.assign(sum, add(sum, mul(factor, at(addIndex(mulIndex(from, width), lane)))));
        });
        const place = addIndex(mulIndex(to, width), lane);
        const position: Position = (strides) => addIndex(outer(split(strides)), mulIndex(place, strides[last]));
        lowering.storeAt(position, sum);
      });
    });
  });
  const lanes = stride === 1 ? ["[i, j]", "[i', j']"] : ["[i, j, k]", "[i', j', k]"];
  const extents = `${extent} * ${2 ** doublings}${stride === 1 ? "" : ` * ${stride}`}`;
  return [`y${lanes[1]} = sum_i core[i, i'] sum_j (-1)^popcount(j & j') x${lanes[0]} over runs of ${extents}`];
}

function butterflies(
  b: LoopBuilder,
  held: string,
  run: number,
  distance: number,
  at: (index: Index) => Scalar,
): void {
  b.for("block", run / (2 * distance), "independent", (block) => {
    b.for("j", distance, "independent", (j) => {
      const first = addIndex(mulIndex(block, 2 * distance), j);
      const second = addIndex(first, distance);
      const sum = b.let("sum", add(at(first), at(second)));
      const difference = b.let("difference", sub(at(first), at(second)));
      b.store(held, first, sum);
      b.store(held, second, difference);
    });
  });
}
