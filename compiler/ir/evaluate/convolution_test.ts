import assert from "node:assert/strict";
import fc from "fast-check";
import { assertWithMutants } from "../../../tests/support/mutants.ts";
import { codesOf, eachIndex, entryAt, flatten, plainOf, sumBound } from "../../../tests/support/naive_tensor.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { runOp } from "../../../tests/support/run_op.ts";
import { int4, int8, uint8 } from "../../numeric/number_format.ts";
import type { QuantScheme } from "../../numeric/scheme.ts";
import type { ChannelLayout, OpAttributes } from "../node.ts";
import { floatTensor, plainTensor, type QuantizedTensor, type Tensor } from "../tensor.ts";
import { quantizedType, tensorType } from "../types.ts";

interface ConvCase {
  readonly layout: ChannelLayout;
  readonly batch: number;
  readonly groups: number;
  readonly perGroup: number;
  readonly outPerGroup: number;
  readonly spatial: readonly {
    extent: number;
    kernel: number;
    stride: number;
    dilation: number;
    before: number;
    after: number;
  }[];
  readonly hasBias: boolean;
  readonly seed: number;
}

const spatialAxis = fc.record({
  extent: fc.integer({ min: 1, max: 7 }),
  kernel: fc.integer({ min: 1, max: 3 }),
  stride: fc.integer({ min: 1, max: 3 }),
  dilation: fc.integer({ min: 1, max: 2 }),
  before: fc.nat({ max: 2 }),
  after: fc.nat({ max: 2 }),
}).filter(({ extent, kernel, dilation, before, after }) => extent + before + after >= dilation * (kernel - 1) + 1);

const convCases: fc.Arbitrary<ConvCase> = fc.record({
  layout: fc.constantFrom<ChannelLayout>("channelsFirst", "channelsLast"),
  batch: fc.integer({ min: 1, max: 2 }),
  groups: fc.integer({ min: 1, max: 3 }),
  perGroup: fc.integer({ min: 1, max: 3 }),
  outPerGroup: fc.integer({ min: 1, max: 3 }),
  spatial: fc.array(spatialAxis, { minLength: 1, maxLength: 3 }),
  hasBias: fc.boolean(),
  seed: fc.nat(),
});

function attributesOf(
  { layout, groups, spatial, hasBias }: ConvCase,
  result: OpAttributes["conv"]["result"] = { kind: "real" },
): OpAttributes["conv"] {
  return {
    layout,
    groups,
    hasBias,
    result,
    strides: spatial.map((axis) => axis.stride),
    dilations: spatial.map((axis) => axis.dilation),
    pads: [...spatial.map((axis) => axis.before), ...spatial.map((axis) => axis.after)],
  };
}

function arrange(layout: ChannelLayout, first: number, channels: number, spatial: readonly number[]): number[] {
  return layout === "channelsFirst" ? [first, channels, ...spatial] : [first, ...spatial, channels];
}

function inputShape({ layout, batch, groups, perGroup, spatial }: ConvCase): number[] {
  return arrange(layout, batch, groups * perGroup, spatial.map((axis) => axis.extent));
}

function weightShape({ layout, groups, perGroup, outPerGroup, spatial }: ConvCase): number[] {
  return arrange(layout, groups * outPerGroup, perGroup, spatial.map((axis) => axis.kernel));
}

/** Index of (sample, channel, position) in the case's layout. */
function place(layout: ChannelLayout, sample: number, channel: number, position: readonly number[]): number[] {
  return arrange(layout, sample, channel, position);
}

/** Sample, channel and spatial position of an index. */
function split(layout: ChannelLayout, index: readonly number[]): [number, number, readonly number[]] {
  return layout === "channelsFirst"
    ? [index[0], index[1], index.slice(2)]
    : [index[0], index[index.length - 1], index.slice(1, -1)];
}

type Terms = Iterable<{ readonly input: number[]; readonly weight: number[] }>;

/** The pairs of entries whose products sum to one output, straight from the definition. */
function* terms(of: ConvCase, index: readonly number[], mutant = "none"): Terms {
  const { layout, spatial, perGroup, outPerGroup } = of;
  const [sample, channel, position] = split(layout, index);
  const group = mutant === "groups ignored" ? 0 : Math.floor(channel / outPerGroup);
  for (let inner = 0; inner < perGroup; inner++) {
    for (const tap of eachIndex(spatial.map((axis) => axis.kernel))) {
      const source = position.map((start, axis) => {
        const { stride, dilation, before, after } = spatial[axis];
        const reach = mutant === "dilation ignored" ? tap[axis] : tap[axis] * dilation;
        return start * stride - (mutant === "padded at the end" ? after : before) + reach;
      });
      if (source.some((at, axis) => at < 0 || at >= spatial[axis].extent)) continue;
      const kernel = mutant === "kernel flipped" ? tap.map((at, axis) => spatial[axis].kernel - 1 - at) : tap;
      yield {
        input: place(layout, sample, group * perGroup + inner, source),
        weight: place(layout, channel, inner, kernel),
      };
    }
  }
}

Deno.test("conv is the sum over taps and channels of its definition, in both layouts and up to three axes", () => {
  assertWithMutants(
    convCases,
    ["groups ignored", "dilation ignored", "padded at the end", "kernel flipped", "bias dropped"],
    (of, mutant) => {
      const x = randomTensor(tensorType("f32", inputShape(of)), of.seed);
      const w = randomTensor(tensorType("f32", weightShape(of)), of.seed + 1);
      const bias = randomTensor(tensorType("f32", [of.groups * of.outPerGroup]), of.seed + 2);
      const [y] = runOp("conv", of.hasBias ? [x, w, bias] : [x, w], attributesOf(of));
      for (const index of eachIndex(y.shape)) {
        let sum = of.hasBias && mutant !== "bias dropped" ? entryAt(bias, [split(of.layout, index)[1]]) : 0;
        let magnitude = Math.abs(sum);
        let count = 1;
        for (const { input, weight } of terms(of, index, mutant)) {
          const product = entryAt(x, input) * entryAt(w, weight);
          sum += product;
          magnitude += Math.abs(product);
          count++;
        }
        assert(Math.abs(entryAt(y, index) - sum) <= sumBound(sum, magnitude, count), `at ${index}`);
      }
    },
  );
});

function scheme(format: QuantScheme["format"], block: QuantScheme["block"], zeroPoint: boolean): QuantScheme {
  return { format, block, step: "f32", zeroPoint, range: "static" };
}

function quantized(tensor: Tensor): QuantizedTensor {
  return tensor.kind === "quantized" ? tensor : assert.fail("plain");
}

function codeAt(tensor: QuantizedTensor, index: readonly number[]): number {
  return codesOf(tensor)[flatten(index, tensor.shape)];
}

Deno.test("conv of quantized operands: exact accumulators; padding stands at the zero point", () => {
  assertWithMutants(convCases, ["padding is code 0", "weight zero point dropped"], (of, mutant) => {
    const rank = of.spatial.length + 2;
    const xScheme = scheme(uint8, new Array<"all">(rank).fill("all"), true);
    const wScheme = scheme(int4, [1, ...new Array<"all">(rank - 1).fill("all")], true);
    const x = quantized(randomTensor(quantizedType(xScheme, inputShape(of)), of.seed));
    const w = quantized(randomTensor(quantizedType(wScheme, weightShape(of)), of.seed + 1));
    const bias = plainTensor("i32", [w.shape[0]], Int32Array.from({ length: w.shape[0] }, (_, index) => 100 * index));
    const inputs = of.hasBias ? [x, w, bias] : [x, w];
    const [y] = runOp("conv", inputs, attributesOf(of, { kind: "accumulator" }));
    const xZero = x.zeros?.data[0] ?? 0;
    for (const index of eachIndex(y.shape)) {
      const channel = split(of.layout, index)[1];
      const wZero = mutant === "weight zero point dropped" ? 0 : w.zeros?.data[channel] ?? 0;
      let sum = of.hasBias ? bias.data[channel] : 0;
      for (const { input, weight } of terms(of, index)) sum += (codeAt(x, input) - xZero) * (codeAt(w, weight) - wZero);
      if (mutant === "padding is code 0") sum += paddedTerms(of, index) * -xZero * (1 - wZero);
      assert.equal(entryAt(y, index), sum);
    }
  });
});

/** How many products of one output fall into padding. */
function paddedTerms(of: ConvCase, index: readonly number[]): number {
  const all = of.perGroup * of.spatial.reduce((product, axis) => product * axis.kernel, 1);
  return all - [...terms(of, index)].length;
}

Deno.test("real results of quantized conv: f32 steps per sample, channel block and output channel, blocks ascending", () => {
  const cases = fc.tuple(convCases, fc.constantFrom<1 | 2 | "all">(1, 2, "all"), fc.constantFrom<1 | "all">(1, "all"));
  assertWithMutants(
    cases,
    ["blocks descending", "steps of the first sample"],
    ([of, channelBlock, batchBlock], mutant) => {
      const channelAxis = of.layout === "channelsFirst" ? 1 : of.spatial.length + 1;
      const block = (first: 1 | "all", channels: 1 | 2 | "all") =>
        inputShape(of).map((_, axis) => (axis === 0 ? first : axis === channelAxis ? channels : "all" as const));
      const x = quantized(
        randomTensor(quantizedType(scheme(int8, block(batchBlock, channelBlock), true), inputShape(of)), of.seed),
      );
      const w = quantized(
        randomTensor(quantizedType(scheme(int8, block(1, channelBlock), false), weightShape(of)), of.seed + 1),
      );
      const [y] = runOp("conv", [x, w], attributesOf({ ...of, hasBias: false }));
      const stepOf = (tensor: QuantizedTensor, first: number, channel: number) => {
        const channels = channelBlock === "all" ? 0 : Math.floor(channel / channelBlock);
        const row = tensor.scheme.block[0] === "all" ? 0 : first;
        const index = tensor.steps.shape.map((_, axis) => (axis === 0 ? row : axis === channelAxis ? channels : 0));
        const at = flatten(index, tensor.steps.shape);
        return { at, step: tensor.steps.data[at], zero: tensor.zeros?.data[at] ?? 0 };
      };
      for (const index of eachIndex(y.shape)) {
        const [sample, channel] = split(of.layout, index);
        // Sums by pair of steps; ascending channels meet the pairs in ascending order.
        const sums = new Map<string, { scale: number; sum: number }>();
        for (const { input, weight } of terms(of, index)) {
          const left = stepOf(x, mutant === "steps of the first sample" ? 0 : sample, split(of.layout, input)[1]);
          const right = stepOf(w, channel, split(of.layout, weight)[1]);
          const key = `${left.at},${right.at}`;
          const entry = sums.get(key) ?? { scale: Math.fround(left.step * right.step), sum: 0 };
          entry.sum += (codeAt(x, input) - left.zero) * codeAt(w, weight);
          sums.set(key, entry);
        }
        const blocks = [...sums.values()];
        if (mutant === "blocks descending") blocks.reverse();
        const real = blocks.reduce(
          (total, { scale, sum }) => Math.fround(total + Math.fround(scale * Math.fround(sum))),
          0,
        );
        // Signs of zero are not told apart: a block that lies in padding altogether adds a zero of its own.
        assert(entryAt(y, index) === real, `at ${index}: ${entryAt(y, index)}, not ${real}`);
      }
    },
  );
});

Deno.test("conv of plain integers is exact", () => {
  const x = plainTensor("i32", [1, 1, 3], Int32Array.of(2 ** 30, -(2 ** 30), 7));
  const w = plainTensor("i32", [1, 1, 2], Int32Array.of(3, 2 ** 20));
  const attributes = {
    layout: "channelsFirst",
    groups: 1,
    hasBias: false,
    result: { kind: "real" },
    strides: [1],
    dilations: [1],
    pads: [0, 0],
  } as const;
  const [y] = runOp("conv", [x, w], attributes);
  const exact = [[0, 1], [1, 2]].map(([a, b]) =>
    Number(BigInt.asIntN(32, BigInt(x.data[a]) * 3n + BigInt(x.data[b]) * 2n ** 20n))
  );
  assert.deepEqual([...plainOf(y).data], exact);
});

Deno.test("convTranspose is the adjoint of conv", () => {
  // <conv(x), y> = <x, convTranspose(y)> for all x and y, with the same weights and windows.
  const cases = convCases.map((of) => ({ ...of, layout: "channelsFirst" as const, hasBias: false }));
  assertWithMutants(cases, ["kernel flipped", "padded at the end", "groups ignored"], (of, mutant) => {
    const x = randomTensor(tensorType("f32", inputShape(of)), of.seed);
    const w = randomTensor(tensorType("f32", weightShape(of)), of.seed + 1);
    const attributes = attributesOf(of);
    const [forward] = runOp("conv", [x, w], attributes);
    const y = randomTensor(tensorType("f32", forward.shape), of.seed + 2);
    // Rows that a stride leaves over are added at the end.
    const outputPadding = of.spatial.map(({ extent, kernel, stride, dilation, before, after }, axis) =>
      extent - ((forward.shape[axis + 2] - 1) * stride + dilation * (kernel - 1) + 1 - before - after)
    );
    const { strides, dilations, pads, groups } = attributes;
    const [back] = runOp("convTranspose", [y, w], { strides, dilations, pads, groups, outputPadding });
    assert.deepEqual(back.shape, x.shape);
    const sums = new Float64Array(plainOf(back).data.length);
    const magnitudes = new Float64Array(sums.length);
    for (const output of eachIndex(forward.shape)) {
      for (const { input, weight } of terms(of, output, mutant)) {
        const product = entryAt(y, output) * entryAt(w, weight);
        sums[flatten(input, back.shape)] += product;
        magnitudes[flatten(input, back.shape)] += Math.abs(product);
      }
    }
    const count = sums.length * plainOf(w).data.length;
    sums.forEach((sum, at) => {
      const value = Number(plainOf(back).data[at]);
      assert(Math.abs(value - sum) <= sumBound(sum, magnitudes[at], count), `at ${at}: ${value}, not ${sum}`);
    });
  });
});

Deno.test("convTranspose adds its bias and output padding", () => {
  const x = floatTensor([1, 1, 2], [1, 2]);
  const w = floatTensor([1, 2, 2], [1, 10, 3, 30]);
  const attributes = { strides: [3], dilations: [1], pads: [0, 0], outputPadding: [2], groups: 1 };
  const [y] = runOp("convTranspose", [x, w, floatTensor([2], [0.5, -0.5])], attributes);
  assert.deepEqual(y.shape, [1, 2, 7]);
  assert.deepEqual([...plainOf(y).data], [
    ...[1.5, 10.5, 0.5, 2.5, 20.5, 0.5, 0.5],
    ...[2.5, 29.5, -0.5, 5.5, 59.5, -0.5, -0.5],
  ]);
});
