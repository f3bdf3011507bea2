/** Runs a graph whose every region must be taken by the given kernel selectors: no fallback. */

import assert from "node:assert/strict";
import { InvariantError } from "../../compiler/diagnostics.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import {
  floatTensor,
  type PlainTensor,
  plainTensor,
  type QuantizedTensor,
  sizeOf,
  type Tensor,
  tensorParts,
} from "../../compiler/ir/tensor.ts";
import { type QuantScheme, stepShape } from "../../compiler/numeric/scheme.ts";
import { type KernelSelector, type WasmKernel, type WasmVariant, wasmVariants } from "../../targets/wasm/kernel.ts";
import type { MathLibrary } from "../../targets/wasm/module.ts";
import { lowerWasm, type WasmProgram } from "../../targets/wasm/program.ts";
import { startProgram } from "../../targets/wasm/run_program.ts";

export interface KernelRun {
  readonly program: WasmProgram;
  readonly expected: Readonly<Record<string, Tensor>>;
  /** Outputs of both variants. */
  readonly actual: Readonly<Record<WasmVariant, Readonly<Record<string, Tensor>>>>;
}

/** Evaluates the graph and runs its kernels in both variants. Throws when a region is declined. */
export async function runKernels(
  graph: Graph,
  inputs: Readonly<Record<string, Tensor>>,
  select: KernelSelector,
  math: MathLibrary = () => "",
): Promise<KernelRun> {
  const program = lowerWasm(graph, {
    canFuseEpilogue: () => true,
    selectKernel: (region, context): WasmKernel => {
      const kernel = select(region, context);
      if ("declined" in kernel) throw new InvariantError(`${region.main.op} is declined: ${kernel.declined}`);
      return kernel;
    },
  });
  const { outputs } = evaluateGraph(graph, inputs);
  const run = async (variant: WasmVariant) => (await startProgram(program, variant, math)).run(inputs);
  return { program, expected: outputs, actual: { simd128: await run("simd128"), relaxed: await run("relaxed") } };
}

/** Asserts that every output of both variants has the evaluator's values; 0 and -0 are one value. */
export function assertExact(run: KernelRun): void {
  for (const [name, expected] of Object.entries(run.expected)) {
    for (const variant of wasmVariants) {
      const parts = tensorParts(run.actual[variant][name]);
      tensorParts(expected).forEach(({ role, tensor }, index) => {
        assert.equal(parts[index]?.role, role);
        assertSameValues(parts[index].tensor, tensor, `${name}.${role}, ${variant}`);
      });
    }
  }
}

function assertSameValues(actual: PlainTensor, expected: PlainTensor, what: string): void {
  assert.equal(actual.element, expected.element, what);
  assert.deepEqual(actual.shape, expected.shape, what);
  for (let index = 0; index < expected.data.length; index++) {
    const [x, y] = [actual.data[index], expected.data[index]];
    assert.ok(x === y || Number.isNaN(x) && Number.isNaN(y), `${what}[${index}] is ${x}, wants ${y}`);
  }
}

/** Uniform numbers in [-1, 1). */
export function randomFloats(random: () => number, shape: readonly number[]): PlainTensor<"f32"> {
  const size = sizeOf(shape);
  return floatTensor(shape, Float32Array.from({ length: size }, () => 2 * random() - 1));
}

/** Random codes over the whole range, ends included and over-represented. */
export function randomQuantized(random: () => number, shape: readonly number[], scheme: QuantScheme): QuantizedTensor {
  if (scheme.format.kind !== "int") throw new RangeError("Only integer formats");
  const { bits, signed } = scheme.format;
  const low = signed ? -(2 ** (bits - 1)) : 0;
  const high = low + 2 ** bits - 1;
  const size = sizeOf(shape);
  const code = (): number => {
    const kind = random();
    return kind < 0.2 ? low : kind < 0.4 ? high : low + Math.floor(random() * 2 ** bits);
  };
  const codes = signed
    ? plainTensor("i8", shape, Int8Array.from({ length: size }, code))
    : plainTensor("u8", shape, Uint8Array.from({ length: size }, code));
  const steps = stepShape(scheme, shape);
  const count = sizeOf(steps);
  return {
    kind: "quantized",
    scheme,
    element: "f32",
    shape,
    codes,
    steps: floatTensor(steps, Float32Array.from({ length: count }, () => randomStep(random, scheme.step))),
    ...(scheme.offset
      ? {
        offsets: floatTensor(
          steps,
          Float32Array.from({ length: count }, () => Math.f16round(40 * randomStep(random, scheme.step))),
        ),
      }
      : {}),
    ...(scheme.zeroPoint ? { zeros: plainTensor("i32", steps, Int32Array.from({ length: count }, code)) } : {}),
  };
}

/** A step of either sign; now and then one that is subnormal in f16. */
function randomStep(random: () => number, format: QuantScheme["step"]): number {
  const step = (random() / 50 + 1e-3) * (random() < 0.1 ? -1 : 1) * (random() < 0.1 ? 2 ** -12 : 1);
  return format === "f16" ? Math.f16round(step) : Math.fround(step);
}
