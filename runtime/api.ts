/** What an artifact exports, as its `mod.d.ts` says it. */

/** Elements keep the source model's types; `bool` is bytes of 0 and 1, `bf16` its 16 bits. */
export type ElementName =
  | "bool"
  | "u8"
  | "i8"
  | "u16"
  | "i16"
  | "u32"
  | "i32"
  | "u64"
  | "i64"
  | "f16"
  | "bf16"
  | "f32"
  | "f64";

/** An array of numbers as it enters and leaves the model. Where the engine has no Float16Array, f16 is its bits in a Uint16Array. */
export type NumberArray = ArrayBufferView & (ArrayLike<number> | ArrayLike<bigint>);

/** A number, or `factor * symbol + offset` where an axis is dynamic. */
export type Extent = number | { readonly symbol: string; readonly factor: number; readonly offset: number };

export interface TensorInfo {
  readonly name: string;
  readonly element: ElementName;
  readonly shape: readonly Extent[];
}

/** What goes in: the numbers alone where the shape follows from their count, else with their shape. */
export type InputTensor<Data extends NumberArray = NumberArray> =
  | Data
  | { readonly data: Data; readonly shape: readonly number[] };

/** What comes out: numbers of its own (later runs do not change them), row-major. */
export interface OutputTensor<Data extends NumberArray = NumberArray> {
  readonly data: Data;
  readonly shape: readonly number[];
}

/** Which kernels run: one of the WebAssembly builds, or those of WebGPU. */
export type Variant = "simd128" | "relaxed" | "webgpu";

export type TargetName = "wasm" | "wgsl";

/** Bytes of the weights that have arrived. */
export interface Progress {
  readonly loaded: number;
  readonly total: number;
}

export interface LoadOptions {
  /**
   * `auto` (the default) picks the best target of the artifact that this device runs: WebGPU on a GPU, else
   * WebAssembly; `model.target` says which it is.
   */
  readonly target?: "auto" | TargetName;
  /** `auto` (the default) picks relaxed SIMD where the engine has it. */
  readonly variant?: "auto" | Variant;
  /** Threads wanted; `model.threads` says how many run. */
  readonly threads?: number;
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
  /** Where the artifact's files lie, if not beside mod.js. */
  readonly base?: string | URL;
  /** Whether the SHA-256 of the weights is checked (the default); their length always is. */
  readonly verify?: boolean;
}

/** The tensors that live across runs: KV caches and other states. */
export interface ModelState {
  /** Positions held. */
  readonly position: number;
  /** Clears all states: position 0. */
  reset(): void;
  /** Cuts the states back to their first `position` positions. Throws where a state cannot be cut. */
  rewind(position: number): void;
}

export interface WorstEntry {
  readonly run: number;
  readonly output: string;
  readonly index: number;
  readonly expected: number;
  readonly actual: number;
  /** Largest difference that this output allows. */
  readonly tolerance: number;
}

export interface SelfTestResult {
  /** Whether every output lies within its tolerance. */
  readonly ok: boolean;
  /** The entry that used up the largest share of its tolerance. */
  readonly worst: WorstEntry;
  /** Entries outside their tolerance, and entries compared. */
  readonly failed: number;
  readonly compared: number;
  readonly variant: Variant;
}

export interface Model<
  Inputs = Readonly<Record<string, InputTensor>>,
  Outputs = Readonly<Record<string, OutputTensor>>,
> {
  readonly name: string;
  readonly target: TargetName;
  readonly variant: Variant;
  readonly threads: number;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly state: ModelState;
  /** Runs the model once. Rejects, naming the input, where an input does not fit. */
  run(inputs: Inputs): Promise<Outputs>;
  /** Runs the artifact's own test on this device. Clears the states. */
  selfTest(): Promise<SelfTestResult>;
  /** Lets go of the memory; the model cannot be used afterwards. */
  dispose(): void;
}
