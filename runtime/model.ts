/** A loaded model over any engine: borders, states, and runs one after the other. */

import type { InputTensor, Model, OutputTensor, TensorInfo, Variant } from "./api.ts";
import { type Given, readInputs } from "./inputs.ts";
import { runSelfTest } from "./selftest.ts";
import { solveSymbols, type SymbolValues } from "./shapes.ts";
import type { BaseSpec, BorderSpec } from "./spec.ts";

type Inputs = Readonly<Record<string, InputTensor>>;
export type Outputs = Record<string, OutputTensor>;

/** What runs a model's kernels. */
export interface Engine<Port extends BorderSpec> {
  readonly target: Model["target"];
  readonly variant: Variant;
  /** Computes one run. Where it gives a promise, all work on the states is in order when it returns. */
  run(given: readonly Given<Port>[], values: SymbolValues): Outputs | Promise<Outputs>;
  clearStates(): void;
  readSelfTest(): Promise<Uint8Array>;
  dispose(): void;
}

export function modelOver<Port extends BorderSpec>(spec: BaseSpec<Port>, engine: Engine<Port>): Model {
  let position = 0;
  let live = true;
  let last: Promise<unknown> | undefined;

  const checkLive = () => {
    if (!live) throw new Error(`Model "${spec.name}" was disposed`);
  };
  const reset = () => {
    checkLive();
    engine.clearStates();
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
  const runOnce = (inputs: Inputs): Outputs | Promise<Outputs> => {
    checkLive();
    const given = readInputs(spec, inputs);
    const values = solveSymbols(spec, given, position);
    const outputs = engine.run(given, values);
    if (spec.capacity !== null) position = values.total;
    return outputs;
  };
  /** Runs share their memory: each waits for the one before, if that is not done. */
  const run = (inputs: Inputs): Promise<Outputs> => {
    const result = last === undefined
      ? new Promise<Outputs>((resolve) => resolve(runOnce(inputs)))
      : last.then(() => runOnce(inputs));
    const done: Promise<unknown> = result.catch(() => undefined).then(() => {
      if (last === done) last = undefined;
    });
    last = done;
    return result;
  };
  return {
    name: spec.name,
    target: engine.target,
    variant: engine.variant,
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
      checkLive();
      const test = await engine.readSelfTest();
      reset();
      const result = await runSelfTest(test, run, engine.variant);
      reset();
      return result;
    },
    dispose: () => {
      if (live) engine.dispose();
      live = false;
    },
  };
}

function infoOf({ name, element, shape }: BorderSpec): TensorInfo {
  return { name, element, shape };
}
