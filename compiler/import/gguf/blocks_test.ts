import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { decodeCode } from "../../numeric/number_format.ts";
import { sizeOf, type Tensor } from "../../ir/tensor.ts";
import { sharedTest } from "../../../tests/support/models.ts";
import { openFile } from "../files.ts";
import { blockLayouts, decodeBlocks } from "./blocks.ts";
import { readGgufHeader } from "./header.ts";

/** x = (code - zero) * step + offset with every operation rounded to f32, straight from the definition. */
function decoded(tensor: Tensor): Float32Array {
  if (tensor.kind === "plain") return Float32Array.from(tensor.data, Number);
  const block = tensor.scheme.block[tensor.scheme.block.length - 1];
  assert.ok(typeof block === "number");
  const { codes, steps, offsets, scheme } = tensor;
  return Float32Array.from({ length: sizeOf(tensor.shape) }, (_, index) => {
    const place = Math.floor(index / block);
    const product = Math.fround(decodeCode(scheme.format, Number(codes.data[index])) * steps.data[place]);
    return offsets === undefined ? product : Math.fround(product + offsets.data[place]);
  });
}

sharedTest("decodeBlocks gives ggml's values bit for bit", ["gguf-types/types.gguf"], async ([path]) => {
  const source = openFile(path);
  try {
    const { tensors } = await readGgufHeader(source);
    const seen: string[] = [];
    for (const tensor of tensors.values()) {
      if (tensor.length === undefined) continue;
      const values = decoded(decodeBlocks(tensor.type, tensor.shape, source.read(tensor.offset, tensor.length)));
      const wanted = readFileSync(join(dirname(path), `${tensor.type.toLowerCase()}_f32.bin`));
      assert.deepEqual(new Uint8Array(values.buffer), new Uint8Array(wanted), tensor.type);
      seen.push(tensor.type);
    }
    assert.deepEqual(seen.sort(), ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]);
  } finally {
    source.close();
  }
});

Deno.test("decodeBlocks keeps the integers, steps and offsets of a block", () => {
  const bytes = new Uint8Array(blockLayouts.Q5_1.bytes);
  const view = new DataView(bytes.buffer);
  view.setFloat16(0, 0.5, true);
  view.setFloat16(2, -3.25, true);
  // Fifth bits of codes 0 and 31; nibbles count up.
  view.setUint32(4, 0x80000001, true);
  for (let index = 0; index < 16; index++) bytes[8 + index] = index | (15 - index) << 4;
  const tensor = decodeBlocks("Q5_1", [1, 32], bytes);
  assert.ok(tensor.kind === "quantized");
  const nibbles = [...Array.from({ length: 16 }, (_, index) => index), ...Array.from({ length: 16 }, (_, i) => 15 - i)];
  nibbles[0] += 16;
  nibbles[31] += 16;
  assert.deepEqual([...tensor.codes.data], nibbles);
  assert.deepEqual([...tensor.steps.data], [0.5]);
  assert.deepEqual([...(tensor.offsets?.data ?? [])], [-3.25]);
  assert.equal(tensor.scheme.offset, true);
  assert.equal(tensor.scheme.zeroPoint, false);
});

Deno.test("decodeBlocks widens F16 and BF16 exactly", () => {
  const half = decodeBlocks("F16", [2], new Uint8Array(Float16Array.of(1.5, -6.103515625e-5).buffer));
  assert.deepEqual([...half.kind === "plain" ? half.data : []], [1.5, -6.103515625e-5]);
  const brain = decodeBlocks("BF16", [2], new Uint8Array(Uint16Array.of(0x3fc0, 0xff80).buffer));
  assert.deepEqual([...brain.kind === "plain" ? brain.data : []], [1.5, -Infinity]);
});
