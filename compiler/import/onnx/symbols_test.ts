import assert from "node:assert/strict";
import { symbolic } from "../../ir/extent.ts";
import type { DimensionProto, ValueInfoProto } from "./proto.ts";
import { bindInputs } from "./symbols.ts";

function input(name: string, ...shape: readonly (number | string | null)[]): ValueInfoProto {
  const dimensions = shape.map((extent): DimensionProto =>
    extent === null ? undefined : typeof extent === "number" ? { value: BigInt(extent) } : { name: extent }
  );
  return { name, kind: "tensor", elementType: 1, shape: dimensions };
}

Deno.test("names of the model and input.axis bind axes", () => {
  const bound = bindInputs([input("x", "N", 3, "h", null)], { N: 2, h: 48, "x.3": 320 });
  assert.deepEqual(bound.diagnostics, []);
  assert.deepEqual(bound.shapes.get("x"), [2, 3, 48, 320]);
});

Deno.test("a range stays symbolic under the name seq, whatever the model calls it", () => {
  const bound = bindInputs([input("ids", "batch", "sequence_length")], { sequence_length: { min: 1, max: 256 } });
  assert.deepEqual(bound.shapes.get("ids"), [1, symbolic("seq")]);
  assert.deepEqual(bound.symbols, { seq: { min: 1, max: 256 } });
  assert.deepEqual(bound.sources, { seq: "sequence_length" });
  assert.deepEqual(bound.diagnostics.map(({ code, severity }) => [code, severity]), [["Q1043", "note"]]);
});

Deno.test("further ranges keep their own names; reserved ones are renamed", () => {
  const bound = bindInputs([input("x", 1, "tokens", "past")], {
    tokens: { min: 1, max: 8 },
    past: { min: 0, max: 9 },
  });
  assert.deepEqual(bound.shapes.get("x"), [1, symbolic("seq"), symbolic("past_axis")]);
});

Deno.test("a range of one value is that value", () => {
  const bound = bindInputs([input("x", "n", "t")], { t: { min: 4, max: 4 } });
  assert.deepEqual(bound.shapes.get("x"), [1, 4]);
  assert.deepEqual(bound.symbols, {});
});

Deno.test("formulas over bound names are computed", () => {
  const bound = bindInputs([input("mask", 1, "past + seq")], { past: 3, seq: { min: 1, max: 8 } });
  assert.deepEqual(bound.shapes.get("mask"), [1, symbolic("seq", 1, 3)]);
});

Deno.test("batch, seq, height and width stand for the axes that they clearly mean", () => {
  const image = bindInputs([input("x", null, 3, null, null)], { batch: 2, height: 48, width: 320 });
  assert.deepEqual([image.diagnostics, image.shapes.get("x")], [[], [2, 3, 48, 320]]);
  const text = bindInputs([input("ids", "b", "sequence")], { seq: 16 });
  assert.deepEqual(text.shapes.get("ids"), [1, 16]);
});

Deno.test("unbound axes are one error that lists them and offers the flag", () => {
  const { diagnostics } = bindInputs([input("x", "N", "t", null)], {});
  const [fault] = diagnostics.filter(({ severity }) => severity === "error");
  assert.equal(fault.code, "Q1040");
  assert.match(fault.message, /"t", "x.2"/);
  assert.match(fault.help ?? "", /--bind t=N,x.2=N/);
});

Deno.test("a name that the model does not have is an error with the nearest one", () => {
  const { diagnostics } = bindInputs([input("x", "N", "width")], { wdth: 320 });
  const fault = diagnostics.find(({ code }) => code === "Q1042");
  assert.equal(fault?.help, `Did you mean "width"?`);
});

Deno.test("bindings that no axis can have, or that contradict the model, are errors", () => {
  const codes = (bind: Parameters<typeof bindInputs>[1]) =>
    bindInputs([input("x", "n", 4)], bind).diagnostics.filter(({ severity }) => severity === "error")
      .map(({ code }) => code);
  assert.deepEqual(codes({ n: -1 }), ["Q1041"]);
  assert.deepEqual(codes({ n: 1.5 }), ["Q1041"]);
  assert.deepEqual(codes({ n: { min: 5, max: 2 } }), ["Q1041"]);
  assert.deepEqual(codes({ n: 1, "x.1": 5 }), ["Q1041"]);
  assert.deepEqual(codes({ n: 1, "x.1": 4 }), []);
});
