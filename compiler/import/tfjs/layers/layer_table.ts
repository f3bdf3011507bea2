/** What every Keras layer computes, as IR nodes. */

import { type Diagnostic, DiagnosticError } from "../../../diagnostics.ts";
import type { ValueName } from "../../../ir/node.ts";
import { Fields } from "../../fields.ts";
import type { FoldingBuilder } from "../../onnx/folding_builder.ts";
import { denseLayers } from "./dense_layers.ts";
import type { LayerImporterTable } from "./layer_context.ts";
import type { LayerSpec } from "./model.ts";
import { simpleLayers } from "./simple_layers.ts";
import type { LayerWeights } from "./weights.ts";
import { windowLayers } from "./window_layers.ts";

export const layerTable: LayerImporterTable = { ...windowLayers, ...denseLayers, ...simpleLayers };

/** Runs a layer's importer; faults of its configuration become one DiagnosticError. */
export function importLayer(
  builder: FoldingBuilder,
  layer: LayerSpec,
  weights: LayerWeights,
  inputs: readonly ValueName[],
): ValueName {
  const importer = layerTable[layer.className];
  const diagnostics: Diagnostic[] = [];
  const fields = new Fields(layer.config, layer.name, diagnostics, "Q0464");
  const output = importer({ builder, layer, fields, weights, inputs });
  if (diagnostics.length > 0) throw new DiagnosticError(diagnostics);
  return output;
}
