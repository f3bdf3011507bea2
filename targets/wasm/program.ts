/** Lowers a graph to a WebAssembly program: kernels in order, every operand at a fixed address, weights in kernel order. */

import type { ElementType } from "../../compiler/numeric/element.ts";
import { type Extent, shapeBound } from "../../compiler/ir/extent.ts";
import { freshName, type Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import type { TensorRole } from "../../compiler/ir/tensor.ts";
import { dropDeadNodes } from "../plan/live.ts";
import { type BorderPart, bordersOf } from "../plan/borders.ts";
import { type CanFuseEpilogue, formRegions } from "../plan/regions.ts";
import { storageOf } from "../plan/storage.ts";
import { isPureView } from "../plan/views.ts";
import { type Region, regionOrigin, regionOutputs } from "../region.ts";
import type { WeightEntry } from "../target.ts";
import type { SelectContext, WasmKernel } from "./kernel.ts";
import { type KernelCall, type MemoryMap, type PlacedState, placeMemory } from "./placement.ts";

/** One call of a kernel function. */
export interface WasmStep {
  readonly region: Region;
  readonly kernel: WasmKernel;
  readonly functionName: string;
  /** Address of each operand, in the kernel's order. */
  readonly addresses: readonly number[];
}

/** An array of the model's border: a graph input or output, or one part of a quantized one. */
export interface Port {
  readonly name: string;
  readonly value: ValueName;
  readonly part: TensorRole;
  readonly element: ElementType;
  readonly shape: readonly Extent[];
  /** Extents that the strides are made of. */
  readonly bounds: readonly number[];
  readonly address: number;
}

export interface WasmProgram {
  readonly graph: Graph;
  readonly steps: readonly WasmStep[];
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly states: readonly PlacedState[];
  readonly weights: readonly WeightEntry[];
  readonly memory: MemoryMap;
}

/** How kernels are chosen. */
export interface KernelChoice {
  readonly canFuseEpilogue: CanFuseEpilogue;
  readonly selectKernel: (region: Region, context: SelectContext) => WasmKernel;
}

/**
 * Lowers a graph, its weights behind those that stand `before`. Throws DiagnosticError when the model does not fit a
 * 32-bit memory.
 */
export function lowerWasm(source: Graph, choice: KernelChoice, before: readonly WeightEntry[] = []): WasmProgram {
  const graph = dropDeadNodes(source);
  const regions = formRegions(graph, choice.canFuseEpilogue).filter(({ main }) => !isPureView(main, graph));
  const context: SelectContext = { graph, symbols: graph.symbols };
  const calls = nameFunctions(regions.map((region) => ({ region, kernel: choice.selectKernel(region, context) })));
  const borders = bordersOf(graph);
  const { weights, states, memory, addressOf, addressOfOperand } = placeMemory(
    graph,
    calls,
    borders,
    storageOf(graph),
    before,
  );
  const port = (border: BorderPart): Port => ({
    ...border,
    bounds: shapeBound(border.shape, graph.symbols),
    address: addressOf(border.value, border.part),
  });
  return {
    graph,
    steps: calls.map((call, step) => ({
      ...call,
      addresses: call.kernel.operands.map((operand, index) => addressOfOperand(operand, step, index)),
    })),
    inputs: borders.inputs.map(port),
    outputs: borders.outputs.map(port),
    states,
    weights,
    memory,
  };
}

/** Kernels of one id share one function, named after the source node that used it first. */
function nameFunctions(
  chosen: readonly { readonly region: Region; readonly kernel: WasmKernel }[],
): readonly KernelCall[] {
  const byId = new Map<string, string>();
  const taken = new Set<string>(["run"]);
  return chosen.map(({ region, kernel }) => {
    let functionName = byId.get(kernel.id);
    if (functionName === undefined) {
      functionName = freshName(regionOrigin(region)[0] ?? regionOutputs(region)[0], taken);
      taken.add(functionName);
      byId.set(kernel.id, functionName);
    }
    return { region, kernel, functionName };
  });
}
