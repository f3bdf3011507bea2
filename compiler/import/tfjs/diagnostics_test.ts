import assert from "node:assert/strict";
import { collect, type Diagnostic } from "../../diagnostics.ts";
import { bytesSource } from "../files.ts";
import type { ImportOptions } from "../model.ts";
import { importTfjsSource } from "./mod.ts";

function importJson(json: unknown, weights = new Uint8Array(0), options: ImportOptions = { bind: {} }) {
  const bytes = new TextEncoder().encode(JSON.stringify(json));
  const outcome = collect(() => importTfjsSource(bytes, "model.json", (path) => bytesSource(path, weights), options));
  return outcome.ok ? outcome.value : outcome;
}

function faults(json: unknown, weights?: Uint8Array<ArrayBuffer>): readonly Diagnostic[] {
  const outcome = importJson(json, weights);
  assert.equal(outcome.ok, false);
  return outcome.diagnostics;
}

function placeholder(...shape: readonly number[]) {
  const dim = shape.map((size) => ({ size: String(size) }));
  return { name: "x", op: "Placeholder", attr: { dtype: { type: "DT_FLOAT" }, shape: { shape: { dim } } } };
}

function graph(...node: readonly unknown[]) {
  return { format: "graph-model", modelTopology: { node }, weightsManifest: [] };
}

Deno.test("importTfjs lists every unknown op once, with its nodes", () => {
  const node = (name: string, op: string, ...input: readonly string[]) => ({ name, op, input });
  const diagnostics = faults(
    graph(placeholder(1, 2), node("a", "Reluu", "x"), node("b", "Foo", "a"), node("c", "Reluu", "b")),
  );
  assert.deepEqual(diagnostics.map(({ code, message, node: at, help }) => [code, message, at, help]), [
    ["Q0470", 'Op "Reluu" is not supported', "a", 'Did you mean "Relu"?'],
    ["Q0470", 'Op "Foo" is not supported', "b", undefined],
  ]);
  assert.deepEqual(diagnostics[0].notes, ["at a, c"]);
});

Deno.test("importTfjs refuses cycles, missing nodes and missing weights", () => {
  const cycle = graph({ name: "a", op: "Relu", input: ["b"] }, { name: "b", op: "Relu", input: ["a"] }, {
    name: "c",
    op: "Relu",
    input: ["b"],
  });
  assert.match(faults(cycle)[0].message, /depends on itself/);
  assert.match(faults(graph({ name: "a", op: "Relu", input: ["z"] }))[0].message, /There is no node "z"/);
  const constant = graph(placeholder(1, 2), { name: "k", op: "Const" }, { name: "y", op: "Add", input: ["x", "k"] });
  assert.match(faults(constant)[0].message, /has no weight of its name/);
});

Deno.test("importTfjs says how to bind open axes", () => {
  const open = graph(placeholder(-1, -1, 4), { name: "y", op: "Relu", input: ["x"] });
  const [fault] = faults(open);
  assert.deepEqual([fault.code, fault.help], ["Q0465", 'Bind "x.1" to a number or a range']);
  const bound = importJson(open, undefined, { bind: { batch: 2, "x.1": { min: 1, max: 9 } } });
  assert.ok(bound.ok);
  const { graph: imported } = bound.value;
  assert.deepEqual(imported.symbols, { x_1: { min: 1, max: 9 } });
  const wrong = importJson(open, undefined, { bind: { "x.1": 3, bach: 2 } });
  assert.deepEqual(wrong.diagnostics.map(({ node, help }) => [node, help]), [["bach", 'Did you mean "batch"?']]);
});

Deno.test("importTfjs refuses weights that the files do not hold", () => {
  const manifest = (entry: Readonly<Record<string, unknown>>, path = "w.bin") => ({
    ...graph(placeholder(1, 2), { name: "y", op: "Relu", input: ["x"] }),
    weightsManifest: [{ paths: [path], weights: [{ name: "w", shape: [2], dtype: "float32", ...entry }] }],
  });
  const message = (json: unknown, length: number) => faults(json, new Uint8Array(length))[0].message;
  assert.match(message(manifest({}), 7), /takes bytes 0\.\.8, the files have 7/);
  assert.match(message(manifest({}), 9), /have 9 bytes, the weights take 8/);
  assert.match(message(manifest({ dtype: "float99" }), 8), /is float99/);
  assert.match(message(manifest({ shape: [-1] }), 8), /the shape \[-1\]/);
  assert.match(message(manifest({ quantization: { dtype: "uint4" } }), 8), /which is not known/);
  assert.match(message(manifest({ dtype: "string" }), 6), /end inside number/);
  assert.match(message(manifest({}, "../../secret"), 8), /wants a path below its own folder/);
});

Deno.test("importTfjs refuses what is no model, and layers that it does not know", () => {
  assert.equal(faults({ hello: 1 })[0].code, "Q0460");
  assert.equal(faults({ modelTopology: {} })[0].code, "Q0460");
  const layer = (name: string, className: string, from?: string) => ({
    class_name: className,
    config: { name, batch_input_shape: [null, 4] },
    name,
    inbound_nodes: from === undefined ? [] : [[[from, 0, 0, {}]]],
  });
  const layers = [layer("x", "InputLayer"), layer("a", "Dens", "x"), layer("b", "Magic", "a")];
  const config = { name: "m", layers, input_layers: [["x", 0, 0]], output_layers: [["b", 0, 0]] };
  const model = { modelTopology: { model_config: { class_name: "Functional", config } }, weightsManifest: [] };
  assert.deepEqual(faults(model).map(({ code, node, help }) => [code, node, help]), [
    ["Q0466", "a", 'Did you mean "Dense"?'],
    ["Q0466", "b", undefined],
  ]);
});
