import { deepEqual, equal, match, notEqual } from "node:assert/strict";
import { parseGraph } from "../../compiler/ir/parse.ts";
import { printGraph } from "../../compiler/ir/print.ts";
import { isPlain, type PlainTensor, plainTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import { gpuTest } from "../support/gpu.ts";
import { sharedFile, sharedTest } from "../support/models.ts";
import { difference as differenceWithin, onnxTolerance, toleranceOf } from "./compare.ts";
import { familyOf } from "./families.ts";
import { ignored, ignoredReason } from "./ignored.ts";
import { readCases } from "./node_case.ts";
import { closingLine, failureList } from "./report.ts";
import { prepareCase, runCase } from "./run_case.ts";
import { gpuRunner, runners } from "./runner.ts";
import { runSuite, sampleOf } from "./suite.ts";

const archives = [
  "onnx-conformance-1.12/node.tar.gz",
  "onnx-conformance-1.12/pytorch-operator_simple.tar.gz",
  "onnx-conformance-1.23/node.tar.gz",
];

for (const archive of archives) {
  sharedTest(
    `every node test of ${archive} passes on every runner or is ignored with a reason`,
    [archive],
    async ([path]) => {
      const cases = await readCases(path);
      const entries = await runSuite(cases, runners);
      equal(failureList(entries), "");
      console.log(closingLine(entries));
    },
  );
}

/** Shaders compile slowly on software rasterizers, so this is a sample; `deno task conformance` runs every test. */
const mostOfFamily = 5;

const found = archives.map(sharedFile);
for (const [index, path] of found.entries()) {
  if (path === undefined) continue;
  await gpuTest(`node tests of every family of ${archives[index]} pass on WebGPU`, async () => {
    const entries = await runSuite(sampleOf(await readCases(path), mostOfFamily), [gpuRunner]);
    equal(failureList(entries), "");
    console.log(closingLine(entries));
  });
}

sharedTest(
  "no ignored node test passes on the evaluator, and every entry of the list is needed",
  archives,
  async (paths) => {
    const cases = (await Promise.all(paths.map(readCases))).flat();
    const evaluator = runners.filter(({ name }) => name === "evaluator");
    const stale: string[] = [];
    for (const nodeCase of cases.filter(({ name }) => ignoredReason(name) !== undefined)) {
      for (const runner of evaluator) if ((await runCase(nodeCase, runner)).ok) stale.push(nodeCase.name);
    }
    const unused = ignored.filter(({ pattern }) => !cases.some(({ name }) => pattern.test(name)));
    deepEqual({ stale, unused }, { stale: [], unused: [] });
  },
);

sharedTest("the graph of every node test reads back from its text", archives, async (paths) => {
  const cases = (await Promise.all(paths.map(readCases))).flat();
  for (const nodeCase of cases.filter(({ name }) => ignoredReason(name) === undefined)) {
    const text = printGraph(prepareCase(nodeCase, nodeCase.dataSets[0]).graph, { constants: "literal" });
    const parsed = parseGraph(text);
    equal(parsed.ok ? printGraph(parsed.value, { constants: "literal" }) : parsed.diagnostics[0].message, text);
  }
});

sharedTest("a runner that errs by one part in a hundred fails", [archives[0]], async ([path]) => {
  const [relu] = (await readCases(path)).filter(({ name }) => name === "relu");
  const [evaluator] = runners;
  const result = await runCase(relu, {
    name: "wrong",
    run: async (graph, inputs) => {
      const outputs = await evaluator.run(graph, inputs);
      return Object.fromEntries(
        Object.entries(outputs).map(([name, tensor]) => [
          name,
          isPlain(tensor, "f32") ? plainTensor("f32", tensor.shape, tensor.data.map((entry) => entry * 1.01)) : tensor,
        ]),
      );
    },
  });
  match(result.ok ? "" : result.reason, /entries differ/);
});

function difference(actual: Tensor | undefined, expected: PlainTensor): string | undefined {
  return differenceWithin(actual, expected, toleranceOf(expected.element, 8));
}

Deno.test("outputs of another element, shape, sign of infinity or NaN differ", () => {
  const wanted = plainTensor("f32", [2], Float32Array.of(Infinity, NaN));
  equal(difference(wanted, wanted), undefined);
  notEqual(difference(plainTensor("f32", [2], Float32Array.of(-Infinity, NaN)), wanted), undefined);
  notEqual(difference(plainTensor("f32", [2], Float32Array.of(Infinity, 0)), wanted), undefined);
  notEqual(difference(plainTensor("f32", [1, 2], Float32Array.of(Infinity, NaN)), wanted), undefined);
  notEqual(difference(plainTensor("f64", [2], Float64Array.of(Infinity, NaN)), wanted), undefined);
  notEqual(difference(undefined, wanted), undefined);
  const counts = plainTensor("i64", [1], BigInt64Array.of(1000n));
  notEqual(difference(plainTensor("i64", [1], BigInt64Array.of(1001n)), counts), undefined);
});

Deno.test("a small entry must be right in itself, a large one within the roundings of its sum", () => {
  const wanted = plainTensor("f32", [2], Float32Array.of(1, 1e-3));
  equal(difference(plainTensor("f32", [2], Float32Array.of(1 + 20 * 2 ** -24, 1e-3)), wanted), undefined);
  notEqual(difference(plainTensor("f32", [2], Float32Array.of(1 + 30 * 2 ** -24, 1e-3)), wanted), undefined);
  notEqual(difference(plainTensor("f32", [2], Float32Array.of(1, 1e-3 + 1.3e-6)), wanted), undefined);
  equal(differenceWithin(plainTensor("f32", [2], Float32Array.of(1.0009, 1e-3)), wanted, onnxTolerance), undefined);
});

Deno.test("a test belongs to the family of its op", () => {
  equal(familyOf("and2d"), "elementwise and comparison");
  equal(familyOf("basic_convinteger"), "quantized and integer");
  equal(familyOf("basic_conv_with_padding"), "convolution");
  equal(familyOf("reduce_log_sum_exp_default_axes_keepdims_example"), "reductions");
  equal(familyOf("unheard_of"), "other");
});
