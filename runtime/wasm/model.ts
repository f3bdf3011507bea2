/** A model in linear memory. */

import type { Model, NumberArray, OutputTensor } from "../api.ts";
import { bytesPerElement, viewAs } from "../elements.ts";
import type { Given } from "../inputs.ts";
import { modelOver } from "../model.ts";
import { extentAt, sizeOf, type SymbolValues } from "../shapes.ts";
import { eachRun } from "../strided.ts";
import type { ModelSpec, PortSpec } from "./spec.ts";

/** What a module was instantiated to. */
export interface Loaded {
  readonly exports: WebAssembly.Exports;
  readonly memory: WebAssembly.Memory;
  readonly variant: "simd128" | "relaxed";
  readonly readSelfTest: () => Promise<Uint8Array>;
}

export function createModel(spec: ModelSpec, loaded: Loaded): Model {
  let held: Loaded | undefined = loaded;
  const instance = (): Loaded => {
    if (held === undefined) throw new Error(`Model "${spec.name}" was disposed`);
    return held;
  };
  return modelOver<PortSpec>(spec, {
    target: "wasm",
    variant: loaded.variant,
    run: (given, values) => {
      const { exports, memory } = instance();
      for (const input of given) writeInput(memory.buffer, input, values);
      setSymbols(exports, values, spec);
      // The compiler exports `run` as a function without parameters.
      (exports.run as () => void)();
      return Object.fromEntries(spec.outputs.map((port) => [port.name, readOutput(memory.buffer, port, values)]));
    },
    clearStates: () => {
      new Uint8Array(instance().memory.buffer, spec.states.address, spec.states.bytes).fill(0);
    },
    readSelfTest: loaded.readSelfTest,
    dispose: () => {
      held = undefined;
    },
  });
}

function setSymbols(exports: WebAssembly.Exports, values: SymbolValues, spec: ModelSpec): void {
  for (const name of Object.keys(spec.symbols)) {
    // The optimizer may drop a symbol that no kernel reads.
    const cell = exports[name];
    if (cell instanceof WebAssembly.Global) cell.value = values[name];
  }
}

function writeInput(buffer: ArrayBuffer, { port, bytes }: Given<PortSpec>, values: SymbolValues): void {
  const width = bytesPerElement(port.element);
  const shape = port.shape.map((extent) => extentAt(extent, values));
  const memory = new Uint8Array(buffer, port.address, sizeOf(port.bounds) * width);
  eachRun(shape, port.bounds, (dense, strided, count) => {
    memory.set(bytes.subarray(dense * width, (dense + count) * width), strided * width);
  });
}

function readOutput(buffer: ArrayBuffer, port: PortSpec, values: SymbolValues): OutputTensor {
  const width = bytesPerElement(port.element);
  const shape = port.shape.map((extent) => extentAt(extent, values));
  const length = sizeOf(shape);
  const memory = new Uint8Array(buffer, port.address, sizeOf(port.bounds) * width);
  const bytes = new Uint8Array(length * width);
  eachRun(shape, port.bounds, (dense, strided, count) => {
    bytes.set(memory.subarray(strided * width, (strided + count) * width), dense * width);
  });
  const data: NumberArray = viewAs(port.element, bytes.buffer, 0, length);
  return { data, shape };
}
