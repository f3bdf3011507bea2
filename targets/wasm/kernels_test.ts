import assert from "node:assert/strict";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { cast, compare, input, literal, select, unary } from "../../compiler/ir/expression.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { OpAttributes, ValueName } from "../../compiler/ir/node.ts";
import { plainTensor } from "../../compiler/ir/tensor.ts";
import { quantizedType, tensorType } from "../../compiler/ir/types.ts";
import { int4, int8, intFormat, type NumberFormat } from "../../compiler/numeric/number_format.ts";
import { perToken, type QuantScheme } from "../../compiler/numeric/scheme.ts";
import { uniform } from "../../tests/support/random.ts";
import { randomFloats, randomQuantized } from "../../tests/support/wasm_kernels.ts";
import { wasmVariants } from "./kernel.ts";
import { formOf, kernelFamilies } from "./kernels.ts";
import { mathLibrary } from "./math/library.ts";
import { assemble, moduleText } from "./module.ts";
import { lowerWasm } from "./program.ts";
import { canFuseEpilogue, selectKernel } from "./select.ts";

const random = uniform(1);

function scheme(format: NumberFormat, rank: number, perRow: boolean): QuantScheme {
  const block = Array.from({ length: rank }, (_, axis) => (perRow && axis === 0 ? 1 : "all" as const));
  return { format, block, step: "f32", zeroPoint: false, range: "static" };
}

function graphOf(body: (builder: GraphBuilder) => ValueName): Graph {
  const builder = new GraphBuilder("form");
  builder.output("y", body(builder));
  return builder.finish("quant");
}

const product: OpAttributes["matmul"] = { transposeB: true, hasBias: false, result: { kind: "real" } };

function matmul(left: "f32" | "int8", right: "f32" | NumberFormat): Graph {
  return graphOf((builder) => {
    const x = builder.input(
      "x",
      left === "f32" ? tensorType("f32", [3, 16]) : quantizedType(scheme(int8, 2, true), [3, 16]),
    );
    const w = right === "f32"
      ? randomFloats(random, [8, 16])
      : randomQuantized(random, [8, 16], scheme(right, 2, true));
    return builder.add("matmul", [x, builder.constant(w)], product);
  });
}

function conv(left: "f32" | "int8", right: "f32" | NumberFormat, kernel: number, groups = 1): Graph {
  return graphOf((builder) => {
    const shape = [1, 4, 4, 8];
    const x = builder.input(
      "x",
      left === "f32" ? tensorType("f32", shape) : quantizedType(scheme(int8, 4, false), shape),
    );
    const wShape = [8, kernel, kernel, 8 / groups];
    const w = right === "f32" ? randomFloats(random, wShape) : randomQuantized(random, wShape, scheme(right, 4, true));
    return builder.add("conv", [x, builder.constant(w)], {
      strides: [1, 1],
      dilations: [1, 1],
      pads: [0, 0, 0, 0],
      layout: "channelsLast",
      groups,
      hasBias: false,
      result: { kind: "real" },
    });
  });
}

/** One graph for every form of the table. */
const samples: Readonly<Record<string, () => Graph>> = {
  "matmul.f32": () => matmul("f32", "f32"),
  "matmul.int8": () => matmul("int8", int8),
  "matmul.int4": () => matmul("int8", int4),
  "matmul.weights": () => matmul("f32", int4),
  "matmul.packed": () => matmul("int8", intFormat(3, true)),
  "matmul.packed-weights": () => matmul("f32", intFormat(3, true)),
  "matmul.dynamic": () =>
    graphOf((builder) => {
      const a = builder.input("a", tensorType("f32", [2, 5, 4]));
      return builder.add("matmul", [a, builder.input("b", tensorType("f32", [2, 6, 4]))], product);
    }),
  "conv.f32": () => conv("f32", "f32", 3),
  "conv.int8": () => conv("int8", int8, 3),
  "conv.int4": () => conv("int8", int4, 1),
  "conv.weights": () => conv("f32", int4, 1),
  "conv.packed": () => conv("int8", intFormat(3, true), 3),
  "conv.packed-weights": () => conv("f32", intFormat(3, true), 1),
  "conv.depthwise": () => conv("f32", "f32", 3, 8),
  "attention.f32": () =>
    graphOf((builder) => {
      const values = ["q", "k", "v"].map((name) => builder.input(name, tensorType("f32", [1, 3, 2, 4])));
      return builder.add("attention", values, { scale: 1, causal: true, softcap: 0, window: 0 });
    }),
  "attention.codes": () =>
    graphOf((builder) => {
      const q = builder.input("q", tensorType("f32", [1, 3, 2, 4]));
      const codes = { ...scheme(int8, 4, false), block: perToken(4) };
      const [k, v] = ["k", "v"].map((name) => builder.input(name, quantizedType(codes, [1, 3, 2, 4])));
      return builder.add("attention", [q, k, v], { scale: 1, causal: true, softcap: 0, window: 0 });
    }),
  "norm.f32": () =>
    graphOf((builder) => {
      const gain = builder.constant(randomFloats(random, [16]));
      const x = builder.input("x", tensorType("f32", [3, 16]));
      const y = builder.add("norm", [x, gain], { kind: "rms", axis: 1, epsilon: 1e-5 });
      return builder.map(cast("i8", unary("round", input(0))), [y]);
    }),
  "transform.f32": () =>
    graphOf((builder) => {
      const core = builder.constant(randomFloats(random, [3, 3]));
      return builder.add("transform", [builder.input("x", tensorType("f32", [2, 24])), core], {
        doublings: 3,
        stride: 1,
      });
    }),
  "gather.rows": () =>
    graphOf((builder) => {
      const table = builder.constant(randomQuantized(random, [6, 8], scheme(int8, 2, true)));
      return builder.add("gather", [table, builder.constant(plainTensor("i32", [2], Int32Array.of(1, 4)))], {
        axis: 0,
      });
    }),
};

const forms = kernelFamilies.flatMap((family) => family.forms);

for (const form of forms) {
  Deno.test(`kernel ${form.name} is chosen, assembles in every variant and says what it computes`, () => {
    const graph = samples[form.name]?.();
    assert.ok(graph !== undefined, `no sample of ${form.name}`);
    const program = lowerWasm(graph, { canFuseEpilogue, selectKernel });
    const chosen = program.steps.map(({ kernel }) => kernel).find(({ id }) => formOf(id) === form);
    assert.ok(chosen !== undefined, `chosen instead: ${program.steps.map(({ kernel }) => kernel.id)}`);
    const texts = wasmVariants.map((variant) => chosen.wat("kernel", variant));
    for (const text of texts) assert.match(text, /^\(func \$kernel\n {2};; /);
    assert.equal(texts[0] !== texts[1], form.relaxed !== "none", "variants differ");
    for (const variant of wasmVariants) assemble(moduleText(program, variant, mathLibrary), variant);
  });
}

Deno.test("kernel ids name their form, and loops have none", () => {
  assert.equal(formOf("matmul.f32(m=1)")?.name, "matmul.f32");
  assert.equal(formOf("loops.map.123"), undefined);
  assert.equal(new Set(forms.map((form) => form.name)).size, forms.length);
});

Deno.test("equal kernels share an id and different parameters do not", () => {
  const idOf = (graph: Graph): string => lowerWasm(graph, { canFuseEpilogue, selectKernel }).steps[0].kernel.id;
  assert.equal(idOf(matmul("f32", "f32")), idOf(matmul("f32", "f32")));
  const ids = Object.values(samples).map((sample) => idOf(sample()));
  assert.equal(new Set(ids).size, ids.length);
});

Deno.test("a map that tuned kernels cannot print keeps its own kernel, and the product keeps its tuned one", () => {
  const graph = graphOf((builder) => {
    const x = builder.input("x", tensorType("f32", [3, 16]));
    const y = builder.add("matmul", [x, builder.constant(randomFloats(random, [8, 16]))], product);
    const positive = builder.map(compare("gt", input(0), literal(0)), [builder.map(unary("neg", input(0)), [y])]);
    return builder.map(cast("f64", select(input(0), literal(1), literal(2))), [positive]);
  });
  const ids = lowerWasm(graph, { canFuseEpilogue, selectKernel }).steps.map(({ kernel }) => kernel.id);
  assert.equal(formOf(ids[0])?.name, "matmul.f32");
  assert.match(ids[0], /epilogue=neg\(x\)/);
  assert.equal(formOf(ids[1]), undefined);
});

Deno.test("products without entries go to the loop form", () => {
  const empty = (rows: number, depth: number, columns: number): Graph =>
    graphOf((builder) => {
      const x = builder.input("x", tensorType("f32", [rows, depth]));
      return builder.add("matmul", [x, builder.constant(randomFloats(random, [columns, depth]))], product);
    });
  for (const graph of [empty(0, 4, 4), empty(4, 0, 4), empty(4, 4, 0)]) {
    const { steps } = lowerWasm(graph, { canFuseEpilogue, selectKernel });
    for (const { kernel } of steps) assert.equal(formOf(kernel.id), undefined);
  }
});
