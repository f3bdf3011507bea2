/** A model on the GPU: borders, states and runs. */

import type { InputTensor, Model, NumberArray, OutputTensor, TensorInfo } from "../wasm/api.ts";
import { viewAs } from "../wasm/elements.ts";
import { type Given, readInputs } from "../wasm/inputs.ts";
import { runSelfTest } from "../wasm/selftest.ts";
import { extentAt, sizeOf, solveSymbols, type SymbolValues } from "../wasm/shapes.ts";
import { eachRun } from "../wasm/strided.ts";
import type { GpuProgram } from "./program.ts";
import type { GpuPort, GpuSpec } from "./spec.ts";
import { fromWords, toWords, wordsPerElement } from "./words.ts";

type Inputs = Readonly<Record<string, InputTensor>>;
type Outputs = Record<string, OutputTensor>;

export interface LoadedGpu {
  readonly program: GpuProgram;
  readonly readSelfTest: () => Promise<Uint8Array>;
  /** Why the device cannot be used any more. */
  readonly lost: () => string | undefined;
  readonly dispose: () => void;
}

export function createGpuModel(spec: GpuSpec, loaded: LoadedGpu): Model {
  let position = 0;
  let live = true;
  let last: Promise<unknown> = Promise.resolve();

  const alive = (): GpuProgram => {
    if (!live) throw new Error(`Model "${spec.name}" was disposed`);
    const reason = loaded.lost();
    if (reason !== undefined) {
      throw new Error(`Model "${spec.name}": the GPU device was lost (${reason}). Call load() again`);
    }
    return loaded.program;
  };
  const reset = () => {
    alive().clearStates();
    position = 0;
  };
  const rewind = (wanted: number) => {
    if (!Number.isInteger(wanted) || wanted < 0 || wanted > position) {
      throw new RangeError(`Cannot rewind to ${wanted}: the states hold ${position} positions`);
    }
    if (wanted === 0) return reset();
    if (spec.uncut !== null && wanted !== position) {
      throw new Error(`Cannot rewind: state "${spec.uncut}" is replaced by every run, so only reset() clears it`);
    }
    position = wanted;
  };
  const runOnce = async (inputs: Inputs): Promise<Outputs> => {
    const program = alive();
    const given = readInputs(spec, inputs);
    const values = solveSymbols(spec, given, position);
    const words = await program.run(values, (queue, arena) => {
      for (const input of given) writeInput(queue, arena, input, values);
    }).catch((cause) => {
      alive();
      throw new Error(`Model "${spec.name}" cannot read its results: ${String(cause)}`, { cause });
    });
    if (spec.capacity !== null) position = values.total;
    return Object.fromEntries(spec.outputs.map((port, index) => [port.name, readOutput(words[index], port, values)]));
  };
  /** Runs share their memory, so each waits for the one before. */
  const run = (inputs: Inputs): Promise<Outputs> => {
    const result = last.then(() => runOnce(inputs));
    last = result.catch(() => undefined);
    return result;
  };
  return {
    name: spec.name,
    target: "wgsl",
    variant: "webgpu",
    threads: 1,
    inputs: spec.inputs.map(infoOf),
    outputs: spec.outputs.map(infoOf),
    state: {
      get position() {
        return position;
      },
      reset,
      rewind,
    },
    run,
    selfTest: async () => {
      const test = await loaded.readSelfTest();
      reset();
      const result = await runSelfTest(test, run, "webgpu");
      reset();
      return result;
    },
    dispose: () => {
      if (live) loaded.dispose();
      live = false;
    },
  };
}

function infoOf({ name, element, shape }: GpuPort): TensorInfo {
  return { name, element, shape };
}

function writeInput(queue: GPUQueue, arena: GPUBuffer, { port, bytes }: Given<GpuPort>, values: SymbolValues): void {
  const shape = port.shape.map((extent) => extentAt(extent, values));
  const width = wordsPerElement(port.element);
  const words = toWords(bytes, port.element);
  eachRun(shape, port.bounds, (dense, strided, count) => {
    queue.writeBuffer(
      arena,
      4 * (port.address + strided * width),
      words.subarray(dense * width, (dense + count) * width),
    );
  });
}

function readOutput(words: Uint32Array<ArrayBuffer>, port: GpuPort, values: SymbolValues): OutputTensor {
  const shape = port.shape.map((extent) => extentAt(extent, values));
  const length = sizeOf(shape);
  // Constants lie as in weights.bin, dense.
  if (port.memory === "weights") return { data: viewAs(port.element, words.buffer, words.byteOffset, length), shape };
  const width = wordsPerElement(port.element);
  const dense = new Uint32Array(length * width);
  eachRun(shape, port.bounds, (to, from, count) => {
    dense.set(words.subarray(from * width, (from + count) * width), to * width);
  });
  const data: NumberArray = fromWords(dense, port.element);
  return { data, shape };
}
