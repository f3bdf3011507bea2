import assert from "node:assert/strict";
import fc from "fast-check";
import { assertWithMutants } from "../../../tests/support/mutants.ts";
import { entriesOf, entryAt } from "../../../tests/support/naive_tensor.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { runOp } from "../../../tests/support/run_op.ts";
import type { OpAttributes, RecurrentActivation } from "../node.ts";
import type { Tensor } from "../tensor.ts";
import { tensorType } from "../types.ts";

type Attributes = OpAttributes["recurrent"];

const activations: { readonly [Name in RecurrentActivation]: (x: number) => number } = {
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  tanh: Math.tanh,
  relu: (x) => (x > 0 ? x : 0),
  hardsigmoid: (x) => Math.min(1, Math.max(0, 0.2 * x + 0.5)),
  softsign: (x) => x / (1 + Math.abs(x)),
  softplus: (x) => Math.log(1 + Math.exp(x)),
  affine: (x) => x,
  elu: (x) => (x >= 0 ? x : Math.exp(x) - 1),
};

const counts = { lstm: [4, 3], gru: [3, 2], rnn: [1, 1] } as const;

const cases = fc.constantFrom<Attributes["cell"]>("lstm", "gru", "rnn").chain((cell) => {
  const directions = fc.constantFrom<Attributes["direction"]>("forward", "reverse", "bidirectional");
  const names = fc.constantFrom<RecurrentActivation>(
    "sigmoid",
    "tanh",
    "relu",
    "hardsigmoid",
    "softsign",
    "softplus",
    "affine",
    "elu",
  );
  return fc.record({
    attributes: fc.record({
      cell: fc.constant(cell),
      direction: directions,
      activations: fc.array(names, { minLength: 2 * counts[cell][1], maxLength: 2 * counts[cell][1] }),
      clip: fc.constantFrom(0, 0.4),
      linearBeforeReset: fc.boolean(),
      coupledGates: fc.boolean(),
    }),
    steps: fc.integer({ min: 1, max: 4 }),
    batch: fc.integer({ min: 1, max: 3 }),
    width: fc.integer({ min: 1, max: 4 }),
    hidden: fc.integer({ min: 1, max: 5 }),
    operands: fc.integer({ min: 5, max: cell === "lstm" ? 7 : 5 }),
    seed: fc.nat(),
  });
}).map((of) => {
  const { cell, direction } = of.attributes;
  const used = counts[cell][1] * (direction === "bidirectional" ? 2 : 1);
  return { ...of, attributes: { ...of.attributes, activations: of.attributes.activations.slice(0, used) } };
});

type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

function operandsOf({ attributes, steps, batch, width, hidden, operands, seed }: Case): Tensor[] {
  const directions = attributes.direction === "bidirectional" ? 2 : 1;
  const gates = counts[attributes.cell][0] * hidden;
  const shapes = [
    [steps, batch, width],
    [directions, gates, width],
    [directions, gates, hidden],
    [directions, 2 * gates],
    [directions, batch, hidden],
    [directions, batch, hidden],
    [directions, 3 * hidden],
  ];
  return shapes.slice(0, operands).map((shape, index) => randomTensor(tensorType("f32", shape), seed + index));
}

/** One unit of one sample at one step, by the formulas of the ONNX specification, unit by unit. */
function step(
  of: Case,
  tensors: readonly Tensor[],
  direction: number,
  time: number,
  h: readonly number[],
  c: readonly number[],
  sample: number,
  mutant: string,
) {
  const { attributes: { cell, clip, linearBeforeReset, coupledGates }, hidden, width } = of;
  const [x, w, r, bias, , , peepholes] = tensors;
  const [gateCount, activationCount] = counts[cell];
  const gates = gateCount * hidden;
  const acts = of.attributes.activations.slice(direction * activationCount, (direction + 1) * activationCount).map((
    name,
  ) => activations[name]);
  const clipped = (
    value: number,
  ) => (clip > 0 && mutant !== "not clipped" ? Math.max(-clip, Math.min(clip, value)) : value);
  const input = (gate: number, unit: number) => {
    let sum = entryAt(bias, [direction, gate * hidden + unit]);
    for (let k = 0; k < width; k++) {
      sum += entryAt(x, [time, sample, k]) * entryAt(w, [direction, gate * hidden + unit, k]);
    }
    return sum;
  };
  const recurrent = (gate: number, unit: number, state: readonly number[]) => {
    let sum = 0;
    for (let k = 0; k < hidden; k++) sum += state[k] * entryAt(r, [direction, gate * hidden + unit, k]);
    return sum;
  };
  const rb = (gate: number, unit: number) => entryAt(bias, [direction, gates + gate * hidden + unit]);
  const plain = (gate: number, unit: number) => input(gate, unit) + recurrent(gate, unit, h) + rb(gate, unit);
  const units = Array.from({ length: hidden }, (_, unit) => unit);
  if (cell === "rnn") return { h: units.map((unit) => Math.fround(acts[0](clipped(plain(0, unit))))), c };
  if (cell === "gru") {
    const z = units.map((unit) => acts[0](clipped(plain(0, unit))));
    const reset = units.map((unit) => acts[0](clipped(plain(1, unit))));
    const masked = units.map((unit) => reset[unit] * h[unit]);
    const next = units.map((unit) => {
      const linear = mutant === "reset always before" ? false : linearBeforeReset;
      const state = linear
        ? reset[unit] * (recurrent(2, unit, h) + rb(2, unit))
        : recurrent(2, unit, masked) + rb(2, unit);
      return acts[1](clipped(input(2, unit) + state));
    });
    return { h: units.map((unit) => Math.fround((1 - z[unit]) * next[unit] + z[unit] * h[unit])), c };
  }
  const peep = (gate: number, unit: number, memory: number) =>
    peepholes === undefined || mutant === "peepholes dropped"
      ? 0
      : entryAt(peepholes, [direction, gate * hidden + unit]) * memory;
  const [iGate, oGate, fGate, cGate] = mutant === "gates in the order i f o c" ? [0, 2, 1, 3] : [0, 1, 2, 3];
  const memory = units.map((unit) => {
    const i = acts[0](clipped(plain(iGate, unit) + peep(0, unit, c[unit])));
    const f = coupledGates ? 1 - i : acts[0](clipped(plain(fGate, unit) + peep(2, unit, c[unit])));
    return Math.fround(f * c[unit] + i * acts[1](clipped(plain(cGate, unit))));
  });
  const next = units.map((unit) =>
    Math.fround(acts[0](clipped(plain(oGate, unit) + peep(1, unit, memory[unit]))) * acts[2](memory[unit]))
  );
  return { h: next, c: memory };
}

Deno.test("recurrent cells follow the formulas of ONNX, in every direction and variant", () => {
  const mutants = [
    "not clipped",
    "reset always before",
    "peepholes dropped",
    "gates in the order i f o c",
    "forwards always",
  ] as const;
  assertWithMutants(cases, mutants, (of, mutant) => {
    const tensors = operandsOf(of);
    const outputs = runOp("recurrent", tensors, of.attributes);
    const { attributes: { cell, direction }, steps, batch, hidden } = of;
    const directions = direction === "bidirectional" ? 2 : 1;
    assert.deepEqual(outputs.map(({ shape }) => shape), [
      [steps, directions, batch, hidden],
      [directions, batch, hidden],
      ...(cell === "lstm" ? [[directions, batch, hidden]] : []),
    ]);
    for (let d = 0; d < directions; d++) {
      const backwards = (direction === "reverse" || d === 1) && mutant !== "forwards always";
      for (let sample = 0; sample < batch; sample++) {
        const row = (tensor: Tensor | undefined) =>
          Array.from({ length: hidden }, (_, unit) => (tensor === undefined ? 0 : entryAt(tensor, [d, sample, unit])));
        let state = { h: row(tensors[4]), c: row(tensors[5]) as readonly number[] };
        for (let count = 0; count < steps; count++) {
          const time = backwards ? steps - 1 - count : count;
          state = step(of, tensors, d, time, state.h, state.c, sample, mutant);
          const actual = state.h.map((_, unit) => entryAt(outputs[0], [time, d, sample, unit]));
          assertNear(actual, state.h);
          // Both sides round to f32 at every step; an entry that rounds the other way is carried over as computed.
          state = { h: actual, c: state.c };
        }
        assertNear(row(outputs[1]), state.h);
        if (cell === "lstm") assertNear(row(outputs[2]), state.c, steps);
      }
    }
  });
});

/**
 * Gates are sums of at most 20 terms of magnitude 1 in doubles; activations and products keep errors below 2^-40, so two
 * computations differ by one f32 rounding at most: 2^-23 of a value, and of at most 16 where values grow.
 */
function assertNear(actual: readonly number[], expected: readonly number[], steps = 1): void {
  actual.forEach((value, index) => {
    const bound = steps * (2 ** -23 * Math.max(1, Math.abs(expected[index])) + 2 ** -36);
    assert(Math.abs(value - expected[index]) <= bound, `${value}, not ${expected[index]}`);
  });
}

Deno.test("the last state is the output of the last step of each direction", () => {
  const of =
    fc.sample(cases.filter(({ attributes }) => attributes.direction === "bidirectional"), { numRuns: 1, seed: 3 })[0];
  const [all, last] = runOp("recurrent", operandsOf(of), of.attributes);
  const { steps, batch, hidden } = of;
  for (let sample = 0; sample < batch; sample++) {
    for (let unit = 0; unit < hidden; unit++) {
      assert.equal(entryAt(last, [0, sample, unit]), entryAt(all, [steps - 1, 0, sample, unit]));
      assert.equal(entryAt(last, [1, sample, unit]), entryAt(all, [0, 1, sample, unit]));
    }
  }
  assert(entriesOf(all).every(Number.isFinite));
});
