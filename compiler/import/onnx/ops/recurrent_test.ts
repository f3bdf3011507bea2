import fc from "fast-check";
import { assertLikeRuntime, type NodeModel, normalTensor } from "../../../../tests/support/onnx_model.ts";
import { floatTensor, type PlainTensor, plainTensor } from "../../../ir/tensor.ts";

/**
 * Gates are sums of at most 16 terms whose sigmoid and tanh onnxruntime approximates by rational functions (errors up to
 * about 1e-6); five steps carry them on.
 */
const cellBound = { relative: 2e-5, absolute: 1e-6 };

const gates = { LSTM: 4, GRU: 3, RNN: 1 } as const;

interface Case {
  readonly direction: "forward" | "reverse" | "bidirectional";
  readonly hasBias: boolean;
  readonly hasState: boolean;
  readonly clips: boolean;
  readonly variant: boolean;
  readonly seed: number;
}

const cases: fc.Arbitrary<Case> = fc.record({
  direction: fc.constantFrom("forward", "reverse", "bidirectional"),
  hasBias: fc.boolean(),
  hasState: fc.boolean(),
  clips: fc.boolean(),
  variant: fc.boolean(),
  seed: fc.nat(1000),
});

const [steps, batch, width, hidden] = [5, 3, 4, 6];

function scaled(tensor: PlainTensor, factor: number): PlainTensor {
  return floatTensor(tensor.shape, Array.from<number | bigint, number>(tensor.data, (entry) => Number(entry) * factor));
}

function cellModel(op: keyof typeof gates, shape: Case, lengths?: readonly number[]): NodeModel {
  const directions = shape.direction === "bidirectional" ? 2 : 1;
  const rows = gates[op] * hidden;
  const state = (seed: number) => shape.hasState ? normalTensor([directions, batch, hidden], seed) : undefined;
  const inputs = [
    normalTensor([steps, batch, width], shape.seed),
    scaled(normalTensor([directions, rows, width], shape.seed + 1), 0.4),
    scaled(normalTensor([directions, rows, hidden], shape.seed + 2), 0.4),
    shape.hasBias ? normalTensor([directions, 2 * rows], shape.seed + 3) : undefined,
    lengths === undefined ? undefined : plainTensor("i32", [batch], Int32Array.from(lengths)),
    state(shape.seed + 4),
  ];
  if (op === "LSTM") {
    inputs.push(state(shape.seed + 5));
    if (shape.variant) inputs.push(scaled(normalTensor([directions, 3 * hidden], shape.seed + 6), 0.3));
  }
  return {
    op,
    opset: 14,
    attributes: {
      hidden_size: hidden,
      direction: shape.direction,
      ...(shape.clips ? { clip: { float: 0.7 } } : {}),
      ...(op === "GRU" && shape.variant ? { linear_before_reset: 1 } : {}),
    },
    inputs,
    constants: lengths === undefined ? [1, 2, 3] : [1, 2, 3, 4],
    outputs: op === "LSTM" ? ["y", "h", "c"] : ["y", "h"],
  };
}

for (const op of ["LSTM", "GRU", "RNN"] as const) {
  Deno.test(`${op} in every direction, with and without bias, states, clip and variants, gives what onnxruntime gives`, async () => {
    await fc.assert(
      fc.asyncProperty(cases, (shape) => assertLikeRuntime(cellModel(op, shape), cellBound)),
      { numRuns: 40, seed: 7 },
    );
  });
}

const plainCase: Case = {
  direction: "forward",
  hasBias: true,
  hasState: true,
  clips: false,
  variant: false,
  seed: 21,
};

Deno.test("sequences that all end early give what onnxruntime gives, in both directions", async () => {
  for (const op of ["LSTM", "GRU", "RNN"] as const) {
    await assertLikeRuntime(cellModel(op, { ...plainCase, direction: "bidirectional" }, [3, 3, 3]), cellBound);
  }
});

Deno.test("sequences of different lengths give what onnxruntime gives", async () => {
  for (const op of ["GRU", "RNN"] as const) {
    await assertLikeRuntime(cellModel(op, plainCase, [5, 2, 4]), cellBound);
  }
  await assertLikeRuntime({ ...cellModel("LSTM", plainCase, [1, 5, 3]), outputs: ["y", "h"] }, cellBound);
});

Deno.test("an activation of each direction's own gives what onnxruntime gives", async () => {
  await assertLikeRuntime({
    ...cellModel("RNN", { ...plainCase, direction: "bidirectional" }),
    attributes: { hidden_size: hidden, direction: "bidirectional", activations: { strings: ["Relu", "Softsign"] } },
  }, cellBound);
});
