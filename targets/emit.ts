/** Emits a graph for one target or several: weights that all read alike are stored once. */

import type { Graph } from "../compiler/ir/graph.ts";
import { alignUp } from "./plan/memory.ts";
import { weightsEnd } from "./plan/weights.ts";
import type { EmitOptions, Emitted, Target, WeightEntry } from "./target.ts";

/** A graph as one target wants it. */
export interface TargetForm {
  readonly target: Target;
  readonly graph: Graph;
}

export interface EmittedTarget extends Emitted {
  readonly target: Target;
}

/** A file of weights, and the targets that read it. */
export interface WeightsFile {
  readonly path: string;
  readonly targets: readonly string[];
  /** Where the file lies in the weights of its targets. */
  readonly offset: number;
  readonly entries: readonly WeightEntry[];
}

/** What all targets made of a model. */
export interface EmittedModel {
  readonly targets: readonly EmittedTarget[];
  readonly weights: readonly WeightsFile[];
}

const alignment = 64;

/** Emits every form. Throws DiagnosticError where a graph does not fit its target. */
export async function emitForms(forms: readonly TargetForm[], options: EmitOptions = {}): Promise<EmittedModel> {
  const shared = forms.length === 1 ? [] : sharedWeights(forms.map(({ target, graph }) => target.weights(graph)));
  const targets: EmittedTarget[] = [];
  for (const { target, graph } of forms) targets.push({ target, ...await target.emit(graph, { ...options, shared }) });
  const names = targets.map(({ target }) => target.name);
  if (targets.length === 1) {
    return { targets, weights: [{ path: "weights.bin", targets: names, offset: 0, entries: targets[0].weights }] };
  }
  const offset = alignUp(weightsEnd(shared), alignment);
  const own = targets.map(({ target: { name }, weights }): WeightsFile => ({
    path: `weights.${name}.bin`,
    targets: [name],
    offset,
    entries: weights.slice(shared.length),
  }));
  const files = [{ path: "weights.bin", targets: names, offset: 0, entries: shared }, ...own];
  return { targets, weights: files.filter(({ entries }) => entries.length > 0) };
}

/** The weights that all targets read, of equal bytes, end to end in the first one's order. */
function sharedWeights([first, ...others]: readonly (readonly WeightEntry[])[]): readonly WeightEntry[] {
  const tables = others.map((list) => new Map(list.map((entry) => [entry.key, entry.bytes])));
  const equal = first.filter(({ key, bytes }) => tables.every((table) => equalBytes(table.get(key), bytes)));
  let end = 0;
  return equal.map((entry) => {
    const offset = alignUp(end, alignment);
    end = offset + entry.bytes.byteLength;
    return { ...entry, offset };
  });
}

function equalBytes(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && a.byteLength === b.byteLength && a.every((byte, index) => byte === b[index]);
}
