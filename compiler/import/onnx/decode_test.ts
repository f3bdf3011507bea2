import assert from "node:assert/strict";
import fc from "fast-check";
import onnxProto from "onnx-proto";
import { floatTensor } from "../../ir/tensor.ts";
import { onnxBytes } from "../../../tests/support/onnx_builder.ts";
import { decodeModel, decodeTensorProto } from "./decode.ts";

const small = onnxBytes({
  inputs: [{ name: "x", shape: ["N", 3] }],
  outputs: ["y"],
  initializers: { w: floatTensor([3], [1, 2, 3]) },
  nodes: [
    { op: "Mul", inputs: ["x", "w"], outputs: ["m"], name: "scale" },
    { op: "LeakyRelu", inputs: ["m"], outputs: ["y"], attributes: { alpha: { float: 0.25 } } },
  ],
});

Deno.test("decodeModel reads nodes, attributes, initializers, shapes and opsets", () => {
  const outcome = decodeModel(small);
  assert.ok(outcome.ok);
  const { graph, opsets, irVersion, producer } = outcome.value;
  assert.deepEqual([irVersion, producer], [8, "test"]);
  assert.deepEqual(opsets[0], { domain: "", version: 17 });
  assert.deepEqual(graph?.nodes.map(({ opType, name, inputs }) => [opType, name, inputs]), [
    ["Mul", "scale", ["x", "w"]],
    ["LeakyRelu", "", ["m"]],
  ]);
  assert.equal(graph?.nodes[1].attributes[0].float, 0.25);
  assert.deepEqual(graph?.inputs[0].shape, [{ name: "N" }, { value: 3n }]);
  assert.deepEqual(graph?.initializers[0].dims, [3n]);
});

Deno.test("decodeModel gives the place where a cut file ends", () => {
  const outcome = decodeModel(small.subarray(0, small.length - 30));
  assert.equal(outcome.ok, false);
  assert.match(outcome.diagnostics[0].message, /^Not a readable ONNX file: .* at byte \d+ in (the model|graph)/);
});

Deno.test("decodeModel yields a model or a diagnostic for every prefix of a file", () => {
  for (let length = 0; length < small.length; length++) {
    const outcome = decodeModel(small.subarray(0, length));
    if (!outcome.ok) assert.equal(outcome.diagnostics[0].code, "Q1001");
  }
});

Deno.test("decodeModel never throws on random bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const outcome = decodeModel(bytes);
      return outcome.ok || outcome.diagnostics.every(({ code }) => code === "Q1001");
    }),
    { numRuns: 500 },
  );
});

Deno.test("decodeModel bounds how deep graphs nest", () => {
  let graph = onnxProto.onnx.GraphProto.create({ name: "leaf" });
  for (let depth = 0; depth < 100; depth++) {
    const attribute = [{ name: "body", type: onnxProto.onnx.AttributeProto.AttributeType.GRAPH, g: graph }];
    graph = onnxProto.onnx.GraphProto.create({ name: "g", node: [{ opType: "If", attribute }] });
  }
  const bytes = onnxProto.onnx.ModelProto.encode({ irVersion: 8, graph }).finish();
  const outcome = decodeModel(bytes);
  assert.equal(outcome.ok, false);
  assert.match(outcome.diagnostics[0].message, /nest deeper than 64/);
});

Deno.test("decodeTensorProto reads packed and unpacked numbers alike", () => {
  // int64_data (field 7): packed [1, -1], then unpacked 5; dims (field 1) unpacked 3; data_type int64.
  const minusOne = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
  const bytes = Uint8Array.from([0x08, 3, 0x10, 7, 0x3a, 11, 1, ...minusOne, 0x38, 5]);
  const outcome = decodeTensorProto(bytes);
  assert.ok(outcome.ok);
  assert.deepEqual(outcome.value.int64s, [1n, -1n, 5n]);
  assert.deepEqual(outcome.value.dims, [3n]);
});
