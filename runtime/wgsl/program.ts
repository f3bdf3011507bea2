/** A model on the device: buffers, pipelines and bind groups, made once; then one command encoder a run. */

import { extentAt } from "../shapes.ts";
import { checked, usage } from "./device.ts";
import type { Count, GpuPort, GpuSpec } from "./spec.ts";
import type { ChosenShader } from "./variants.ts";

type Symbols = Readonly<Record<string, number>>;

const mostGroups = 65535;
/** Offsets of uniform bindings are multiples of this. */
const uniformStride = 256;

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
      const module = device.createShaderModule({ label: name, code });
      return device.createComputePipelineAsync({ label: name, layout: "auto", compute: { module, entryPoint: name } });
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
  const storage = usage.storage | usage.copyTarget | usage.copySource;
  const uniform = usage.uniform | usage.copyTarget;
  const make = (label: string, bytes: number, flags: number) =>
    device.createBuffer({ label, size: Math.max(16, Math.ceil(bytes / 4) * 4), usage: flags });
  const arena = make("arena", spec.arenaBytes, storage);
  const states = make("states", spec.statesBytes, storage);
  const names = Object.keys(spec.symbols).sort();
  const symbols = make("symbols", 4 * names.length, uniform);
  const strides = spec.steps.map(({ starts }) => Math.ceil((4 * starts.length) / uniformStride) * uniformStride);
  const offsets: number[] = [];
  const calls = new Uint32Array(strides.reduce((sum, stride) => (offsets.push(sum), sum + stride), 0) / 4);
  spec.steps.forEach(({ starts }, index) => calls.set(starts, offsets[index] / 4));
  const callBuffer = make("calls", calls.byteLength, uniform);
  if (calls.length > 0) device.queue.writeBuffer(callBuffer, 0, calls);

  const groups = spec.steps.map(({ kernel, starts, windows }, index) => {
    const { uses } = spec.kernels[kernel];
    const entries: GPUBindGroupEntry[] = [
      { binding: 0, resource: { buffer: callBuffer, offset: offsets[index], size: 4 * starts.length } },
      ...(uses & 4 ? [{ binding: 1, resource: { buffer: symbols } }] : []),
      ...(uses & 1 ? [{ binding: 2, resource: { buffer: arena } }] : []),
      ...(uses & 2 ? [{ binding: 3, resource: { buffer: states } }] : []),
      ...windows.map(([offset, size], window) => ({
        binding: 4 + window,
        resource: { buffer: weights, offset, size },
      })),
    ];
    return device.createBindGroup({ layout: pipelines[kernel].getBindGroupLayout(0), entries });
  });
  const staging = make(
    "outputs",
    spec.outputs.reduce((sum, port) => sum + spanOf(port, port.bounds).bytes, 0),
    usage.copyTarget | usage.mapRead,
  );
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
      await staging.mapAsync(usage.mapRead, 0, total);
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
    dispose: () => [arena, states, symbols, callBuffer, staging].forEach((buffer) => buffer.destroy()),
  };
}

const narrow: Readonly<Record<string, number>> = { bool: 1, u8: 1, i8: 1, u16: 2, i16: 2, f16: 2, bf16: 2 };
const wide: Readonly<Record<string, number>> = { i64: 8, u64: 8, f64: 8 };

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
  const packed = memory === "weights" ? narrow[element] : undefined;
  return { start, bytes: Math.ceil(((last + 1) * (packed ?? wide[element] ?? 4)) / 4) * 4 };
}

export function countAt(count: Count, symbols: Symbols): number {
  if (typeof count === "number") return count;
  if (typeof count === "string") return symbols[count];
  const [operator, left, right] = count;
  const [x, y] = [countAt(left, symbols), countAt(right, symbols)];
  switch (operator) {
    case "add":
      return x + y;
    case "mul":
      return x * y;
    case "div":
      return Math.floor(x / y);
    case "rem":
      return x % y;
    case "min":
      return Math.min(x, y);
    case "max":
      return Math.max(x, y);
  }
}

/** x, y and z of a dispatch. */
function spread([x, y, z = 1]: readonly number[]): [number, number, number] {
  if (y !== undefined) return [x, y, z];
  const rows = Math.ceil(x / mostGroups);
  return [Math.ceil(x / rows), rows, 1];
}
