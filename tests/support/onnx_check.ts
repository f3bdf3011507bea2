/** Imports small ONNX models and compares what the evaluator makes of them with onnxruntime. */

import assert from "node:assert/strict";
import { type Diagnostic, formatDiagnostic, type Outcome } from "../../compiler/diagnostics.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";
import { verify } from "../../compiler/ir/verify.ts";
import type { Binding, ImportedModel } from "../../compiler/import/model.ts";
import { importOnnxBytes } from "../../compiler/import/onnx/import_onnx.ts";
import { maxAbsDifference } from "./compare.ts";
import { type ModelSpec, onnxBytes } from "./onnx_builder.ts";
import { runOnnxRuntime } from "./onnxruntime.ts";

type Bind = Readonly<Record<string, Binding>>;

export function importSpec(spec: ModelSpec, bind: Bind = {}): Outcome<ImportedModel> {
  return importOnnxBytes(onnxBytes(spec), { bind });
}

/** The verified graph of a model that must import. */
export function graphOf(spec: ModelSpec, bind: Bind = {}): Graph {
  return verifiedGraph(importSpec(spec, bind));
}

export function verifiedGraph(outcome: Outcome<ImportedModel>): Graph {
  assert.ok(outcome.ok, outcome.diagnostics.map(formatDiagnostic).join("\n"));
  const faults = verify(outcome.value.graph);
  assert.deepEqual(faults.map(formatDiagnostic), []);
  return outcome.value.graph;
}

/** The errors of a model that must not import. */
export function errorsOf(outcome: Outcome<unknown>): readonly Diagnostic[] {
  assert.equal(outcome.ok, false, "the import should fail");
  return outcome.diagnostics.filter(({ severity }) => severity === "error");
}

/** The ops of a graph without its constants, in order. */
export function opsOf(graph: Graph): readonly string[] {
  return graph.nodes.map(({ op }) => op).filter((op) => op !== "constant");
}

/** The entries of a plain tensor as numbers. */
export function numbers(tensor: Tensor | undefined): number[] {
  assert.ok(tensor?.kind === "plain", "wanted a plain tensor");
  return Array.from<number | bigint, number>(tensor.data, Number);
}

export interface Agreement {
  readonly bind?: Bind;
  /** Largest difference allowed; 0 when absent: the op moves or counts exactly. */
  readonly bound?: number;
}

/** Checks that the evaluator and onnxruntime agree on every output: shape, element, entries. Yields the graph. */
export async function checkAgainstRuntime(
  spec: ModelSpec,
  inputs: Readonly<Record<string, Tensor>>,
  { bind = {}, bound = 0 }: Agreement = {},
): Promise<Graph> {
  const graph = graphOf(spec, bind);
  const [expected] = await runOnnxRuntime(onnxBytes(spec), [inputs]);
  const { outputs } = evaluateGraph(graph, inputs);
  assert.deepEqual(Object.keys(outputs).sort(), Object.keys(expected).sort());
  for (const [name, want] of Object.entries(expected)) {
    const got = outputs[name];
    assert.ok(got.kind === "plain");
    assert.deepEqual([got.element, got.shape], [want.element, want.shape], name);
    const worst = maxAbsDifference(numbers(want), numbers(got));
    assert.ok(worst <= bound, `"${name}" differs by ${worst}, allowed is ${bound}`);
  }
  return graph;
}
