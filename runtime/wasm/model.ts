/** A model in memory: borders, states and runs. */

import type { InputTensor, Model, NumberArray, OutputTensor, SelfTestResult, TensorInfo } from "./api.ts";
import { bytesPerElement, viewAs } from "./elements.ts";
import { type Given, readInputs } from "./inputs.ts";
import { runSelfTest } from "./selftest.ts";
import { extentAt, sizeOf, solveSymbols, type SymbolValues } from "./shapes.ts";
import type { ModelSpec, PortSpec } from "./spec.ts";
import { eachRun } from "./strided.ts";

type Inputs = Readonly<Record<string, InputTensor>>;
type Outputs = Record<string, OutputTensor>;

/** What a module was instantiated to. */
export interface Loaded {
  readonly exports: WebAssembly.Exports;
  readonly memory: WebAssembly.Memory;
  readonly variant: "simd128" | "relaxed";
  readonly readSelfTest: () => Promise<Uint8Array>;
}

export function createModel(spec: ModelSpec, loaded: Loaded): Model {
  let position = 0;
  let live: Loaded | undefined = loaded;

  const alive = (): Loaded => {
    if (live === undefined) throw new Error(`Model "${spec.name}" was disposed`);
    return live;
  };
  const reset = () => {
    new Uint8Array(alive().memory.buffer, spec.states.address, spec.states.bytes).fill(0);
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
  const run = (inputs: Inputs): Outputs => {
    const { exports, memory } = alive();
    const given = readInputs(spec, inputs);
    const values = solveSymbols(spec, given, position);
    for (const input of given) writeInput(memory.buffer, input, values);
    setSymbols(exports, values, spec);
    // The compiler exports `run` as a function without parameters.
    (exports.run as () => void)();
    if (spec.capacity !== null) position = values.total;
    return Object.fromEntries(spec.outputs.map((port) => [port.name, readOutput(memory.buffer, port, values)]));
  };
  const model: Model = {
    name: spec.name,
    target: "wasm",
    variant: loaded.variant,
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
    run: (inputs) => new Promise((resolve) => resolve(run(inputs))),
    selfTest: async (): Promise<SelfTestResult> => {
      const test = await alive().readSelfTest();
      reset();
      const result = await runSelfTest(test, run, loaded.variant);
      reset();
      return result;
    },
    dispose: () => {
      live = undefined;
    },
  };
  return model;
}

function infoOf({ name, element, shape }: PortSpec): TensorInfo {
  return { name, element, shape };
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
