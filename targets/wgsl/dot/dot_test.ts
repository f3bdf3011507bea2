import assert from "node:assert/strict";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { evaluateGraph } from "../../../compiler/ir/evaluate/mod.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import { tensorParts } from "../../../compiler/ir/tensor.ts";
import { quantizedType } from "../../../compiler/ir/types.ts";
import { int4, int8 } from "../../../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../../../compiler/numeric/scheme.ts";
import { buildDotCase, type DotCase, dotCaseBound, dotCaseName, dotCases } from "../../../tests/support/dot_cases.ts";
import { gpuTest } from "../../../tests/support/gpu.ts";
import { uniform } from "../../../tests/support/random.ts";
import { randomQuantized } from "../../../tests/support/wasm_kernels.ts";
import type { ShaderText } from "../dispatch.ts";
import { lowerWgsl } from "../program.ts";
import { runOnGpu, startOnGpu } from "../run_graph.ts";
import { gpuDevice, startProgram } from "../run_program.ts";
import { wgslKernels } from "../select.ts";

for (const [index, of] of dotCases.entries()) {
  await gpuTest(`matmul on the GPU: ${dotCaseName(of)}`, async () => {
    const { graph, inputs, magnitude } = buildDotCase(of, index + 1);
    const running = await startOnGpu(graph);
    const ids = running.program.steps.map(({ kernel }) => kernel.id);
    assert.ok(ids[0].startsWith(`matmul.${of.form}(`), ids.join());
    assert.equal(running.program.steps.length, ids.length);
    const expected = evaluateGraph(graph, inputs).outputs.y;
    const actual = (await running.run(inputs)).y;
    running.dispose();
    const bound = dotCaseBound(of, magnitude);
    const parts = tensorParts(actual);
    tensorParts(expected).forEach(({ role, tensor }, part) => {
      assert.equal(parts[part].role, role);
      const wrong = Array.from(tensor.data, Number).flatMap((value, at) => {
        const got = Number(parts[part].tensor.data[at]);
        return Math.abs(got - value) <= bound ? [] : [[at, got, value]];
      });
      assert.deepEqual(wrong.slice(0, 3), [], `${role}: ${wrong.length} of ${tensor.data.length} differ`);
    });
  });
}

/** Weights that are decoded, without offsets: on devices with f16 their codes are held in it. */
const heldInF16 = dotCases.flatMap((of, index) =>
  of.form === "weights" && of.rows === 1 && !of.offset ? [{ of, index }] : []
);

/** Results of a program of one kernel in one variant, less those that the bound takes. */
async function farOff({ of, index }: typeof heldInF16[number], variant: ShaderText): Promise<readonly number[]> {
  const { graph, inputs, magnitude } = buildDotCase(of, index + 1);
  const program = lowerWgsl(graph, wgslKernels);
  const shaders = program.shaders.map((shader) => ({ ...shader, variants: [variant] }));
  const steps = program.steps.map((step) => ({ ...step, shader: shaders[program.shaders.indexOf(step.shader)] }));
  const running = await startProgram({ ...program, shaders, steps }, () => Promise.resolve(new Uint8Array()));
  const [actual] = tensorParts((await running.run(inputs)).y);
  running.dispose();
  const [expected] = tensorParts(evaluateGraph(graph, inputs).outputs.y);
  const bound = dotCaseBound(of, magnitude);
  return Array.from(actual.tensor.data, Number).filter((value, at) =>
    !(Math.abs(value - Number(expected.tensor.data[at])) <= bound)
  );
}

/** Lost zero points, and lost steps of a span's sum and of a unit's: the bound must notice each. */
const f16Mutants: readonly (readonly [from: string, to: string])[] = [
  ["vec4<f16>(bytes) - zero;", "vec4<f16>(bytes);"],
  ["sum *= step;", ""],
  ["sum += step * dot", "sum += dot"],
];

for (const held of heldInF16) {
  await gpuTest(`each variant keeps the bound: ${dotCaseName(held.of)}`, async () => {
    const device = await gpuDevice();
    const [{ variants }] = lowerWgsl(buildDotCase(held.of, held.index + 1).graph, wgslKernels).shaders;
    assert.deepEqual(variants.map(({ needs }) => needs.join()), [
      "subgroups,shader-f16",
      "subgroups",
      "shader-f16",
      "",
    ]);
    for (const variant of variants.filter(({ needs }) => needs.every((need) => device?.features.has(need)))) {
      assert.deepEqual(await farOff(held, variant), [], `variant "${variant.needs}"`);
      const f16 = variant.needs.includes("shader-f16");
      assert.equal(variant.text.includes("enable f16;"), f16);
      if (!f16) continue;
      for (const [from, to] of f16Mutants.filter(([from]) => variant.text.includes(from))) {
        const text = variant.text.replace(from, to);
        assert.notDeepEqual(await farOff(held, { ...variant, text }), [], `"${from}" as "${to}"`);
      }
    }
  });
}

await gpuTest("rows of a run choose between few columns of one row and tiles: one dispatch does the work", async () => {
  const random = uniform(5);
  const b = new GraphBuilder("rows");
  b.symbol("seq", { min: 1, max: 20 });
  const scheme: QuantScheme = { format: int4, block: [1, 32], step: "f16", zeroPoint: false, range: "static" };
  const left: QuantScheme = { format: int8, block: [1, 1, "all"], step: "f32", zeroPoint: false, range: "static" };
  const x = b.input("x", quantizedType(left, [1, symbolic("seq"), 64]));
  const w = b.constant(randomQuantized(random, [40, 64], scheme));
  b.output("y", b.add("matmul", [x, w], { transposeB: true, hasBias: false, result: { kind: "real" } }));
  const graph = b.finish("quant");
  for (const rows of [1, 4, 5, 17]) {
    const inputs = { x: randomQuantized(random, [1, rows, 64], left) };
    const [expected] = tensorParts(evaluateGraph(graph, inputs).outputs.y);
    const [actual] = tensorParts((await runOnGpu(graph, inputs)).y);
    assert.deepEqual(actual.tensor.data, expected.tensor.data);
  }
});

interface Mutant {
  readonly what: string;
  readonly form: DotCase["form"];
  readonly rows: number;
  readonly depth: number;
  readonly from: string;
  readonly to: string;
}

/** What an exactness argument rests on, taken away: each must show in the results. */
const mutants: readonly Mutant[] = [
  {
    what: "the halves of bytes change places",
    form: "int4",
    rows: 1,
    depth: 576,
    from: "u32(unit & 1)",
    to: "u32(1 - (unit & 1))",
  },
  {
    what: "bytes borrow from their neighbours",
    form: "int4",
    rows: 1,
    depth: 136,
    from: "((codes | 0x80808080u) - zero * 0x01010101u) ^ 0x80808080u",
    to: "codes - zero * 0x01010101u",
  },
  {
    what: "blocks are added from the last",
    form: "int4",
    rows: 1,
    depth: 576,
    from: "sums[lane * spans + span]",
    to: "sums[lane * spans + spans - 1 - span]",
  },
  {
    what: "unsigned bytes are taken for signed ones",
    form: "int8",
    rows: 3,
    depth: 68,
    from: "(code3 << 24u)) ^ 0x80808080u",
    to: "(code3 << 24u))",
  },
  {
    what: "the zero point of rows is left out",
    form: "int8",
    rows: 18,
    depth: 45,
    from: " - left_zero(outer, row) * right_sum(column, 0)",
    to: "",
  },
  {
    what: "the zero points of columns are left out",
    form: "int8",
    rows: 18,
    depth: 45,
    from: " - right_zero(column, 0) * lefts[j]",
    to: "",
  },
  {
    what: "steps multiply after the sum is rounded with another",
    form: "int4",
    rows: 1,
    depth: 576,
    from: "alone(alone(step * right_step(column, block)) * f32(sum))",
    to: "step * (right_step(column, block) * f32(sum))",
  },
];

for (const { what, form, rows, depth, from, to } of mutants) {
  await gpuTest(`exact sums notice when ${what}`, async () => {
    const index = dotCases.findIndex((of) => of.form === form && of.rows === rows && of.depth === depth);
    const { graph, inputs } = buildDotCase(dotCases[index], index + 1);
    const program = lowerWgsl(graph, wgslKernels);
    const shaders = program.shaders.map((shader) => ({
      ...shader,
      variants: shader.variants.map((variant) => {
        assert.ok(variant.text.includes(from), "the kernel has no such text");
        return { ...variant, text: variant.text.replaceAll(from, to) };
      }),
    }));
    const steps = program.steps.map((step) => ({ ...step, shader: shaders[program.shaders.indexOf(step.shader)] }));
    const running = await startProgram({ ...program, shaders, steps }, () => Promise.resolve(new Uint8Array()));
    const [actual] = tensorParts((await running.run(inputs)).y);
    running.dispose();
    const [expected] = tensorParts(evaluateGraph(graph, inputs).outputs.y);
    assert.notDeepEqual(actual.tensor.data, expected.tensor.data);
  });
}
