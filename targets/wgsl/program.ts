/** Lowers a graph to WebGPU dispatches: kernels in order, every operand at a fixed place, weights in kernel order. */

import { type Extent, shapeBound } from "../../compiler/ir/extent.ts";
import { freshName, type Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import type { TensorRole } from "../../compiler/ir/tensor.ts";
import type { ElementType } from "../../compiler/numeric/element.ts";
import type { Index } from "../loops/program.ts";
import { type BorderPart, bordersOf } from "../plan/borders.ts";
import { dropDeadNodes } from "../plan/live.ts";
import type { Lifetime, MemoryPlan } from "../plan/memory.ts";
import { type CanFuseEpilogue, formRegions } from "../plan/regions.ts";
import { storageOf } from "../plan/storage.ts";
import { isPureView } from "../plan/views.ts";
import { type Region, regionOrigin, regionOutputs } from "../region.ts";
import type { WeightEntry } from "../target.ts";
import { bindOperands, type ShaderText, shaderText, type Window } from "./dispatch.ts";
import type { Memory, SelectContext, WgslDispatch, WgslKernel } from "./kernel.ts";
import { identifier } from "./names.ts";
import { placeProgram } from "./placement.ts";

/** A shader in its variants, the best first: one module each, with one entry point of its name. */
export interface Shader {
  readonly name: string;
  readonly variants: readonly ShaderText[];
  readonly memories: readonly Memory[];
  readonly usesSymbols: boolean;
}

/** One dispatch. */
export interface WgslStep {
  readonly region: Region;
  readonly kernel: WgslKernel;
  readonly shader: Shader;
  /** Words of `Call`. */
  readonly starts: readonly number[];
  readonly windows: readonly Window[];
  /** Workgroups of each variant. */
  readonly workgroups: readonly (readonly Index[])[];
}

/** An array of the model's border. `address` counts words, or bytes where the memory is `weights`. */
export interface WgslPort {
  readonly name: string;
  readonly value: ValueName;
  readonly part: TensorRole;
  readonly element: ElementType;
  readonly shape: readonly Extent[];
  readonly bounds: readonly number[];
  readonly memory: "arena" | "states" | "weights";
  readonly address: number;
}

export interface WgslProgram {
  readonly graph: Graph;
  /** Calls of equal text share a shader. */
  readonly shaders: readonly Shader[];
  readonly steps: readonly WgslStep[];
  readonly inputs: readonly WgslPort[];
  readonly outputs: readonly WgslPort[];
  readonly weights: readonly WeightEntry[];
  readonly weightsBytes: number;
  readonly statesBytes: number;
  readonly plan: MemoryPlan;
  readonly lifetimes: readonly Lifetime[];
}

/** How kernels are chosen. */
export interface KernelChoice {
  readonly canFuseEpilogue: CanFuseEpilogue;
  readonly selectKernel: (region: Region, context: SelectContext) => WgslKernel;
}

interface Call {
  readonly region: Region;
  readonly kernel: WgslKernel;
  readonly dispatch: WgslDispatch;
  readonly index: number;
}

/**
 * Lowers a graph, its weights behind those that stand `before`. Throws DiagnosticError when the model does not fit the
 * limits that every device has.
 */
export function lowerWgsl(source: Graph, choice: KernelChoice, before: readonly WeightEntry[] = []): WgslProgram {
  const graph = dropDeadNodes(source);
  const symbols = Object.keys(graph.symbols).sort();
  const storage = storageOf(graph);
  const context: SelectContext = {
    graph,
    symbols: graph.symbols,
    memoryOf: (value, part) => {
      const { kind } = storage(value, part);
      return kind === "constant" ? "weights" : kind === "state" ? "states" : "arena";
    },
  };
  const regions = formRegions(graph, choice.canFuseEpilogue).filter(({ main }) => !isPureView(main, graph));
  const calls = regions.flatMap((region, index): Call[] => {
    const kernel = choice.selectKernel(region, context);
    return kernel.dispatches.map((dispatch) => ({ region, kernel, dispatch, index }));
  });
  const borders = bordersOf(graph);
  const placed = placeProgram(
    graph,
    calls.map(({ dispatch, index }) => ({ dispatch, kernel: index })),
    borders,
    before,
  );
  const shaders = new Map<string, Shader>();
  const taken = new Set<string>();
  const steps = calls.map(({ region, kernel, dispatch, index }): WgslStep => {
    const origin = regionOrigin(region)[0] ?? regionOutputs(region)[0];
    const bound = bindOperands(origin, dispatch.operands, placed.placeOf);
    const print = (entry: string) =>
      dispatch.variants.map((variant) => shaderText(kernel, dispatch, variant, bound, entry, symbols));
    const key = print("main").map(({ text }) => text).join("\n");
    let shader = shaders.get(key);
    if (shader === undefined) {
      const name = freshName(identifier(origin), taken);
      taken.add(name);
      const variants = print(name);
      const { memories, usesSymbols } = variants[variants.length - 1];
      shader = { name, variants, memories, usesSymbols };
      shaders.set(key, shader);
    }
    const starts = dispatch.operands.map((operand) => {
      const window = bound.windowOf.get(operand.name);
      return placed.wordOf(operand, index) - (window === undefined ? 0 : bound.windows[window].offset / 4);
    });
    const workgroups = dispatch.variants.map((variant) => variant.workgroups);
    return { region, kernel, shader, starts, windows: bound.windows, workgroups };
  });
  const port = (border: BorderPart): WgslPort => {
    const { memory, word } = placed.borderOf(border);
    return {
      ...border,
      bounds: shapeBound(border.shape, graph.symbols),
      memory,
      address: memory === "weights" ? word * 4 : word,
    };
  };
  return {
    graph,
    shaders: [...shaders.values()],
    steps,
    inputs: borders.inputs.map(port),
    outputs: borders.outputs.map(port),
    weights: placed.weights,
    weightsBytes: placed.weightsBytes,
    statesBytes: placed.statesBytes,
    plan: placed.plan,
    lifetimes: placed.lifetimes,
  };
}
