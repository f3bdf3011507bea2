import { throws } from "node:assert/strict";
import fc from "fast-check";
import {
  assertLikeRuntime,
  importNodeModel,
  type NodeModel,
  normalTensor,
} from "../../../../tests/support/onnx_model.ts";

/** Sums of up to 4 channels * 27 kernel entries in f32, in two orders. */
const sumBound = { relative: 128 * 2 ** -24, absolute: 1e-7 };

const axis = fc.record({
  extent: fc.integer({ min: 5, max: 9 }),
  kernel: fc.integer({ min: 1, max: 3 }),
  stride: fc.integer({ min: 1, max: 3 }),
  dilation: fc.integer({ min: 1, max: 2 }),
  begin: fc.integer({ min: 0, max: 2 }),
  end: fc.integer({ min: 0, max: 2 }),
});

const geometry = fc.record({
  axes: fc.array(axis, { minLength: 1, maxLength: 3 }),
  autoPad: fc.constantFrom("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"),
  groups: fc.constantFrom(1, 2, 4),
  hasBias: fc.boolean(),
  seed: fc.nat(1000),
});

type Geometry = typeof geometry extends fc.Arbitrary<infer T> ? T : never;

function attributesOf({ axes, autoPad, groups }: Geometry): NodeModel["attributes"] {
  const pads = [...axes.map(({ begin }) => begin), ...axes.map(({ end }) => end)];
  return {
    strides: axes.map(({ stride }) => stride),
    dilations: axes.map(({ dilation }) => dilation),
    group: groups,
    ...(autoPad === "NOTSET" ? { pads } : { auto_pad: autoPad }),
  };
}

function convModel(shape: Geometry): NodeModel {
  const { axes, groups, hasBias, seed } = shape;
  const kernel = axes.map((entry) => entry.kernel);
  return {
    op: "Conv",
    opset: 11,
    attributes: attributesOf(shape),
    inputs: [
      normalTensor([2, 4, ...axes.map(({ extent }) => extent)], seed),
      normalTensor([8, 4 / groups, ...kernel], seed + 1),
      hasBias ? normalTensor([8], seed + 2) : undefined,
    ],
    constants: [1, 2],
  };
}

Deno.test("Conv in one to three dimensions, with groups, dilations and every padding, gives what onnxruntime gives", async () => {
  // onnxruntime knows no dilations with SAME.
  const legal = geometry.filter(({ axes, autoPad }) =>
    !autoPad.startsWith("SAME") || axes.every(({ dilation }) => dilation === 1)
  );
  await fc.assert(
    fc.asyncProperty(legal, (shape) => assertLikeRuntime(convModel(shape), sumBound)),
    { numRuns: 80, seed: 1 },
  );
});

function transposeModel(shape: Geometry): NodeModel {
  const { axes, groups, hasBias, seed } = shape;
  const kernel = axes.map((entry) => entry.kernel);
  return {
    op: "ConvTranspose",
    opset: 11,
    attributes: attributesOf(shape),
    inputs: [
      normalTensor([1, 4, ...axes.map(({ extent }) => extent)], seed),
      normalTensor([4, 2, ...kernel], seed + 1),
      hasBias ? normalTensor([2 * groups], seed + 2) : undefined,
    ],
    constants: [1, 2],
  };
}

Deno.test("ConvTranspose with groups, dilations and every padding gives what onnxruntime gives", async () => {
  // Explicit padding must leave something of the output; SAME wants kernels that cover their strides.
  const legal = geometry.filter(({ axes, autoPad }) =>
    axes.every(({ kernel, dilation, stride }) => autoPad === "NOTSET" || (kernel - 1) * dilation + 1 >= stride)
  );
  await fc.assert(
    fc.asyncProperty(legal, (shape) => assertLikeRuntime(transposeModel(shape), sumBound)),
    { numRuns: 80, seed: 2 },
  );
});

Deno.test("ConvTranspose with output_shape and output_padding gives what onnxruntime gives", async () => {
  const base = {
    op: "ConvTranspose",
    opset: 11,
    inputs: [normalTensor([1, 2, 4, 5], 1), normalTensor([2, 3, 3, 3], 2)],
    constants: [1],
  };
  for (const shape of [[8, 10], [7, 11], [9, 9]]) {
    const attributes = { strides: [2, 2], output_shape: shape };
    await assertLikeRuntime({ ...base, attributes }, sumBound);
    await assertLikeRuntime({ ...base, attributes: { ...attributes, auto_pad: "SAME_UPPER" } }, sumBound);
  }
  await assertLikeRuntime({ ...base, attributes: { strides: [2, 3], output_padding: [1, 2] } }, sumBound);
});

Deno.test("Conv whose weights do not fit is a diagnostic with the numbers", () => {
  const model = (attributes: NodeModel["attributes"], channels: number) => ({
    op: "Conv",
    opset: 11,
    attributes,
    inputs: [normalTensor([1, 64, 8, 8], 1), normalTensor([32, channels, 3, 3], 2)],
    constants: [1],
  });
  throws(() => importNodeModel(model({ group: 3 }, 64)), /group count is 3.*input channels are 64/);
  throws(() => importNodeModel(model({ kernel_shape: [5, 5] }, 64)), /kernel_shape is \[5,5\]/);
  throws(() => importNodeModel(model({ pads: [1, 1] }, 64)), /pads is \[1,1\]/);
  throws(() => importNodeModel(model({ strides: [0, 1] }, 64)), /strides is \[0,1\]/);
  throws(() => importNodeModel(model({ auto_pad: "SAME" }, 64)), /auto_pad is "SAME"/);
});
