/** What a target is: data that passes and the driver read, and the one function that makes its files. */

import type { Diagnostic } from "../compiler/diagnostics.ts";
import type { Extent } from "../compiler/ir/extent.ts";
import type { Graph } from "../compiler/ir/graph.ts";
import type { Node, ValueName } from "../compiler/ir/node.ts";
import type { ElementType } from "../compiler/numeric/element.ts";
import type { NumberFormat } from "../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../compiler/numeric/scheme.ts";
import type { Pass } from "../compiler/rewrite/pass.ts";
import type { TargetName } from "../runtime/api.ts";
import type { WeightsSpec } from "../runtime/spec.ts";

/** One integer dot product that the hardware has: operands as it reads them, and what it sums in. */
export interface DotContract {
  readonly feature: string;
  readonly lhs: string;
  readonly rhs: string;
  readonly accumulator: string;
}

export interface Capabilities {
  /** Formats that kernels of this target read as weights and as activations. */
  readonly formats: readonly NumberFormat[];
  readonly elements: readonly ElementType[];
  readonly dot: readonly DotContract[];
  /** Variants in one artifact, the one that every device runs first. */
  readonly variants: readonly string[];
  readonly memoryBytes: number;
}

/** Why a node cannot be held in a scheme here, and what comes nearest. */
export interface Unsupported {
  readonly reason: string;
  readonly nearest?: string;
}

/** A file of the artifact; its content is the chunks end to end. */
export interface ArtifactFile {
  /** Relative, with `/`. */
  readonly path: string;
  readonly chunks: readonly Uint8Array<ArrayBuffer>[];
}

/** A tensor among the weights; `offset` counts from the start of the first file. */
export interface WeightEntry {
  readonly key: string;
  readonly value: ValueName;
  readonly layout: string;
  readonly offset: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** An array of the model's border. */
export interface BorderEntry {
  readonly name: string;
  readonly element: ElementType;
  readonly shape: readonly Extent[];
}

/** One kernel call, as reports show it. */
export interface KernelRow {
  readonly origin: readonly string[];
  readonly ops: readonly string[];
  readonly outputs: readonly ValueName[];
  readonly kernel: string;
  readonly functionName: string;
  /** Bytes that the call's weights take. */
  readonly weightBytes: number;
}

export interface MemoryReport {
  readonly weightsBytes: number;
  readonly statesBytes: number;
  readonly arenaBytes: number;
  /** The most arena bytes live at once: the least that any plan needs. */
  readonly peakBytes: number;
  /** Bytes of the arena if no buffers shared. */
  readonly unsharedBytes: number;
  readonly totalBytes: number;
  readonly buffers: readonly {
    readonly id: string;
    readonly address: number;
    readonly bytes: number;
    readonly start: number;
    readonly end: number;
  }[];
}

/** What a target makes of a graph. */
export interface Emitted {
  readonly graph: Graph;
  /** Files of `kernels/`. */
  readonly kernels: readonly ArtifactFile[];
  /** Paths of the code: what a device fetches one of. */
  readonly code: readonly string[];
  /** Weights in order of their offsets, those that were `shared` first. */
  readonly weights: readonly WeightEntry[];
  readonly inputs: readonly BorderEntry[];
  readonly outputs: readonly BorderEntry[];
  readonly rows: readonly KernelRow[];
  readonly memory: MemoryReport;
  /** The runtime's entry (a module that exports `loadModel(spec, home, options)`) and its argument. */
  readonly runtime: (files: RuntimeFiles) => { readonly entry: URL; readonly spec: unknown };
  /** Runs the self test in this process, in every variant that runs here; a warning for each that fails. */
  readonly check: (selfTest: Uint8Array) => Promise<readonly Diagnostic[]>;
}

/** What the runtime needs of the files beside it. */
export interface RuntimeFiles {
  readonly weights: readonly WeightsSpec[];
  readonly selfTest: string;
}

export interface EmitOptions {
  readonly onProgress?: (progress: { readonly stage: string; readonly fraction: number }) => void;
  /** Weights that stand before this target's own, for other targets read them too. */
  readonly shared?: readonly WeightEntry[];
}

export interface Target {
  readonly name: TargetName;
  readonly summary: string;
  readonly capabilities: Capabilities;
  /** Passes that every graph goes through before it is emitted. */
  readonly legalize: readonly Pass[];
  /** Whether a node can hold its weights (or result) in this scheme; asked before any work. */
  supports(node: Node, scheme: QuantScheme): true | Unsupported;
  /** The weights that its kernels read. Throws as `emit` does. */
  weights(graph: Graph): readonly WeightEntry[];
  /** Throws DiagnosticError where the graph does not fit the target. */
  emit(graph: Graph, options?: EmitOptions): Promise<Emitted>;
}
