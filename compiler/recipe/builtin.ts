/** The recipes that ship with the compiler, one file each. */

export const builtinRecipes = [
  "as-is",
  "w8a8-static",
  "cle-conv",
  "w8a8-dynamic",
  "w4a8",
  "w4",
  "smoothquant",
  "smoothquant+",
  "awq",
  "outliertune",
  "gptq",
  "gptaq",
  "quantease",
  "quarot",
  "quarot-dense",
  "quarot-static",
  "mergequant",
  "minifloat-ptq",
  "mxfp4",
  "nvfp4",
  "qoq",
  "kv4",
] as const;

/** Text of a shipped recipe; undefined when none has this name. */
export function builtinText(name: string): string | undefined {
  const known: readonly string[] = builtinRecipes;
  return known.includes(name) ? Deno.readTextFileSync(new URL(`./builtin/${name}.jsonc`, import.meta.url)) : undefined;
}
