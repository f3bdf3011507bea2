/** A model on the GPU. */

import type { Model, NumberArray, OutputTensor } from "../api.ts";
import { viewAs } from "../elements.ts";
import type { Given } from "../inputs.ts";
import { modelOver } from "../model.ts";
import { extentAt, sizeOf, type SymbolValues } from "../shapes.ts";
import { eachRun } from "../strided.ts";
import { lostText } from "./load.ts";
import type { GpuProgram } from "./program.ts";
import type { GpuPort, GpuSpec } from "./spec.ts";
import { fromWords, toWords, wordsPerElement } from "./words.ts";

export interface LoadedGpu {
  readonly program: GpuProgram;
  readonly readSelfTest: () => Promise<Uint8Array>;
  /** Why the device cannot be used any more. */
  readonly lost: () => string | undefined;
  readonly dispose: () => void;
}

export function createGpuModel(spec: GpuSpec, loaded: LoadedGpu): Model {
  const program = (): GpuProgram => {
    const reason = loaded.lost();
    if (reason !== undefined) throw new Error(lostText(spec.name, reason));
    return loaded.program;
  };
  return modelOver<GpuPort>(spec, {
    target: "wgsl",
    variant: "webgpu",
    run: async (given, values) => {
      const words = await program().run(values, (queue, arena) => {
        for (const input of given) writeInput(queue, arena, input, values);
      }).catch(async (cause) => {
        // The loss of a device is told after what it broke.
        await new Promise((resolve) => setTimeout(resolve));
        program();
        throw cause;
      });
      return Object.fromEntries(spec.outputs.map((port, index) => [port.name, readOutput(words[index], port, values)]));
    },
    clearStates: () => program().clearStates(),
    readSelfTest: loaded.readSelfTest,
    dispose: loaded.dispose,
  });
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
  // Constants lie as in the weights' files, dense.
  if (port.memory === "weights") return { data: viewAs(port.element, words.buffer, words.byteOffset, length), shape };
  const width = wordsPerElement(port.element);
  const dense = new Uint32Array(length * width);
  eachRun(shape, port.bounds, (to, from, count) => {
    dense.set(words.subarray(from * width, (from + count) * width), to * width);
  });
  const data: NumberArray = fromWords(dense, port.element);
  return { data, shape };
}
