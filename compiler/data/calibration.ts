/** Calibration sets, from the command line's options. */

import { DiagnosticError, failure, type Outcome, success } from "../diagnostics.ts";
import type { ImportedModel } from "../import/mod.ts";
import type { CalibrationData } from "../rewrite/pass.ts";
import { readDataSet } from "./dataset.ts";
import { type ImageOptions, plainImages } from "./images.ts";
import { tokenSamples } from "./tokens.ts";

export interface CalibrationFlags {
  readonly calibration?: string;
  readonly calibrationSamples: number;
  readonly image?: ImageOptions;
  /** Token ids of one calibration sample. */
  readonly window?: number;
}

const calibrationWindow = 256;

/** Reads the set once the model's inputs are known; undefined where none is named. */
export function calibrationFrom(
  flags: CalibrationFlags,
): ((imported: Pick<ImportedModel, "graph" | "assets">) => Promise<Outcome<CalibrationData>>) | undefined {
  const { calibration } = flags;
  if (calibration === undefined) return undefined;
  return async ({ graph, assets }) => {
    try {
      const images = flags.image ?? plainImages;
      const data = await readDataSet(calibration, graph, { images, limit: flags.calibrationSamples, assets });
      if (data.kind === "samples") return success(data.samples);
      return success(tokenSamples(graph, data.ids, flags.window ?? calibrationWindow, flags.calibrationSamples));
    } catch (error) {
      if (error instanceof DiagnosticError) return failure(...error.diagnostics);
      throw error;
    }
  };
}
