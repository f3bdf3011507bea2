/** Picks the target that a device runs, of those that an artifact has. */

import type { LoadOptions, Model, TargetName } from "./api.ts";

/** The device lacks something that the target needs; another target may run the model. */
export class UnfitDevice extends Error {}

/** A way to load the model. `options.target` is `auto` where another target is left to try. */
export interface Loader {
  readonly target: TargetName;
  readonly load: (options: LoadOptions) => Promise<Model>;
}

/** The fastest first. */
const preference: readonly TargetName[] = ["wgsl", "wasm"];

/**
 * Loads the target that `options` names, or the first that this device fits. Rejects with the last one's error where
 * none does.
 */
export async function loadFirst(loaders: readonly Loader[], options: LoadOptions = {}): Promise<Model> {
  const { target = "auto" } = options;
  const ordered = [...loaders].sort((a, b) => preference.indexOf(a.target) - preference.indexOf(b.target));
  const wanted = ordered.filter((loader) => target === "auto" || loader.target === target);
  let reason: unknown = new TypeError(
    `This artifact has the target ${ordered.map((loader) => `"${loader.target}"`).join(" and ")}, not "${target}"`,
  );
  for (const [index, loader] of wanted.entries()) {
    try {
      return await loader.load({ ...options, target: index < wanted.length - 1 ? "auto" : loader.target });
    } catch (error) {
      if (!(error instanceof UnfitDevice)) throw error;
      reason = error;
    }
  }
  throw reason;
}
