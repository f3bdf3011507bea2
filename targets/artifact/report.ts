/** The report of a compilation: what was made of every node, in numbers and in words. */

import type { Diagnostic } from "../../compiler/diagnostics.ts";
import { typeOf } from "../../compiler/ir/graph.ts";
import { printType } from "../../compiler/ir/types.ts";
import type { PassLog } from "../../compiler/recipe/apply.ts";
import type { Regions } from "../../compiler/rewrite/region/region.ts";
import { nodeLabel } from "../../compiler/rewrite/rule.ts";
import type { EmittedModel, EmittedTarget } from "../emit.ts";
import type { MemoryReport } from "../target.ts";
import { type Sizes, sizesOf } from "./sizes.ts";

export interface NodeRow {
  readonly nodes: readonly string[];
  readonly ops: readonly string[];
  readonly outputs: readonly { readonly value: string; readonly type: string }[];
  readonly kernel: string;
  readonly weightBytes: number;
}

/** What one target runs. */
export interface TargetReport {
  readonly name: string;
  readonly memory: MemoryReport;
  readonly nodes: readonly NodeRow[];
}

/** A set of channels that transforms work on, or a place that looked like one and why it is none. */
export interface RegionRow {
  readonly kind: string;
  readonly name: string;
  readonly channels?: number;
  /** Source names of the nodes that read the channels. */
  readonly readers?: readonly string[];
  readonly declined?: string;
}

export interface Report {
  readonly name: string;
  readonly source: string;
  readonly recipe: string;
  /** Weights that one device fetches: those of the first target. */
  readonly sizes: Sizes;
  readonly code: { readonly bytes: Readonly<Record<string, number>>; readonly runtimeBytes: number };
  readonly targets: readonly TargetReport[];
  readonly passes: readonly PassLog[];
  readonly regions: readonly RegionRow[];
  readonly diagnostics: readonly Diagnostic[];
}

export interface ReportFacts {
  readonly name: string;
  readonly source: string;
  readonly recipe: string;
  readonly passes: readonly PassLog[];
  readonly regions: Regions;
  readonly diagnostics: readonly Diagnostic[];
  /** Bytes of each file of code, by path. */
  readonly codeBytes: Readonly<Record<string, number>>;
  readonly runtimeBytes: number;
}

export function makeReport(emitted: EmittedModel, facts: ReportFacts): Report {
  return {
    name: facts.name,
    source: facts.source,
    recipe: facts.recipe,
    sizes: sizesOf(emitted.targets[0].graph, emitted.targets[0].weights),
    code: { bytes: facts.codeBytes, runtimeBytes: facts.runtimeBytes },
    targets: emitted.targets.map(targetReport),
    passes: facts.passes,
    regions: regionRows(facts.regions),
    diagnostics: facts.diagnostics,
  };
}

function targetReport({ target, graph, rows, memory }: EmittedTarget): TargetReport {
  return {
    name: target.name,
    memory,
    nodes: rows.map((row) => ({
      nodes: row.origin,
      ops: row.ops,
      outputs: row.outputs.map((value) => ({ value, type: printType(typeOf(graph, value)) })),
      kernel: row.kernel,
      weightBytes: row.weightBytes,
    })),
  };
}

/** Regions in the graph's order, the residual stream, then what was declined. */
export function regionRows({ regions, residual, declined }: Regions): readonly RegionRow[] {
  return [
    ...regions.map(({ kind, name, channels, sinks }) => ({
      kind,
      name,
      channels,
      readers: [...new Set(sinks.map(({ node }) => nodeLabel(node)))],
    })),
    ...(residual === undefined ? [] : [{ kind: "residual", name: "residual stream", channels: residual.channels }]),
    ...declined.map(({ kind, name, reason }) => ({ kind, name, declined: reason })),
  ];
}
