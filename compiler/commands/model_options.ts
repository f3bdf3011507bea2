/** Options of every command that imports a model and applies a recipe. */

import { type Command, InvalidArgumentError } from "commander";
import { type ImageOptions, parseImageOptions } from "../data/images.ts";
import type { PrepareOptions } from "../driver.ts";
import { builtinRecipes } from "../recipe/builtin.ts";
import { targets } from "../../targets/mod.ts";
import { type Bindings, collected, parseBindings, parseCount } from "./common.ts";

export interface ModelOptions {
  readonly recipe: string;
  readonly target: string;
  readonly bind?: Bindings;
  readonly set?: readonly string[];
  readonly calibration?: string;
  readonly calibrationSamples: number;
  readonly image?: ImageOptions;
  readonly json?: boolean;
}

/** Adds the options to a command. */
export function addModelOptions(command: Command): Command {
  return command
    .option("--recipe <name|file>", `recipe: ${builtinRecipes.join(", ")}, or a .jsonc file`, "as-is")
    .option(
      "--target <names>",
      `targets of the artifact, with commas: ${targets.map(({ name }) => name).join(", ")}`,
      "wasm",
    )
    .option(
      "--bind <symbols>",
      "extents of the model's symbols: batch=1,seq=1..256 (a range stays dynamic)",
      parseBindings,
    )
    .option("--set <pass.option=value>", "override an option of the recipe's passes (repeatable)", collected)
    .option(
      "--calibration <path>",
      "samples for static ranges: a folder of images, .npy, .npz, .pb, or token ids (.u16)",
    )
    .option("--calibration-samples <count>", "most samples that calibration reads", parseCount, 128)
    .option(
      "--image <settings>",
      "pixels to numbers: scale=1/255,mean=a:b:c,std=a:b:c,fit=cover,order=rgb",
      imageOption,
    )
    .option("--json", "print one JSON object on stdout");
}

function imageOption(text: string): ImageOptions {
  const options = parseImageOptions(text);
  if (options === undefined) throw new InvalidArgumentError("Settings are scale, mean, std, fit and order.");
  return options;
}

export function prepareOptions(model: string, flags: ModelOptions): PrepareOptions {
  return {
    model,
    recipe: flags.recipe,
    target: flags.target,
    ...(flags.bind === undefined ? {} : { bind: flags.bind }),
    ...(flags.set === undefined ? {} : { overrides: flags.set }),
  };
}
