import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { createCanvas } from "@napi-rs/canvas";
import fc from "fast-check";
import { DiagnosticError } from "../diagnostics.ts";
import { GraphBuilder } from "../ir/build.ts";
import { symbolic } from "../ir/extent.ts";
import type { Graph } from "../ir/graph.ts";
import { tensorType } from "../ir/types.ts";
import type { ElementType } from "../numeric/element.ts";
import { inFolder } from "../../tests/support/artifacts.ts";
import { type DataOptions, readDataSet } from "./dataset.ts";
import { parseImageOptions, plainImages } from "./images.ts";
import { readLabels } from "./labels.ts";
import { readNpy, readNpz } from "./npy.ts";
import { tokenSamples } from "./tokens.ts";

/** An .npy file as NumPy writes it. */
function npy(descriptor: string, shape: readonly number[], data: ArrayBufferView, fortran = false): Uint8Array {
  const order = fortran ? "True" : "False";
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const header = `{'descr': '${descriptor}', 'fortran_order': ${order}, 'shape': (${tuple}), }`;
  const padded = `${header.padEnd(64 * Math.ceil((header.length + 11) / 64) - 11)}\n`;
  const head = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, padded.length & 255, padded.length >> 8]);
  return new Uint8Array(Buffer.concat([
    head,
    Buffer.from(padded, "latin1"),
    Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  ]));
}

/** A zip archive of deflated members, enough of one for a reader. */
function zip(members: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const bodies: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, bytes] of Object.entries(members)) {
    const packed = deflateRawSync(bytes);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(8, 10);
    central.writeUInt32LE(packed.length, 20);
    central.writeUInt32LE(bytes.length, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(offset, 42);
    bodies.push(local, Buffer.from(name), packed);
    directory.push(central, Buffer.from(name));
    offset += 30 + name.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(members).length, 10);
  end.writeUInt32LE(offset, 16);
  return new Uint8Array(Buffer.concat([...bodies, ...directory, end]));
}

function graphWith(inputs: readonly (readonly [string, ElementType, Parameters<typeof tensorType>[1]])[]): Graph {
  const builder = new GraphBuilder("g");
  builder.symbol("seq", { min: 1, max: 8 });
  for (const [name, element, shape] of inputs) {
    builder.output(`${name}_out`, builder.input(name, tensorType(element, shape)));
  }
  return builder.finish();
}

const options: DataOptions = { images: plainImages, limit: 100, assets: {} };

async function samplesOf(path: string, graph: Graph, more: Partial<DataOptions> = {}) {
  const data = await readDataSet(path, graph, { ...options, ...more });
  assert.ok(data.kind === "samples");
  return data;
}

Deno.test("readNpy reads the elements, byte orders and axis orders that NumPy writes", () => {
  assert.deepEqual(readNpy(npy("<f4", [2, 2], Float32Array.of(1, 2, 3, 4)), "a"), {
    kind: "plain",
    element: "f32",
    shape: [2, 2],
    data: Float32Array.of(1, 2, 3, 4),
  });
  assert.deepEqual(
    readNpy(npy("<f4", [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6), true), "a").data,
    Float32Array.of(1, 3, 5, 2, 4, 6),
  );
  assert.deepEqual(readNpy(npy(">i2", [2], Uint8Array.of(1, 2, 255, 254)), "a").data, Int16Array.of(258, -2));
  assert.deepEqual(readNpy(npy("|b1", [3], Uint8Array.of(1, 0, 1)), "a").element, "bool");
  assert.deepEqual(readNpy(npy("<i8", [], BigInt64Array.of(-5n)), "a").shape, []);
});

Deno.test("damaged arrays and archives give diagnostics, never another error", () => {
  const whole = [npy("<f4", [4], Float32Array.of(1, 2, 3, 4)), zip({ "x.npy": npy("|u1", [2], Uint8Array.of(1, 2)) })];
  fc.assert(fc.property(fc.constantFrom(0, 1), fc.nat(300), fc.nat(255), fc.boolean(), (which, place, byte, cut) => {
    const bytes = whole[which].slice();
    const changed = cut ? bytes.slice(0, place % bytes.length) : bytes;
    if (!cut) changed[place % bytes.length] = byte;
    try {
      if (which === 0) readNpy(changed, "x");
      else readNpz(changed, "x");
    } catch (error) {
      assert.ok(error instanceof DiagnosticError, String(error));
    }
  }));
});

Deno.test("samples are cut along the leading axis, by name, and converted to the input's element", () =>
  inFolder(async (folder) => {
    const path = join(folder, "data.npz");
    await writeFile(
      path,
      zip({
        "x.npy": npy("|u1", [3, 2, 2], Uint8Array.from({ length: 12 }, (_, index) => index)),
        "n.npy": npy("<i4", [3], Int32Array.of(7, 8, 9)),
      }),
    );
    const graph = graphWith([["x", "f32", [1, 2, 2]], ["n", "i64", [1]]]);
    const { samples } = await samplesOf(path, graph);
    assert.equal(samples.length, 3);
    assert.deepEqual(samples[1].x, {
      kind: "plain",
      element: "f32",
      shape: [1, 2, 2],
      data: Float32Array.of(4, 5, 6, 7),
    });
    assert.deepEqual(samples[2].n.data, BigInt64Array.of(9n));
    assert.equal((await samplesOf(path, graph, { limit: 2 })).samples.length, 2);
    const wrong = graphWith([["x", "f32", [1, 3, 3]], ["n", "i64", [1]]]);
    await assert.rejects(samplesOf(path, wrong), /input "x" is u8\[3,2,2\], wants f32\[1,3,3\]/);
    await assert.rejects(samplesOf(path, graphWith([["y", "f32", [1]], ["n", "i64", [1]]])), /no array for "y"/);
  }));

Deno.test("a folder of arrays is one set, and a dynamic axis takes any length in its range", () =>
  inFolder(async (folder) => {
    await writeFile(join(folder, "input_0.npy"), npy("<f4", [5, 3], new Float32Array(15)));
    await writeFile(join(folder, "input_1.npy"), npy("<f4", [1], Float32Array.of(2)));
    const graph = graphWith([["x", "f32", [symbolic("seq"), 3]], ["scale", "f32", [1]]]);
    const { samples } = await samplesOf(folder, graph);
    assert.deepEqual([samples.length, samples[0].x.shape], [1, [5, 3]]);
  }));

Deno.test("raw data is described by a small JSON file: shape, scale, mean, order of axes, labels", () =>
  inFolder(async (folder) => {
    await writeFile(join(folder, "pixels.bin"), Uint8Array.of(0, 51, 102, 153, 204, 255, 10, 20, 30, 40, 50, 60));
    await writeFile(join(folder, "labels.bin"), Uint8Array.of(4, 2));
    const path = join(folder, "set.json");
    const x = {
      file: "pixels.bin",
      element: "u8",
      shape: [1, 2, 3],
      permute: [2, 0, 1],
      scale: 1 / 255,
      mean: [0, 0.5, 0],
    };
    await writeFile(path, JSON.stringify({ inputs: { x }, labels: { file: "labels.bin", element: "u8" } }));
    const { samples, labels } = await samplesOf(path, graphWith([["x", "f32", [1, 3, 1, 2]]]));
    assert.deepEqual(labels, [4, 2]);
    const wanted = [0, 0.6, -0.3, 0.3, 0.4, 1];
    const actual = samples[0].x.data;
    wanted.forEach((value, index) => assert.ok(Math.abs(Number(actual[index]) - value) < 1e-6));
    await writeFile(path, JSON.stringify({ inputs: { x: { ...x, permute: [0, 0, 1] } } }));
    await assert.rejects(samplesOf(path, graphWith([["x", "f32", [1, 3, 1, 2]]])), /permute" is not an order/);
    await writeFile(path, "{");
    await assert.rejects(samplesOf(path, graphWith([["x", "f32", [1]]])), /it is not JSON/);
  }));

Deno.test("images are fitted and normalized into the input's layout; tables of labels follow their names", () =>
  inFolder(async (folder) => {
    const images = join(folder, "images");
    await mkdir(images);
    for (const [name, colour] of [["b.png", "rgb(255,0,51)"], ["a.png", "rgb(0,255,0)"]]) {
      const canvas = createCanvas(8, 4);
      const context = canvas.getContext("2d");
      context.fillStyle = colour;
      context.fillRect(0, 0, 8, 4);
      await writeFile(join(images, name), canvas.toBuffer("image/png"));
    }
    const table = join(folder, "labels.tsv");
    await writeFile(table, "file\tname\tindex\nb.png\tfox\t12\na.png\tcat\t3\n");
    const first = graphWith([["x", "f32", [1, 3, 2, 2]]]);
    const { samples, labels } = await samplesOf(images, first, { labels: table });
    assert.deepEqual(labels, [3, 12]);
    assert.deepEqual(samples[0].x.data, Float32Array.of(0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0));
    const last = graphWith([["x", "f32", [1, 2, 2, 3]]]);
    const settings = parseImageOptions("scale=1/51,mean=1:0:0,order=bgr,fit=stretch");
    assert.ok(settings !== undefined);
    const changed = await samplesOf(images, last, { images: settings });
    assert.deepEqual(changed.samples[1].x.data.slice(0, 3), Float32Array.of(0, 0, 5));
    assert.equal(parseImageOptions("std=0"), undefined);
    assert.throws(() => readLabels(table, ["z.png"]), /it has no row for "z.png"/);
  }));

Deno.test("token ids come from .u16 files and are cut into windows of the model's longest call", () =>
  inFolder(async (folder) => {
    const path = join(folder, "ids.u16");
    await writeFile(path, new Uint8Array(Uint16Array.from({ length: 20 }, (_, index) => index).buffer));
    const graph = graphWith([["ids", "i64", [1, symbolic("seq")]]]);
    const data = await readDataSet(path, graph, options);
    assert.ok(data.kind === "tokens");
    const samples = tokenSamples(graph, data.ids, 256, 100);
    assert.deepEqual(samples.map(({ ids }) => ids.shape), [[1, 8], [1, 8]]);
    assert.deepEqual(samples[1].ids.data, BigInt64Array.from({ length: 8 }, (_, index) => BigInt(index + 8)));
    const text = join(folder, "story.txt");
    await writeFile(text, "Once upon a time");
    await assert.rejects(readDataSet(text, graph, options), /is text, and the model has no tokenizer/);
  }));
