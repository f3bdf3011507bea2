import assert from "node:assert/strict";
import { collect } from "../../diagnostics.ts";
import { formatName } from "../../numeric/number_format.ts";
import { dataTypes, type TensorProto } from "./proto.ts";
import { loadTensor } from "./tensor_data.ts";

function proto(dataType: number, dims: readonly number[], more: Partial<TensorProto>): TensorProto {
  return { name: "t", dataType, dims: dims.map(BigInt), stringCount: 0, ...more };
}

function load(dataType: number, dims: readonly number[], more: Partial<TensorProto>) {
  return loadTensor(proto(dataType, dims, more), "t");
}

function fault(dataType: number, dims: readonly number[], more: Partial<TensorProto>): string {
  const outcome = collect(() => load(dataType, dims, more));
  assert.equal(outcome.ok, false);
  assert.equal(outcome.diagnostics[0].node, "t");
  return outcome.diagnostics[0].message;
}

Deno.test("loadTensor reads raw bytes of every element", () => {
  const raw = Uint8Array.of(1, 0x3c, 2, 0x40, 3, 0, 4, 0);
  assert.deepEqual([...load(dataTypes.uint8, [8], { raw }).tensor.data], [1, 0x3c, 2, 0x40, 3, 0, 4, 0]);
  assert.deepEqual([...load(dataTypes.int16, [4], { raw }).tensor.data], [0x3c01, 0x4002, 3, 4]);
  assert.deepEqual([...load(dataTypes.int64, [1], { raw }).tensor.data], [0x0004_0003_4002_3c01n]);
  assert.deepEqual([...load(dataTypes.bool, [8], { raw }).tensor.data], [1, 1, 1, 1, 1, 0, 1, 0]);
  const half = Uint8Array.of(0, 0x3c, 0, 0xc0);
  assert.deepEqual([...load(dataTypes.float16, [2], { raw: half }).tensor.data], [1, -2]);
});

Deno.test("loadTensor reads the typed field of every element", () => {
  assert.deepEqual([...load(dataTypes.float, [2], { floats: Float32Array.of(1.5, -2) }).tensor.data], [1.5, -2]);
  assert.deepEqual([...load(dataTypes.double, [1], { doubles: Float64Array.of(0.1) }).tensor.data], [0.1]);
  assert.deepEqual([...load(dataTypes.int64, [1], { int64s: [-(2n ** 63n)] }).tensor.data], [-(2n ** 63n)]);
  assert.deepEqual([...load(dataTypes.uint64, [1], { uint64s: [2n ** 64n - 1n] }).tensor.data], [2n ** 64n - 1n]);
  assert.deepEqual([...load(dataTypes.uint32, [1], { uint64s: [2n ** 32n - 1n] }).tensor.data], [2 ** 32 - 1]);
  assert.deepEqual([...load(dataTypes.int8, [2], { int32s: [-128, 127] }).tensor.data], [-128, 127]);
  assert.deepEqual([...load(dataTypes.float16, [2], { int32s: [0x3c00, 0xc000] }).tensor.data], [1, -2]);
  assert.deepEqual([...load(dataTypes.bfloat16, [1], { int32s: [0x3f80] }).tensor.data], [0x3f80]);
});

Deno.test("loadTensor unpacks 4-bit and 2-bit codes, the first in the low bits", () => {
  const signed = load(dataTypes.int4, [3], { raw: Uint8Array.of(0x8f, 0x07) });
  assert.deepEqual([[...signed.tensor.data], signed.tensor.element], [[-1, -8, 7], "i8"]);
  const unsigned = load(dataTypes.uint4, [3], { int32s: [0x8f, 0x07] });
  assert.deepEqual([[...unsigned.tensor.data], unsigned.tensor.element], [[15, 8, 7], "u8"]);
  assert.deepEqual([...load(dataTypes.uint2, [5], { raw: Uint8Array.of(0b11100100, 0b10) }).tensor.data], [
    0,
    1,
    2,
    3,
    2,
  ]);
});

Deno.test("loadTensor keeps small floats as codes with their format", () => {
  const names = [dataTypes.float8e4m3fn, dataTypes.float8e4m3fnuz, dataTypes.float8e5m2, dataTypes.float8e5m2fnuz]
    .map((dataType) => {
      const { format, tensor } = load(dataType, [2], { raw: Uint8Array.of(0x38, 0xb8) });
      assert.deepEqual([...tensor.data], [0x38, 0xb8]);
      return format === undefined ? undefined : formatName(format);
    });
  assert.deepEqual(names, ["e4m3fn", "e4m3fnuz", "e5m2ieee", "e5m2fnuz"]);
});

Deno.test("loadTensor accepts an empty tensor without data", () => {
  assert.equal(load(dataTypes.float, [0, 4], {}).tensor.data.length, 0);
});

Deno.test("loadTensor reports data that does not fit the shape", () => {
  assert.match(fault(dataTypes.float, [2], { raw: new Uint8Array(7) }), /has 7 bytes, its shape needs 8/);
  assert.match(fault(dataTypes.float, [3], { floats: Float32Array.of(1) }), /has 1 values, its shape needs 3/);
  assert.match(fault(dataTypes.float, [3], {}), /has 0 values, its shape needs 3/);
  assert.match(fault(dataTypes.uint4, [5], { raw: new Uint8Array(2) }), /has 2 bytes, its shape needs 3/);
});

Deno.test("loadTensor reports shapes that no tensor can have", () => {
  assert.match(fault(dataTypes.float, [-1], {}), /shape \[-1\]/);
  assert.match(fault(dataTypes.float, [65536, 65536], {}), /shape \[65536,65536\]/);
  assert.match(fault(dataTypes.float, [0, 2 ** 40], {}), /which no tensor can have/);
});

Deno.test("loadTensor reports elements that are not supported", () => {
  assert.match(fault(dataTypes.string, [1], { stringCount: 1 }), /holds string, which is not supported/);
  assert.match(fault(dataTypes.complex64, [1], {}), /holds complex64/);
  assert.match(fault(99, [1], {}), /holds type 99/);
});
