/**
 * Random float graphs of the linear kind: convolutions, matmuls, scales and shifts, limits, sums, views. Each is built twice:
 * as it is, and with every constant and input replaced by its magnitude and every difference by a sum. The second graph
 * bounds all partial sums of the first, which gives forward error bounds.
 */

import fc from "fast-check";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { binary, input, literal, unary } from "../../compiler/ir/expression.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, type PlainTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { normalArray, uniform } from "./random.ts";

export interface GraphPlan {
  readonly seed: number;
  readonly steps: readonly StepKind[];
}

const stepKinds = [
  "conv",
  "depthwise",
  "scaleShift",
  "shift",
  "scalarLine",
  "relu",
  "limit",
  "residual",
  "pad",
  "views",
  "twice",
  "negate",
] as const;
type StepKind = typeof stepKinds[number];

export const graphPlans: fc.Arbitrary<GraphPlan> = fc.record({
  seed: fc.integer({ min: 1, max: 1 << 20 }),
  steps: fc.array(fc.constantFrom(...stepKinds), { minLength: 1, maxLength: 9 }),
});

export interface PlannedGraph {
  readonly graph: Graph;
  /** The graph of magnitudes: same inputs by name, to be given as magnitudes. */
  readonly magnitude: Graph;
  readonly inputs: Readonly<Record<string, PlainTensor<"f32">>>;
  /** Roundings on the longest path from an input to the output. */
  readonly roundings: number;
}

export function plannedGraph(plan: GraphPlan): PlannedGraph {
  const shape = [1, 2 + plan.seed % 3, 5, 4];
  const x = floatTensor(shape, normalArray(sizeOf(shape), plan.seed));
  const plain = new Assembly(plan, shape, false);
  const absolute = new Assembly(plan, shape, true);
  return { graph: plain.graph(), magnitude: absolute.graph(), inputs: { x }, roundings: plain.roundings };
}

export function magnitudes(inputs: PlannedGraph["inputs"]): PlannedGraph["inputs"] {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, tensor]) => [name, { ...tensor, data: tensor.data.map(Math.abs) }]),
  );
}

/** Builds one of the two graphs; both draw the same random numbers in the same order. */
class Assembly {
  readonly #builder = new GraphBuilder("random");
  readonly #next: () => number;
  readonly #history: ValueName[] = [];
  roundings = 0;

  constructor(readonly plan: GraphPlan, readonly shape: readonly number[], readonly isMagnitude: boolean) {
    this.#next = uniform(plan.seed);
  }

  graph(): Graph {
    let value = this.#builder.input("x", tensorType("f32", this.shape));
    for (const [index, step] of this.plan.steps.entries()) {
      this.#history.push(value);
      value = this.#step(step, value, `step${index}`);
    }
    this.#builder.output("y", value);
    return this.#builder.finish();
  }

  #shapeOf(value: ValueName): number[] {
    return this.#builder.typeOf(value).shape.map((extent) => (typeof extent === "number" ? extent : NaN));
  }

  #number(): number {
    const number = 2 * this.#next() - 1;
    return Math.fround(this.isMagnitude ? Math.abs(number) : number);
  }

  #constant(shape: readonly number[]): ValueName {
    return this.#builder.constant(floatTensor(shape, Array.from({ length: sizeOf(shape) }, () => this.#number())));
  }

  #map(expression: Parameters<GraphBuilder["map"]>[0], inputs: readonly ValueName[], origin: string): ValueName {
    this.roundings += 2;
    return this.#builder.map(expression, inputs, { origin: [origin] });
  }

  #step(step: StepKind, x: ValueName, origin: string): ValueName {
    const [, channels] = this.#shapeOf(x);
    const perChannel = [channels, 1, 1];
    switch (step) {
      case "conv":
        return this.#conv(x, origin, 1 + Math.floor(3 * this.#next()), 1);
      case "depthwise":
        return this.#conv(x, origin, channels, channels);
      case "scaleShift":
        return this.#map(
          binary("add", binary("mul", input(0), input(1)), input(2)),
          [x, this.#constant(perChannel), this.#constant(perChannel)],
          origin,
        );
      case "shift":
        return this.#map(binary("add", input(0), input(1)), [x, this.#constant(perChannel)], origin);
      case "scalarLine":
        return this.#map(
          binary("add", binary("mul", input(0), input(1)), input(2)),
          [x, this.#constant([]), this.#constant([1, 1])],
          origin,
        );
      case "relu":
        return this.#map(this.isMagnitude ? input(0) : binary("max", input(0), literal(0)), [x], origin);
      case "limit":
        // A limit is no larger than the magnitude that it limits plus its own.
        return this.#map(
          this.isMagnitude
            ? binary("add", input(0), literal(1))
            : binary("min", binary("max", input(0), literal(-1)), literal(1)),
          [x],
          origin,
        );
      case "residual": {
        const peers = this.#history.filter((value) => this.#shapeOf(value).join() === this.#shapeOf(x).join());
        const peer = peers[Math.floor(this.#next() * peers.length)] ?? x;
        return this.#map(binary(this.isMagnitude ? "add" : "sub", input(0), input(1)), [x, peer], origin);
      }
      case "pad":
        return this.#builder.add("pad", [x], { before: [0, 0, 1, 0], after: [0, 0, 0, 2], mode: "constant" }, {
          origin: [origin],
        });
      case "views":
        return this.#views(x, origin);
      case "twice": {
        const left = this.#map(this.isMagnitude ? input(0) : unary("neg", input(0)), [x], origin);
        const right = this.#map(binary("mul", input(0), literal(0.5)), [x], origin);
        return this.#map(binary("add", input(0), input(1)), [left, right], origin);
      }
      case "negate":
        return this.#map(this.isMagnitude ? input(0) : unary("neg", input(0)), [x], origin);
    }
  }

  #conv(x: ValueName, origin: string, outChannels: number, groups: number): ValueName {
    const [, channels, height, width] = this.#shapeOf(x);
    const kernel = [Math.min(height, 2), Math.min(width, 3)];
    const hasBias = this.#next() < 0.5;
    const w = this.#constant([outChannels, channels / groups, ...kernel]);
    this.roundings += 2 * sizeOf(kernel) * channels / groups + 1;
    return this.#builder.add("conv", hasBias ? [x, w, this.#constant([outChannels])] : [x, w], {
      strides: [1, 1],
      dilations: [1, 1],
      pads: [1, 1, 0, 1],
      layout: "channelsFirst",
      groups,
      hasBias,
      result: { kind: "real" },
    }, { origin: [origin] });
  }

  /** Transposes and reshapes with an elementwise node between, back to the first order. */
  #views(x: ValueName, origin: string): ValueName {
    const options = { origin: [origin] };
    const last = this.#builder.add("transpose", [x], { permutation: [0, 2, 3, 1] }, options);
    const [batch, height, width, channels] = this.#shapeOf(last);
    const flat = this.#builder.add("reshape", [last], { shape: [batch, height * width, channels] }, options);
    const split = this.#builder.add("reshape", [flat], { shape: [batch, height, width, channels] }, options);
    const scaled = this.#map(binary("mul", input(0), input(1)), [split, this.#constant([channels])], origin);
    return this.#builder.add("transpose", [scaled], { permutation: [0, 3, 1, 2] }, options);
  }
}
