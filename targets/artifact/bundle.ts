/** mod.js and mod.d.ts: the runtime with one model's facts, as one file without imports. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { InvariantError } from "../../compiler/diagnostics.ts";
import type { ElementType } from "../../compiler/numeric/element.ts";
import type { BorderEntry } from "../target.ts";

const nodeFiles = `import("node:fs/promises")`;
// Bundlers of web pages must leave the import alone: it only runs in Node and Deno.
const nodeFilesIgnored = `import(/* webpackIgnore: true *//* @vite-ignore */"node:fs/promises")`;

/** A target's runtime: a module that exports `loadModel(spec, home, options)`, and the model's spec. */
export interface BundledLoader {
  readonly target: string;
  readonly entry: URL;
  readonly spec: unknown;
}

const runtimeFolder = fileURLToPath(new URL("../../runtime/", import.meta.url));

/** The module's text: banner, then the minified runtimes with the specs in them. */
export function bundleLoaders(loaders: readonly BundledLoader[], banner: string): string {
  const contents = [
    `import { loadFirst } from "./pick.ts";`,
    `import type { LoadOptions } from "./api.ts";`,
    ...loaders.map(({ entry }, index) =>
      `import { loadModel as load${index} } from ${JSON.stringify(fileURLToPath(entry))};`
    ),
    ...loaders.map(({ spec }, index) => `const spec${index} = ${JSON.stringify(spec)};`),
    "export function load(options?: LoadOptions) { return loadFirst([",
    ...loaders.map(({ target }, index) =>
      `{ target: "${target}", load: (given: LoadOptions) => load${index}(spec${index}, import.meta.url, given) },`
    ),
    "], options); }",
  ].join("\n");
  // A build of its own process: no service stays behind, and builds may overlap.
  const result = esbuild.buildSync({
    stdin: { contents, resolveDir: runtimeFolder, loader: "ts", sourcefile: "mod.ts" },
    bundle: true,
    format: "esm",
    minify: true,
    write: false,
    platform: "neutral",
    target: "es2022",
    charset: "utf8",
    external: ["node:*"],
  });
  const [{ text }] = result.outputFiles;
  if (!text.includes(nodeFiles)) throw new InvariantError("The bundled runtime does not read files", "emit");
  return `${banner}\n${text.replaceAll(nodeFiles, nodeFilesIgnored)}`;
}

/** The runtimes without any model's facts. */
export function runtimeCode(loaders: readonly BundledLoader[]): string {
  return bundleLoaders(loaders.map((loader) => ({ ...loader, spec: {} })), "");
}

const arrayTypes: Readonly<Record<ElementType, string>> = {
  bool: "Uint8Array",
  u8: "Uint8Array | Uint8ClampedArray",
  i8: "Int8Array",
  u16: "Uint16Array",
  i16: "Int16Array",
  u32: "Uint32Array",
  i32: "Int32Array",
  u64: "BigUint64Array | Int32Array",
  i64: "BigInt64Array | Int32Array",
  f16: "NumberArray",
  bf16: "Uint16Array",
  f32: "Float32Array",
  f64: "Float64Array",
};

const outputTypes: Readonly<Record<ElementType, string>> = {
  ...arrayTypes,
  u8: "Uint8Array",
  u64: "BigUint64Array",
  i64: "BigInt64Array",
};

/** The declarations: those of the runtime, then this model's own inputs and outputs. */
export async function declarationText(
  borders: { readonly inputs: readonly BorderEntry[]; readonly outputs: readonly BorderEntry[] },
  banner: string,
): Promise<string> {
  const member = (type: string, types: typeof arrayTypes) => ({ name, element }: BorderEntry) =>
    `  readonly ${JSON.stringify(name)}: ${type}<${types[element]}>;`;
  return [
    banner,
    (await readFile(join(runtimeFolder, "api.ts"), "utf8")).trimEnd(),
    "",
    "/** Inputs of this model. */",
    "export interface Inputs {",
    ...borders.inputs.map(member("InputTensor", arrayTypes)),
    "}",
    "",
    "/** Outputs of this model. */",
    "export interface Outputs {",
    ...borders.outputs.map(member("OutputTensor", outputTypes)),
    "}",
    "",
    "/** Fetches kernels and weights, and makes the model ready. Rejects with an Error that says what is wrong. */",
    "export declare function load(options?: LoadOptions): Promise<Model<Inputs, Outputs>>;",
    "",
  ].join("\n");
}
