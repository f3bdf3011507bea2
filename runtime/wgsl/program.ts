/** A model on the device: buffers, pipelines and bind groups, made once; then one command encoder a run. */

import { bytesPerElement } from "../elements.ts";
import { extentAt } from "../shapes.ts";
import { checked, mapRead, usage } from "./device.ts";
import type { Count, CountOperator, GpuPort, GpuSpec } from "./spec.ts";
import type { ChosenShader } from "./variants.ts";
import { wordsPerElement } from "./words.ts";

type Symbols = Readonly<Record<string, number>>;

const mostGroups = 65535;
/** Offsets of uniform bindings are multiples of this. */
const uniformWords = 64;

export interface GpuProgram {
  /** Runs all steps; `before` writes the inputs, and the result holds the words of each output, in order. */
  run(symbols: Symbols, before: (queue: GPUQueue, arena: GPUBuffer) => void): Promise<Uint32Array<ArrayBuffer>[]>;
  clearStates(): void;
  dispose(): void;
}

/** Pipelines by shader text: graphs that share kernels share them on one device. */
export type PipelineCache = Map<string, Promise<GPUComputePipeline>>;

/** Makes everything ready to run. `weights` holds weights.bin, `shaders` the chosen text of each kernel. */
export async function createProgram(
  device: GPUDevice,
  spec: GpuSpec,
  weights: GPUBuffer,
  shaders: readonly ChosenShader[],
  cache: PipelineCache,
): Promise<GpuProgram> {
  const pipelines = await Promise.all(
    spec.kernels.map(({ name }, index) => pipelineOf(device, name, shaders[index].text, cache)),
  );
  return await checked(device, `Model "${spec.name}"`, () => buildProgram(device, spec, weights, pipelines, shaders));
}

function pipelineOf(device: GPUDevice, name: string, code: string, cache: PipelineCache): Promise<GPUComputePipeline> {
  let found = cache.get(code);
  if (found === undefined) {
    found = checked(device, `Kernel "${name}"`, () => {
      const module = device.createShaderModule({ code });
      return device.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: name } });
    });
    cache.set(code, found);
  }
  return found;
}

function buildProgram(
  device: GPUDevice,
  spec: GpuSpec,
  weights: GPUBuffer,
  pipelines: readonly GPUComputePipeline[],
  shaders: readonly ChosenShader[],
): GpuProgram {
  const make = (bytes: number, flags: number = usage.kernels) =>
    device.createBuffer({ size: Math.max(16, Math.ceil(bytes / 4) * 4), usage: flags });
  const arena = make(spec.arenaBytes);
  const states = make(spec.statesBytes);
  const names = Object.keys(spec.symbols).sort();
  const symbols = make(4 * names.length);
  const stride = Math.ceil(Math.max(1, ...spec.steps.map(({ starts }) => starts.length)) / uniformWords) * uniformWords;
  const words = new Uint32Array(stride * spec.steps.length);
  spec.steps.forEach(({ starts }, index) => words.set(starts, stride * index));
  const calls = make(words.byteLength);
  if (words.length > 0) device.queue.writeBuffer(calls, 0, words);

  const groups = spec.steps.map(({ kernel, starts, windows }, index) => {
    const { uses } = spec.kernels[kernel];
    const entries: GPUBindGroupEntry[] = [];
    const bind = (binding: number, buffer: GPUBuffer, offset?: number, size?: number) =>
      entries.push({ binding, resource: { buffer, offset, size } });
    bind(0, calls, 4 * stride * index, 4 * starts.length);
    [symbols, arena, states].forEach((buffer, bit) => uses & (1 << bit) && bind(1 + bit, buffer));
    windows.forEach(([offset, size], window) => bind(4 + window, weights, offset, size));
    return device.createBindGroup({ layout: pipelines[kernel].getBindGroupLayout(0), entries });
  });
  const most = spec.outputs.reduce((sum, port) => sum + spanOf(port, port.bounds).bytes, 0);
  const staging = make(most, usage.results);
  const memories = { arena, states, weights };

  const encode = (values: Symbols, spans: readonly Span[]) => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    spec.steps.forEach(({ kernel, workgroups }, index) => {
      const counts = workgroups[shaders[kernel].variant].map((count) => countAt(count, values));
      if (counts.some((count) => count === 0)) return;
      pass.setPipeline(pipelines[kernel]);
      pass.setBindGroup(0, groups[index]);
      pass.dispatchWorkgroups(...spread(counts));
    });
    pass.end();
    let at = 0;
    spec.outputs.forEach(({ memory }, index) => {
      const { start, bytes } = spans[index];
      if (bytes > 0) encoder.copyBufferToBuffer(memories[memory], start, staging, at, bytes);
      at += bytes;
    });
    return encoder.finish();
  };
  return {
    run: async (values, before) => {
      before(device.queue, arena);
      if (names.length > 0) device.queue.writeBuffer(symbols, 0, Int32Array.from(names, (name) => values[name]));
      const spans = spec.outputs.map((port) => spanOf(port, port.shape.map((extent) => extentAt(extent, values))));
      const total = spans.reduce((sum, { bytes }) => sum + bytes, 0);
      device.queue.submit([encode(values, spans)]);
      if (total === 0) return spans.map(() => new Uint32Array(0));
      await staging.mapAsync(mapRead, 0, total);
      const words = new Uint32Array(staging.getMappedRange(0, total).slice(0));
      staging.unmap();
      let at = 0;
      return spans.map(({ bytes }) => words.slice(at / 4, (at += bytes) / 4));
    },
    clearStates: () => {
      const encoder = device.createCommandEncoder();
      encoder.clearBuffer(states);
      device.queue.submit([encoder.finish()]);
    },
    dispose: () => [arena, states, symbols, calls, staging].forEach((buffer) => buffer.destroy()),
  };
}

/** Bytes of a memory. */
interface Span {
  readonly start: number;
  readonly bytes: number;
}

/** What a port of this shape takes of its memory: from its first entry to its last, in whole words. */
function spanOf({ element, bounds, memory, address }: GpuPort, shape: readonly number[]): Span {
  const start = memory === "weights" ? address : 4 * address;
  if (shape.includes(0)) return { start, bytes: 0 };
  const last = shape.reduce((index, extent, axis) => index * bounds[axis] + extent - 1, 0);
  const width = memory === "weights" ? bytesPerElement(element) : 4 * wordsPerElement(element);
  return { start, bytes: Math.ceil(((last + 1) * width) / 4) * 4 };
}

const operators: Readonly<Record<CountOperator, (x: number, y: number) => number>> = {
  add: (x, y) => x + y,
  mul: (x, y) => x * y,
  div: (x, y) => Math.floor(x / y),
  rem: (x, y) => x % y,
  min: Math.min,
  max: Math.max,
};

export function countAt(count: Count, symbols: Symbols): number {
  if (typeof count === "number") return count;
  if (typeof count === "string") return symbols[count];
  const [operator, x, y] = count;
  return operators[operator](countAt(x, symbols), countAt(y, symbols));
}

/** x, y and z of a dispatch. */
function spread([x, y, z = 1]: readonly number[]): [number, number, number] {
  if (y !== undefined) return [x, y, z];
  const rows = Math.ceil(x / mostGroups);
  return [Math.ceil(x / rows), rows, 1];
}
