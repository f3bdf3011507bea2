/** What every importer takes and gives. */

import type { SymbolRange } from "../ir/extent.ts";
import type { Graph } from "../ir/graph.ts";

/** The value of a symbol: one number, or a range that keeps it symbolic up to its bound. */
export type Binding = number | SymbolRange;

/** How far a long import is: `done` of `total` units of `stage`. */
export interface ImportProgress {
  readonly stage: string;
  readonly done: number;
  readonly total: number;
}

export interface ImportOptions {
  /** Symbols of the source model by name; an unnamed axis is `inputName.axis`. */
  readonly bind: Readonly<Record<string, Binding>>;
  readonly onProgress?: (progress: ImportProgress) => void;
  /** Language models: logits of every position, or of the last one of each call (the default). */
  readonly logits?: "all" | "last";
}

export type ModelFormat = "onnx" | "safetensors" | "gguf" | "tfjs" | "qir";

/** A source model as a graph, with the files and facts that stay beside it. */
export interface ImportedModel {
  readonly graph: Graph;
  readonly format: ModelFormat;
  /** Files that go into the artifact as they are (`tokenizer.json` and the like). */
  readonly assets: Readonly<Record<string, Uint8Array<ArrayBuffer>>>;
  readonly metadata: Readonly<Record<string, unknown>>;
}
