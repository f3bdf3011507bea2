/** Reads recipes from JSONC text, strictly: every fault is found, with its place and the nearest name. */

import { type Node as JsonNode, type ParseError, parseTree, printParseErrorCode } from "jsonc-parser";
import { type Diagnostic, errorDiagnostic, failure, nearestName, type Outcome, success } from "../diagnostics.ts";
import type { Json } from "../rewrite/options.ts";
import { readOptions } from "../rewrite/options.ts";
import { compilePattern } from "../rewrite/selector.ts";
import { passes } from "../../passes/mod.ts";
import { builtinRecipes, builtinText } from "./builtin.ts";
import {
  type Recipe,
  recipeKeys,
  type RecipePipeline,
  type RecipeStep,
  type RecipeTarget,
  recipeVersion,
} from "./schema.ts";

/** Loads a shipped recipe by name, or a `.jsonc`/`.json` file by path. */
export function loadRecipe(nameOrPath: string): Outcome<Recipe> {
  const shipped = builtinText(nameOrPath);
  if (shipped !== undefined) return parseRecipe(shipped, nameOrPath);
  if (!/\.jsonc?$/.test(nameOrPath)) {
    const near = nearestName(nameOrPath, builtinRecipes);
    return failure(errorDiagnostic("Q0301", `There is no recipe "${nameOrPath}"`, {
      help: near === undefined
        ? `Recipes are ${builtinRecipes.join(", ")}, or the path of a .jsonc file`
        : `Did you mean "${near}"?`,
    }));
  }
  try {
    return parseRecipe(Deno.readTextFileSync(nameOrPath), nameOrPath);
  } catch (error) {
    if (
      !(error instanceof Deno.errors.NotFound) && !(error instanceof Deno.errors.PermissionDenied) &&
      !(error instanceof Deno.errors.IsADirectory)
    ) throw error;
    return failure(errorDiagnostic("Q0301", `Cannot read the recipe file "${nameOrPath}"`, {
      notes: [error.message],
    }));
  }
}

/** Parses recipe text. `source` names it in messages. */
export function parseRecipe(text: string, source: string): Outcome<Recipe> {
  const errors: ParseError[] = [];
  const root = parseTree(text, errors, { allowTrailingComma: true, disallowComments: false });
  const reader = new RecipeReader(text, source);
  for (const { error, offset } of errors) {
    reader.report("Q0302", `The recipe is not JSONC: ${spaced(printParseErrorCode(error))}`, offset);
  }
  if (errors.length > 0) return failure(...reader.diagnostics);
  if (root === undefined) {
    reader.report("Q0302", "The recipe is empty", 0);
    return failure(...reader.diagnostics);
  }
  const recipe = reader.recipe(root);
  return recipe === undefined || reader.diagnostics.length > 0 ? failure(...reader.diagnostics) : success(recipe);
}

function spaced(camelCase: string): string {
  return camelCase.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}

/** Walks the syntax tree; collects every fault with its place. */
class RecipeReader {
  readonly diagnostics: Diagnostic[] = [];

  constructor(readonly text: string, readonly source: string) {}

  report(code: string, message: string, offset: number, help?: string): void {
    this.diagnostics.push(errorDiagnostic(code, message, {
      node: this.place(offset),
      ...(help === undefined ? {} : { help }),
    }));
  }

  place(offset: number): string {
    const before = this.text.slice(0, offset).split("\n");
    return `${this.source}:${before.length}:${before[before.length - 1].length + 1} (offset ${offset})`;
  }

  recipe(root: JsonNode): Recipe | undefined {
    const entries = this.entries(root, "the recipe");
    if (entries === undefined) return undefined;
    this.knownKeys(entries, recipeKeys, "a recipe");
    const version = entries.get("recipe");
    if (version === undefined) {
      this.report("Q0307", `The recipe does not state its version`, root.offset, `Add "recipe": ${recipeVersion}`);
    } else if (valueOf(version) !== recipeVersion) {
      this.report(
        "Q0307",
        `Recipe version ${JSON.stringify(valueOf(version))} is not known`,
        version.offset,
        `This compiler reads version ${recipeVersion}`,
      );
    }
    const steps = entries.get("passes");
    const target = entries.get("target");
    if (steps === undefined) {
      this.report("Q0303", `The recipe has no "passes"`, root.offset, `Add "passes": []`);
    }
    return {
      name: this.string(entries.get("name"), "name", recipeName(this.source)),
      summary: this.string(entries.get("summary"), "summary", ""),
      seed: this.seed(entries.get("seed")),
      pipeline: this.pipeline(entries.get("pipeline")),
      passes: steps === undefined ? [] : this.items(steps, "passes").flatMap((item) => this.step(item) ?? []),
      ...(target === undefined ? {} : { target: this.target(target) }),
    };
  }

  step(node: JsonNode): RecipeStep | undefined {
    const entries = this.entries(node, "a pass");
    if (entries === undefined) return undefined;
    const use = entries.get("use");
    if (use === undefined) {
      this.report("Q0303", `A pass of the recipe has no "use"`, node.offset, `Name the pass: { "use": "..." }`);
      return undefined;
    }
    const name = this.string(use, "use", "");
    const pass = passes.find((candidate) => candidate.name === name);
    if (pass === undefined) {
      this.report("Q0304", `There is no pass "${name}"`, use.offset, nearHelp(name, passes.map((known) => known.name)));
      return undefined;
    }
    const places = new Map([["", this.place(node.offset)]]);
    const given: Record<string, Json> = {};
    for (const [key, value] of entries) {
      places.set(key, this.place(value.offset));
      if (key !== "use" && key !== "targets" && key !== "ignore") given[key] = valueOf(value);
    }
    const faults = readOptions(pass.options, given).faults
      .map((fault) => ({ ...fault, offset: (entries.get(fault.key) ?? node).offset }));
    for (const fault of faults.sort((a, b) => a.offset - b.offset)) {
      this.report("Q0305", `Pass "${name}": ${fault.message}`, fault.offset, fault.help);
    }
    const targets = this.patterns(entries.get("targets"), "targets", places);
    const ignore = this.patterns(entries.get("ignore"), "ignore", places);
    return { use: name, options: given, selector: { targets, ignore }, places };
  }

  patterns(node: JsonNode | undefined, key: string, places: Map<string, string>): string[] {
    if (node === undefined) return [];
    return this.items(node, key).flatMap((item, index) => {
      const pattern = valueOf(item);
      if (typeof pattern !== "string") {
        this.report("Q0305", `"${key}" holds ${JSON.stringify(pattern)}, wants strings`, item.offset);
        return [];
      }
      if (pattern.startsWith("re:") && compilePattern(pattern) === undefined) {
        this.report("Q0305", `"${pattern}" is not a regular expression`, item.offset);
        return [];
      }
      places.set(`${key}[${index}]`, this.place(item.offset));
      return [pattern];
    });
  }

  target(node: JsonNode): RecipeTarget {
    const entries = this.entries(node, "the target") ?? new Map<string, JsonNode>();
    this.knownKeys(entries, ["use", "features"], "a target");
    const features = entries.get("features");
    return {
      use: this.string(entries.get("use"), "use", "wasm"),
      features: features === undefined
        ? []
        : this.items(features, "features").map((item) => this.string(item, "features", "")),
    };
  }

  seed(node: JsonNode | undefined): number {
    if (node === undefined) return 0;
    const value = valueOf(node);
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 2 ** 32) return value;
    this.report("Q0305", `"seed" is ${JSON.stringify(value)}, wants an integer from 0 to 4294967295`, node.offset);
    return 0;
  }

  pipeline(node: JsonNode | undefined): RecipePipeline {
    if (node === undefined) return "standard";
    const value = valueOf(node);
    if (value === "standard" || value === "explicit") return value;
    this.report("Q0305", `"pipeline" is ${JSON.stringify(value)}, wants "standard" or "explicit"`, node.offset);
    return "standard";
  }

  string(node: JsonNode | undefined, key: string, fallback: string): string {
    if (node === undefined) return fallback;
    const value = valueOf(node);
    if (typeof value === "string") return value;
    this.report("Q0305", `"${key}" is ${JSON.stringify(value)}, wants a string`, node.offset);
    return fallback;
  }

  items(node: JsonNode, key: string): readonly JsonNode[] {
    if (node.type === "array") return node.children ?? [];
    this.report("Q0305", `"${key}" is not a list`, node.offset);
    return [];
  }

  entries(node: JsonNode, what: string): Map<string, JsonNode> | undefined {
    if (node.type !== "object") {
      this.report("Q0303", `${capitalized(what)} is not an object`, node.offset);
      return undefined;
    }
    const entries = new Map<string, JsonNode>();
    for (const property of node.children ?? []) {
      const [key, value] = property.children ?? [];
      if (value === undefined) continue;
      if (entries.has(key.value)) this.report("Q0303", `"${key.value}" stands twice in ${what}`, key.offset);
      entries.set(key.value, value);
    }
    return entries;
  }

  knownKeys(entries: ReadonlyMap<string, JsonNode>, known: readonly string[], what: string): void {
    for (const [key, value] of entries) {
      if (known.includes(key)) continue;
      this.report(
        "Q0303",
        `"${key}" is not a key of ${what}`,
        value.parent?.offset ?? value.offset,
        nearHelp(key, known),
      );
    }
  }
}

function valueOf(node: JsonNode): Json {
  switch (node.type) {
    case "object":
      return Object.fromEntries((node.children ?? []).map((property) => {
        const [key, value] = property.children ?? [];
        return [String(key.value), valueOf(value)];
      }));
    case "array":
      return (node.children ?? []).map(valueOf);
    default:
      return node.value;
  }
}

function nearHelp(name: string, known: readonly string[]): string {
  const near = nearestName(name, known);
  return near === undefined ? `Known are ${known.join(", ")}` : `Did you mean "${near}"?`;
}

function recipeName(source: string): string {
  return source.replace(/^.*[\\/]/, "").replace(/\.jsonc?$/, "");
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
