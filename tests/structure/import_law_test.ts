/** The folder tree shows the architecture: a layer imports only layers below it, and `runtime/` stands alone. */

import assert from "node:assert/strict";

/** Layers by folder, lowest first; the longest matching prefix decides. `diagnostics.ts` serves all, and so do the contracts of `runtime/`. */
const layers: readonly { readonly prefix: string; readonly rank: number }[] = [
  { prefix: "deno.json", rank: 0 },
  { prefix: "compiler/diagnostics.ts", rank: 0 },
  { prefix: "runtime/", rank: 0 },
  { prefix: "compiler/numeric/", rank: 1 },
  { prefix: "compiler/ir/", rank: 2 },
  { prefix: "compiler/rewrite/", rank: 3 },
  { prefix: "compiler/import/", rank: 4 },
  { prefix: "compiler/reference/", rank: 4 },
  { prefix: "passes/", rank: 5 },
  { prefix: "compiler/recipe/", rank: 6 },
  { prefix: "targets/", rank: 7 },
  { prefix: "compiler/", rank: 8 },
];

const root = new URL("../../", import.meta.url);

function rankOf(path: string): number | undefined {
  return layers.filter((layer) => path.startsWith(layer.prefix))
    .sort((a, b) => b.prefix.length - a.prefix.length)[0]?.rank;
}

function sourceFiles(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, root))].flatMap((entry) => {
    const path = `${folder}${entry.name}`;
    if (entry.isDirectory) return sourceFiles(`${path}/`);
    return entry.name.endsWith(".ts") && !entry.name.endsWith("_test.ts") ? [path] : [];
  });
}

/** Repository paths that a file imports by relative specifier. */
function importsOf(path: string, text: string): string[] {
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)].map((match) => match[1]);
  return specifiers.map((specifier) => new URL(specifier, new URL(path, root)).href.slice(root.href.length));
}

/** Every import that goes up the layers, as "importer -> imported". */
function violations(files: readonly { readonly path: string; readonly text: string }[]): string[] {
  return files.flatMap(({ path, text }) => {
    const own = rankOf(path);
    return importsOf(path, text).filter((target) => {
      if (path.startsWith("runtime/")) return !target.startsWith("runtime/");
      const other = rankOf(target);
      return own !== undefined && (other === undefined || other > own);
    }).map((target) => `${path} -> ${target}`);
  });
}

Deno.test("no layer imports one above it, and the runtime imports nothing from outside", () => {
  const files = ["compiler/", "passes/", "targets/", "runtime/"].flatMap(sourceFiles)
    .map((path) => ({ path, text: Deno.readTextFileSync(new URL(path, root)) }));
  assert.ok(files.length > 20);
  assert.deepEqual(violations(files), []);
});

Deno.test("the import law finds a planted violation", () => {
  const planted = [
    { path: "compiler/numeric/x.ts", text: 'import { a } from "../ir/graph.ts";' },
    { path: "runtime/wasm/x.ts", text: 'import { a } from "../../compiler/diagnostics.ts";' },
    { path: "compiler/ir/y.ts", text: 'import { a } from "../numeric/element.ts";' },
  ];
  assert.deepEqual(violations(planted), [
    "compiler/numeric/x.ts -> compiler/ir/graph.ts",
    "runtime/wasm/x.ts -> compiler/diagnostics.ts",
  ]);
});
