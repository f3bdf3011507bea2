/** Builds all files of an artifact from what a target emitted. Equal input gives equal bytes. */

import type { Diagnostic } from "../../compiler/diagnostics.ts";
import type { PassLog } from "../../compiler/recipe/apply.ts";
import type { Recipe } from "../../compiler/recipe/schema.ts";
import type { EmittedModel } from "../emit.ts";
import type { ArtifactFile } from "../target.ts";
import { bundleLoaders, declarationText, runtimeCode } from "./bundle.ts";
import { binaryFile, fileBytes, jsonFile, sha256, textFile } from "./files.ts";
import { manifestOf } from "./manifest.ts";
import type { Regions } from "../../compiler/rewrite/region/region.ts";
import { makeReport, type Report } from "./report.ts";
import { reportHtml } from "./report_html.ts";
import { weightsFile } from "./weights.ts";

export interface ArtifactFacts {
  readonly name: string;
  /** Name and version of the compiler. */
  readonly compiler: string;
  /** Format of the source model. */
  readonly source: string;
  readonly recipe: Recipe;
  readonly passes: readonly PassLog[];
  readonly regions: Regions;
  readonly diagnostics: readonly Diagnostic[];
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Files of the source model that go along as they are. */
  readonly assets: Readonly<Record<string, Uint8Array<ArrayBuffer>>>;
  readonly selfTest: Uint8Array<ArrayBuffer>;
}

export interface Artifact {
  readonly files: readonly ArtifactFile[];
  readonly report: Report;
}

const selfTestName = "selftest.bin";

export async function buildArtifact(emitted: EmittedModel, facts: ArtifactFacts): Promise<Artifact> {
  const { targets } = emitted;
  const weights = emitted.weights.map((part) => ({ part, file: weightsFile(part) }));
  const banner = `// ${oneLine(facts.name)}, compiled by ${facts.compiler}. Types stand in mod.d.ts.`;
  const loaders = targets.map(({ target: { name }, runtime }) => ({
    target: name,
    ...runtime({
      weights: weights.filter(({ part }) => part.targets.includes(name)).map(({ part, file }) => ({
        file: file.path,
        offset: part.offset,
        bytes: fileBytes(file),
        sha256: sha256(file.chunks),
      })),
      selfTest: selfTestName,
    }),
  }));
  const declarations = await declarationText(targets[0], banner);
  const assets = Object.entries(facts.assets).sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, bytes]) => binaryFile(path, bytes));
  const kernels = targets.flatMap((target) => target.kernels);
  const code = new Set(targets.flatMap((target) => target.code));
  const report = makeReport(emitted, {
    name: facts.name,
    source: facts.source,
    recipe: facts.recipe.name,
    passes: facts.passes,
    regions: facts.regions,
    diagnostics: facts.diagnostics,
    codeBytes: Object.fromEntries(
      kernels.filter(({ path }) => code.has(path)).map((file) => [file.path, fileBytes(file)]),
    ),
    runtimeBytes: new TextEncoder().encode(runtimeCode(loaders)).byteLength,
  });
  const files = [
    jsonFile("package.json", packageJson(facts.name)),
    textFile("mod.js", bundleLoaders(loaders, banner)),
    textFile("mod.d.ts", declarations),
    ...kernels,
    ...weights.map(({ file }) => file),
    binaryFile(selfTestName, facts.selfTest),
    jsonFile("report.json", report),
    textFile("report.html", reportHtml(report)),
    ...assets,
  ];
  const manifest = manifestOf(emitted, {
    name: facts.name,
    compiler: facts.compiler,
    source: facts.source,
    recipe: facts.recipe,
    metadata: facts.metadata,
    files,
  });
  return { files: [...files, jsonFile("manifest.json", manifest)], report };
}

/** Names npm would refuse are mended: lower case, letters, digits, `-`, `_` and `.`. */
function packageJson(name: string): Readonly<Record<string, unknown>> {
  const fit = name.toLowerCase().replace(/[^a-z0-9._-]+/g, "-").replace(/^[._-]+|-+$/g, "") || "model";
  return {
    name: fit,
    private: true,
    type: "module",
    exports: { ".": { types: "./mod.d.ts", default: "./mod.js" }, "./*": "./*" },
    types: "./mod.d.ts",
    sideEffects: false,
  };
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ");
}
