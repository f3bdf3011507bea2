/** The driver: a model file in, an artifact out. Everything between is a pass or a target. */

import { basename, dirname, extname, resolve, sep } from "node:path";
import {
  type Diagnostic,
  DiagnosticError,
  errorDiagnostic,
  failure,
  nearestName,
  type Outcome,
  success,
} from "./diagnostics.ts";
import { type Binding, type ImportedModel, importModel } from "./import/mod.ts";
import { type Graph, typeOf } from "./ir/graph.ts";
import { schemeOf } from "./ir/types.ts";
import { applyRecipe, type PassLog, runChecked } from "./recipe/apply.ts";
import { loadRecipe } from "./recipe/load.ts";
import { resolveRecipe } from "./recipe/resolve.ts";
import type { Recipe } from "./recipe/schema.ts";
import { type CalibrationData, plainContext } from "./rewrite/pass.ts";
import { selects } from "./rewrite/selector.ts";
import { passes } from "../passes/mod.ts";
import type { Regions } from "./rewrite/region/region.ts";
import { type Artifact, buildArtifact } from "../targets/artifact/build.ts";
import { makeSelfTest } from "../targets/artifact/selftest.ts";
import { refuseFolder, writeArtifact } from "../targets/artifact/write.ts";
import { targets } from "../targets/mod.ts";
import { emitForms, type EmittedModel, type TargetForm } from "../targets/emit.ts";
import type { Target } from "../targets/target.ts";
import { compilerName } from "./version.ts";

/** How far the work is: a stage by name, and the fraction of it that is done. */
export interface Progress {
  readonly stage: string;
  readonly fraction: number;
}

export interface PrepareOptions {
  /** Path of the model: a file or a folder. */
  readonly model: string;
  /** Name of a shipped recipe, or the path of a `.jsonc` file. */
  readonly recipe: string;
  /** `pass.option=value` settings. */
  readonly overrides?: readonly string[];
  /** Names of the targets, with commas; `wasm` when absent. */
  readonly target?: string;
  readonly bind?: Readonly<Record<string, Binding>>;
  readonly logits?: "all" | "last";
  /** Samples for recipes that measure ranges, read once the model's inputs are known. */
  readonly calibration?: (imported: ImportedModel) => Promise<Outcome<CalibrationData>>;
  /** Name of the artifact and its files; that of the model's file or folder when absent. */
  readonly name?: string;
  readonly onProgress?: (progress: Progress) => void;
}

export interface CompileOptions extends PrepareOptions {
  /** Folder to write; nothing is written when absent. */
  readonly out?: string;
}

/** A model after its recipe, fit for its targets. */
export interface Prepared {
  readonly imported: ImportedModel;
  /** The graph as the first target wants it. */
  readonly graph: Graph;
  /** The graph as each target wants it. */
  readonly forms: readonly TargetForm[];
  readonly log: readonly PassLog[];
  readonly regions: Regions;
  readonly recipe: Recipe;
  readonly diagnostics: readonly Diagnostic[];
}

export interface CompileResult extends Prepared {
  readonly emitted: EmittedModel;
  readonly artifact: Artifact;
}

/** The targets of these names (with commas), or a diagnostic for each name that there is no target of. */
export function findTargets(names: string): Outcome<readonly Target[]> {
  const found = [...new Set(names.split(",").map((name) => name.trim()))].map((name) =>
    targets.find((target) => target.name === name) ?? name
  );
  const unknown = found.filter((entry) => typeof entry === "string");
  if (unknown.length > 0) return failure(...unknown.map(unknownTarget));
  return success(found.filter((entry) => typeof entry !== "string"));
}

function unknownTarget(name: string): Diagnostic {
  const known = targets.map((target) => target.name);
  const near = nearestName(name, known);
  return errorDiagnostic("Q0704", `There is no target "${name}"`, {
    help: near === undefined ? `Targets are ${known.join(", ")}` : `Did you mean "${near}"?`,
  });
}

/** Imports a model and applies its recipe and what the target wants before it emits. */
export async function prepareModel(options: PrepareOptions): Promise<Outcome<Prepared>> {
  const imported = await importNamed(options);
  return imported.ok ? await prepareImported(imported.value, options, imported.diagnostics) : imported;
}

/** Imports a model and names its graph. A wrong name of a target or recipe is told first, before a long import. */
export async function importNamed(options: PrepareOptions): Promise<Outcome<ImportedModel>> {
  const target = findTargets(options.target ?? "wasm");
  const recipe = resolvedRecipe(options);
  if (!target.ok || !recipe.ok) return failure(...target.diagnostics, ...recipe.diagnostics);
  options.onProgress?.({ stage: "import", fraction: 0 });
  const imported = await importModel(options.model, {
    bind: options.bind ?? {},
    ...(options.logits === undefined ? {} : { logits: options.logits }),
    onProgress: ({ stage, done, total }) => options.onProgress?.({ stage, fraction: total === 0 ? 1 : done / total }),
  });
  if (!imported.ok) return imported;
  const graph = { ...imported.value.graph, name: options.name ?? modelName(options.model) };
  return success({ ...imported.value, graph }, imported.diagnostics);
}

/** Applies a recipe to an imported model. `before` are the diagnostics of the import. */
export async function prepareImported(
  imported: ImportedModel,
  options: Omit<PrepareOptions, "model" | "bind" | "logits" | "name">,
  before: readonly Diagnostic[] = [],
): Promise<Outcome<Prepared>> {
  const target = findTargets(options.target ?? "wasm");
  const recipe = resolvedRecipe(options);
  if (!target.ok || !recipe.ok) return failure(...target.diagnostics, ...recipe.diagnostics);
  const diagnostics = [...before, ...recipe.diagnostics];
  const refused = target.value.flatMap((each) => refusedFormats(imported.graph, recipe.value, each));
  if (refused.length > 0) return failure(...diagnostics, ...refused);
  const calibration = await options.calibration?.(imported);
  if (calibration !== undefined && !calibration.ok) return failure(...diagnostics, ...calibration.diagnostics);
  const applied = await applyRecipe(imported.graph, recipe.value, {
    ...(calibration === undefined ? {} : { calibration: calibration.value }),
    onProgress: ({ pass, fraction }) => options.onProgress?.({ stage: pass === "" ? "passes" : pass, fraction }),
  });
  if (!applied.ok) return failure(...diagnostics, ...applied.diagnostics);
  const forms: TargetForm[] = [];
  for (const each of target.value) forms.push({ target: each, graph: await legalize(applied.value.graph, each) });
  const unsupported = forms.flatMap((form) => unsupportedSchemes(form.graph, form.target));
  if (unsupported.length > 0) return failure(...diagnostics, ...unsupported);
  return success({
    imported,
    graph: forms[0].graph,
    forms,
    log: applied.value.log,
    regions: applied.value.regions,
    recipe: applied.value.recipe,
    diagnostics: [...diagnostics, ...calibration?.diagnostics ?? [], ...applied.diagnostics],
  });
}

function resolvedRecipe({ recipe, overrides }: Pick<PrepareOptions, "recipe" | "overrides">): Outcome<Recipe> {
  const loaded = loadRecipe(recipe);
  return loaded.ok ? resolveRecipe(loaded.value, overrides) : loaded;
}

/** Makes the artifact of a prepared model, in memory. */
export async function emitModel(
  prepared: Prepared,
  onProgress?: (progress: Progress) => void,
): Promise<Outcome<CompileResult>> {
  try {
    const emitted = await emitForms(prepared.forms, onProgress === undefined ? {} : { onProgress });
    onProgress?.({ stage: "self test", fraction: 0 });
    const selfTest = makeSelfTest(emitted.targets[0].graph);
    const diagnostics = [...prepared.diagnostics];
    for (const { check } of emitted.targets) diagnostics.push(...await check(selfTest));
    const artifact = await buildArtifact(emitted, {
      name: prepared.graph.name,
      compiler: compilerName,
      source: prepared.imported.format,
      recipe: prepared.recipe,
      passes: prepared.log,
      regions: prepared.regions,
      diagnostics,
      metadata: prepared.imported.metadata,
      assets: prepared.imported.assets,
      selfTest,
    });
    return success({ ...prepared, diagnostics, emitted, artifact }, diagnostics);
  } catch (error) {
    if (error instanceof DiagnosticError) return failure(...prepared.diagnostics, ...error.diagnostics);
    throw error;
  }
}

/**
 * Compiles a model file to an artifact, and writes it where `out` says. Nothing is written unless all went well, and
 * a folder that is not an artifact is never touched.
 */
export async function compileModel(options: CompileOptions): Promise<Outcome<CompileResult>> {
  const refused = options.out === undefined ? undefined : await refuseFolder(options.out);
  if (refused !== undefined) return failure(refused);
  const prepared = await prepareModel(options);
  if (!prepared.ok) return prepared;
  const result = await emitModel(prepared.value, options.onProgress);
  if (!result.ok || options.out === undefined) return result;
  options.onProgress?.({ stage: "write", fraction: 0 });
  await writeArtifact(options.out, result.value.artifact.files);
  options.onProgress?.({ stage: "write", fraction: 1 });
  return result;
}

/** The stem of the file's name; the nearest folder's that says more than "model". */
function modelName(path: string): string {
  const full = resolve(path);
  const names = [basename(full, extname(full)), ...dirname(full).split(sep).reverse()];
  return names.find((name) => name !== "" && !/^(model|models|index|graph|network)$/i.test(name)) ?? "model";
}

async function legalize(graph: Graph, target: Target): Promise<Graph> {
  let current = graph;
  for (const pass of target.legalize) current = (await runChecked(pass, current, plainContext())).graph;
  return current;
}

/** One diagnostic for every pass of the recipe that would make codes which the target cannot hold, told before any pass runs. */
function refusedFormats(graph: Graph, recipe: Recipe, target: Target): readonly Diagnostic[] {
  return recipe.passes.flatMap(({ use, options, selector }) => {
    const pass = passes.find(({ name }) => name === use);
    const node = graph.nodes.find((each) => (each.op === "matmul" || each.op === "conv") && selects(selector, each));
    if (pass?.formats === undefined || node === undefined) return [];
    return pass.formats(options).flatMap((format): Diagnostic[] => {
      const answer = target.supports(node, { format, block: [], step: "f32", zeroPoint: false, range: "static" });
      if (answer === true) return [];
      return [errorDiagnostic("Q0705", `Target "${target.name}" cannot hold what "${use}" makes: ${answer.reason}`, {
        node: node.origin[0] ?? node.outputs[0],
        ...(answer.nearest === undefined ? {} : { help: `Nearest that it holds: ${answer.nearest}` }),
      })];
    });
  });
}

/** One diagnostic for every quantized value whose scheme the target cannot hold. */
function unsupportedSchemes(graph: Graph, target: Target): readonly Diagnostic[] {
  return graph.nodes.flatMap((node) =>
    node.outputs.flatMap((value): Diagnostic[] => {
      const scheme = schemeOf(typeOf(graph, value));
      const answer = scheme === undefined ? true : target.supports(node, scheme);
      if (answer === true) return [];
      return [errorDiagnostic("Q0705", `Target "${target.name}" cannot hold %${value}: ${answer.reason}`, {
        node: node.origin[0] ?? value,
        ...(answer.nearest === undefined ? {} : { help: `Nearest that it holds: ${answer.nearest}` }),
      })];
    })
  );
}
