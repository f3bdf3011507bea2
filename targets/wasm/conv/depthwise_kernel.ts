/** Selects the depthwise kernel of a channels-last conv. */

import { isStatic, printExtent } from "../../../compiler/ir/extent.ts";
import { type Declined, type DotProblem, leftCodes, leftName, leftParameters, plainFloats } from "../dot/problem.ts";
import type { Parameter } from "../dot/finish.ts";
import type { LeftCodes } from "../dot/int8.ts";
import { extentText } from "../dot/rows.ts";
import type { PackedWeights, WasmKernel } from "../kernel.ts";
import { get, load, op, printFunction, set, times } from "../text.ts";
import { depthwiseBody, depthwiseLanes, depthwisePanelBytes, depthwiseScratch } from "./depthwise.ts";
import { type WindowGeometry, windowId } from "./window.ts";

/** Taps that are printed one by one; larger filters make code too long. */
const mostTaps = 81;

/** A conv of as many groups as channels, each with one output. */
export function selectDepthwise(problem: DotProblem, geometry: WindowGeometry): WasmKernel | Declined {
  const { space, view, sums, a } = problem;
  const { channels, kernel, outHeight, outWidth, batch } = geometry;
  if (view.columns !== channels || view.groupColumns !== 1) return { declined: "not one output per channel" };
  if (kernel[0] * kernel[1] > mostTaps) return { declined: "filter of too many taps" };
  const quantized = problem.tensor.kind === "quantized";
  const codes = quantized ? leftCodes(problem.aType, "conv") : undefined;
  if (quantized && codes === undefined) return { declined: "left codes step along an axis" };
  const weights = depthwiseWeights(problem, geometry, codes);
  if (weights === undefined) return { declined: "weights are neither f32 nor integers of 8 bits" };
  const outerImages = space.outer > 1;
  if (outerImages && space.rows !== outHeight * outWidth) return { declined: "operands step along parts of an image" };
  const finish = problem.finishOf(depthwiseLanes(codes), channels);
  if ("declined" in finish) return finish;
  const scratchBytes = depthwiseScratch({ geometry, codes });
  const parameters: Parameter[] = [
    ...(codes === undefined
      ? [{ name: "a", operand: { kind: "value", value: a, part: "data" } } as const]
      : leftParameters(a, codes, sums === "real")),
    { name: "weights", operand: { kind: "weights", weights } },
    ...finish.parameters,
    ...(scratchBytes > 0 ? [{ name: "scratch", operand: { kind: "scratch", bytes: scratchBytes } } as const] : []),
  ];
  const images = isStatic(batch) ? String(batch) : printExtent(batch);
  const form = codes === undefined ? "f32" : `int8:${leftName(codes)}`;
  return {
    id: `conv.depthwise(${form},n=${images},${windowId(geometry)},${finish.id})`,
    operands: parameters.map((parameter) => parameter.operand),
    calls: finish.calls,
    wat: (name, variant) =>
      printFunction({
        name,
        header: [...header(codes, sums), ...finish.header, `n = ${images}, ${windowId(geometry)}`],
        parameters: parameters.map((parameter) => parameter.name),
        body: [
          ...finish.setup,
          set("pixels", times(extentText(batch), outHeight * outWidth)),
          ...(codes === undefined || codes.zeros === "none"
            ? []
            : [set("v_zero", op("i16x8.splat", load("i32.load", get("a_zeros"))))]),
          ...depthwiseBody({ geometry, codes, sums, finish, outerImages }, variant),
        ],
      }),
  };
}

function header(codes: LeftCodes | undefined, sums: "real" | "integer"): string[] {
  if (codes === undefined) return ["sum[p][c] = sum over taps of x[p + tap][c] * w[tap][c]"];
  const x = codes.zeros === "none" ? "x[p + tap][c]" : "(x[p + tap][c] - x_zero)";
  const dot = `sum over taps of ${x} * w[tap][c], exact in i32`;
  return sums === "integer" ? [`sum[p][c] = ${dot}`] : ["y[p][c] = (x_step * w_step[c]) * f32(dot)", `dot = ${dot}`];
}

/** Weights in panel order: f32 as [tap][4]; codes as [pair of lines][tap][8 channels][2] i16, less their zero points. */
function depthwiseWeights(
  problem: DotProblem,
  geometry: WindowGeometry,
  codes: LeftCodes | undefined,
): PackedWeights | undefined {
  const { tensor, matrix, weightsKey, b } = problem;
  const [height, width] = geometry.kernel;
  const { channels } = geometry;
  const lanes = depthwiseLanes(codes);
  const panelBytes = depthwisePanelBytes(geometry, codes, problem.sums);
  const panels = Math.ceil(channels / lanes);
  if (codes === undefined) {
    const floats = plainFloats(tensor);
    if (floats === undefined || problem.aType.element !== "f32") return undefined;
    const layout = `depthwise(${height}x${width})`;
    const pack = (): Uint8Array<ArrayBuffer> => {
      const out = new Float32Array(panels * panelBytes / 4);
      for (let channel = 0; channel < channels; channel++) {
        const start = Math.floor(channel / 4) * panelBytes / 4 + channel % 4;
        for (let tap = 0; tap < height * width; tap++) {
          out[start + 4 * tap] = floats.data[channel * height * width + tap];
        }
      }
      return new Uint8Array(out.buffer);
    };
    return { key: `${weightsKey}/${layout}`, layout, value: b, pack };
  }
  if (matrix === undefined || matrix.offsets !== undefined || matrix.outerStep !== undefined || matrix.blocks !== 1) {
    return undefined;
  }
  const real = problem.sums === "real";
  const layout = `depthwise-int8(${height}x${width},steps=${real ? "f32" : "none"})`;
  const pack = (): Uint8Array<ArrayBuffer> => {
    const bytes = new Uint8Array(panels * panelBytes);
    const words = new DataView(bytes.buffer);
    for (let channel = 0; channel < channels; channel++) {
      const start = Math.floor(channel / 8) * panelBytes;
      const lane = channel % 8;
      const index = matrix.stepIndex(0, channel);
      const zero = matrix.zeros?.[index] ?? 0;
      for (let ky = 0; ky < height; ky++) {
        for (let kx = 0; kx < width; kx++) {
          const code = matrix.codes[(channel * height + ky) * width + kx] - zero;
          const at = start + 32 * ((ky >> 1) * width + kx) + 16 * (lane >> 2) + 4 * (lane & 3) + 2 * (ky & 1);
          words.setInt16(at, code, true);
        }
      }
      if (real) words.setFloat32(start + panelBytes - 32 + 4 * lane, matrix.steps[index], true);
    }
    return bytes;
  };
  return { key: `${weightsKey}/${layout}`, layout, value: b, pack };
}
