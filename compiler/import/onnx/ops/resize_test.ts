import { deepEqual } from "node:assert/strict";
import fc from "fast-check";
import {
  assertLikeRuntime,
  integerTensor,
  type NodeModel,
  normalTensor,
} from "../../../../tests/support/onnx_model.ts";
import { floatTensor, plainTensor } from "../../../ir/tensor.ts";
import { type CoordinateMode, type ResampledAxis, resampleTable, sourceCoordinate } from "./resample_table.ts";

/**
 * onnxruntime keeps places in f32: near an extent of 12 they are off by 12 * 2^-24, and so are linear weights; cubic
 * kernels have slopes below 4 and up to 4 taps an axis.
 */
const placeBound = { relative: 64 * 12 * 2 ** -24, absolute: 0 };

const coordinates: readonly CoordinateMode[] = [
  "half_pixel",
  "pytorch_half_pixel",
  "align_corners",
  "asymmetric",
  "half_pixel_symmetric",
];

interface Case {
  readonly extents: readonly number[];
  readonly sizes: readonly number[];
  readonly coordinates: CoordinateMode;
  readonly seed: number;
}

const geometry: fc.Arbitrary<Case> = fc.record({
  extents: fc.tuple(fc.integer({ min: 2, max: 12 }), fc.integer({ min: 2, max: 12 })),
  sizes: fc.tuple(fc.integer({ min: 1, max: 24 }), fc.integer({ min: 1, max: 24 })),
  coordinates: fc.constantFrom(...coordinates),
  seed: fc.nat(1000),
});

function resizeModel(
  { extents, sizes, coordinates, seed }: Case,
  attributes: NodeModel["attributes"],
  opset = 19,
): NodeModel {
  return {
    op: "Resize",
    opset,
    attributes: { coordinate_transformation_mode: coordinates, ...attributes },
    inputs: [normalTensor([1, 2, ...extents], seed), undefined, undefined, integerTensor([4], [1, 2, ...sizes])],
    constants: [3],
  };
}

Deno.test("linear Resize to random sizes gives what onnxruntime gives", async () => {
  await fc.assert(
    fc.asyncProperty(geometry, (shape) => assertLikeRuntime(resizeModel(shape, { mode: "linear" }), placeBound)),
    { numRuns: 80, seed: 3 },
  );
});

/** Whether every place lies clear of where rounding turns over, so that onnxruntime's f32 places round alike. */
function isClear({ extents, sizes, coordinates }: Case): boolean {
  return extents.every((input, axis) => {
    const output = sizes[axis];
    const scale = output / input;
    if (Number.isInteger(Math.log2(scale))) return true;
    const plan: ResampledAxis = { input, output, length: output, scale, coordinates, crop: [0, 1] };
    return Array.from({ length: output }, (_, x) => 2 * sourceCoordinate(plan, x))
      .every((place) => Math.abs(place - Math.round(place)) > 1e-4);
  });
}

Deno.test("nearest Resize to random sizes gives what onnxruntime gives", async () => {
  const modes = fc.constantFrom("round_prefer_floor", "round_prefer_ceil", "floor", "ceil");
  await fc.assert(
    fc.asyncProperty(
      geometry.filter(isClear),
      modes,
      (shape, nearest) =>
        assertLikeRuntime(resizeModel(shape, { mode: "nearest", nearest_mode: nearest }), { relative: 0, absolute: 0 }),
    ),
    { numRuns: 80, seed: 4 },
  );
});

Deno.test("cubic Resize to random sizes gives what onnxruntime gives", async () => {
  await fc.assert(
    fc.asyncProperty(geometry, fc.boolean(), (shape, excludes) =>
      assertLikeRuntime(
        resizeModel(shape, { mode: "cubic", exclude_outside: excludes ? 1 : 0, cubic_coeff_a: { float: -0.5 } }),
        placeBound,
      )),
    { numRuns: 60, seed: 5 },
  );
});

Deno.test("antialiased Resize down gives what onnxruntime gives", async () => {
  const smaller = geometry.filter(({ extents, sizes, coordinates }) =>
    sizes.every((size, axis) => size <= extents[axis]) && coordinates === "half_pixel"
  );
  for (const mode of ["linear", "cubic"]) {
    await fc.assert(
      fc.asyncProperty(smaller, (shape) => assertLikeRuntime(resizeModel(shape, { mode, antialias: 1 }), placeBound)),
      { numRuns: 30, seed: 6 },
    );
  }
});

Deno.test("Resize by scales of opsets 10 to 13, and Upsample, give what onnxruntime gives", async () => {
  const scales = floatTensor([4], [1, 1, 2.5, 0.6]);
  const x = normalTensor([1, 2, 5, 8], 9);
  const none = floatTensor([0], []);
  for (const mode of ["nearest", "linear"]) {
    await assertLikeRuntime(
      { op: "Resize", opset: 10, attributes: { mode }, inputs: [x, scales], constants: [1] },
      placeBound,
    );
    await assertLikeRuntime({
      op: "Resize",
      opset: 11,
      attributes: { mode, coordinate_transformation_mode: "asymmetric", nearest_mode: "floor" },
      inputs: [x, none, scales],
      constants: [1, 2],
    }, placeBound);
    await assertLikeRuntime({
      op: "Upsample",
      opset: 9,
      attributes: { mode },
      inputs: [x, floatTensor([4], [1, 1, 2, 3])],
      constants: [1],
    }, placeBound);
  }
});

Deno.test("tf_crop_and_resize reads the crop and fills what lies outside", async () => {
  await assertLikeRuntime({
    op: "Resize",
    opset: 13,
    attributes: {
      mode: "linear",
      coordinate_transformation_mode: "tf_crop_and_resize",
      extrapolation_value: { float: 10 },
    },
    inputs: [
      normalTensor([1, 1, 6, 5], 2),
      floatTensor([8], [0, 0, 0.25, -0.2, 1, 1, 0.9, 1.3]),
      undefined,
      integerTensor([4], [1, 1, 4, 7]),
    ],
    constants: [1, 3],
  }, placeBound);
});

Deno.test("a policy that keeps the aspect ratio, over two of the axes, gives what onnxruntime gives", async () => {
  for (const policy of ["not_larger", "not_smaller"]) {
    await assertLikeRuntime({
      op: "Resize",
      opset: 18,
      attributes: { mode: "nearest", keep_aspect_ratio_policy: policy, axes: [2, 3] },
      inputs: [normalTensor([1, 2, 6, 9], 1), undefined, undefined, integerTensor([2], [4, 11])],
      constants: [3],
    }, { relative: 0, absolute: 0 });
  }
});

Deno.test("nearest Resize of integers takes entries as they are", async () => {
  await assertLikeRuntime({
    op: "Resize",
    opset: 13,
    attributes: { mode: "nearest" },
    inputs: [
      plainTensor("u8", [1, 1, 2, 2], Uint8Array.of(1, 2, 3, 255)),
      undefined,
      floatTensor([4], [1, 1, 2, 3]),
    ],
    constants: [2],
  }, { relative: 0, absolute: 0 });
});

Deno.test("the table of a doubling by halves of pixels holds the quarters", () => {
  const axis = { input: 3, output: 6, length: 6, scale: 2, coordinates: "half_pixel", crop: [0, 1] } as const;
  const table = resampleTable(axis, { kind: "linear", antialias: false, excludeOutside: false });
  deepEqual(table.weights, [0.25, 0.75, 0.75, 0.25, 0.25, 0.75, 0.75, 0.25, 0.25, 0.75, 0.75, 0.25]);
  deepEqual(table.indices, [0, 0, 0, 1, 0, 1, 1, 2, 1, 2, 2, 2]);
});
