/**
 * The compiler's public API.
 *
 * @example
 * ```ts
 * import { compileModel } from "quern";
 *
 * const result = await compileModel({ model: "model.onnx", recipe: "as-is", bind: { batch: 1 }, out: "out" });
 * if (!result.ok) for (const diagnostic of result.diagnostics) console.error(diagnostic.message);
 * ```
 */

export {
  compileModel,
  type CompileOptions,
  type CompileResult,
  emitModel,
  type Prepared,
  prepareImported,
  prepareModel,
  type PrepareOptions,
  type Progress,
} from "./driver.ts";
export { type Diagnostic, formatDiagnostic, InvariantError, type Outcome } from "./diagnostics.ts";
export { type Binding, type ImportedModel, importModel, type ImportOptions } from "./import/mod.ts";
export type { Graph } from "./ir/graph.ts";
export { parseGraph } from "./ir/parse.ts";
export { printGraph } from "./ir/print.ts";
export { verify } from "./ir/verify.ts";
export { evaluateGraph } from "./ir/evaluate/mod.ts";
export { loadRecipe } from "./recipe/load.ts";
export type { CalibrationData } from "./rewrite/pass.ts";
export type { Artifact } from "../targets/artifact/build.ts";
export { writeArtifact } from "../targets/artifact/write.ts";
export { targets } from "../targets/mod.ts";
export { version } from "./version.ts";
