/** The report of a compilation: what was made of every node, in numbers and in words. */

import type { Diagnostic } from "../../compiler/diagnostics.ts";
import { typeOf } from "../../compiler/ir/graph.ts";
import { printType } from "../../compiler/ir/types.ts";
import type { PassLog } from "../../compiler/recipe/apply.ts";
import type { Emitted } from "../target.ts";
import { type Sizes, sizesOf } from "./sizes.ts";

export interface NodeRow {
  readonly nodes: readonly string[];
  readonly ops: readonly string[];
  readonly outputs: readonly { readonly value: string; readonly type: string }[];
  readonly kernel: string;
  readonly weightBytes: number;
}

export interface Report {
  readonly name: string;
  readonly source: string;
  readonly recipe: string;
  readonly target: string;
  readonly sizes: Sizes;
  readonly code: { readonly bytes: Readonly<Record<string, number>>; readonly runtimeBytes: number };
  readonly memory: Emitted["memory"];
  readonly nodes: readonly NodeRow[];
  readonly passes: readonly PassLog[];
  readonly diagnostics: readonly Diagnostic[];
}

export interface ReportFacts {
  readonly name: string;
  readonly source: string;
  readonly recipe: string;
  readonly target: string;
  readonly passes: readonly PassLog[];
  readonly diagnostics: readonly Diagnostic[];
  /** Bytes of each file of code, by path. */
  readonly codeBytes: Readonly<Record<string, number>>;
  readonly runtimeBytes: number;
}

export function makeReport(emitted: Emitted, facts: ReportFacts): Report {
  const { graph, weights, rows, memory } = emitted;
  return {
    name: facts.name,
    source: facts.source,
    recipe: facts.recipe,
    target: facts.target,
    sizes: sizesOf(graph, weights),
    code: { bytes: facts.codeBytes, runtimeBytes: facts.runtimeBytes },
    memory,
    nodes: rows.map((row) => ({
      nodes: row.origin,
      ops: row.ops,
      outputs: row.outputs.map((value) => ({ value, type: printType(typeOf(graph, value)) })),
      kernel: row.kernel,
      weightBytes: row.weightBytes,
    })),
    passes: facts.passes,
    diagnostics: facts.diagnostics,
  };
}
