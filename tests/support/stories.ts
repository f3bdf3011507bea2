/** The stories model through the command line, as a user would measure it. */

import type { FormatRow } from "../../targets/artifact/sizes.ts";
import { sharedFile } from "./models.ts";
import { checkoutRoot } from "./zoo.ts";

export interface StoriesQuality {
  readonly perplexity: number;
  readonly floatPerplexity: number;
  readonly kl: number;
  readonly bitsPerWeight: number;
  readonly weightBytes: number;
  readonly formats: readonly FormatRow[];
}

/** `evaluate stories260k --recipe RECIPE --set OVERRIDE...` over the evaluation text in windows of 256. */
export async function evaluateStories(recipe: string, overrides: readonly string[] = []): Promise<StoriesQuality> {
  const folder = sharedFile("stories260k") ?? "";
  const command = new Deno.Command(Deno.execPath(), {
    cwd: checkoutRoot,
    args: [
      ...["run", "-A", "compiler/cli.ts", "evaluate", folder, "--recipe", recipe, "--json"],
      ...["--data", `${folder}/eval_ids.u16`, "--calibration", `${folder}/calib_ids.u16`],
      ...["--window", "256", "--reference", "wasm"],
      ...overrides.flatMap((override) => ["--set", override]),
    ],
    stdout: "piped",
    stderr: "piped",
  });
  const { success, stdout, stderr } = await command.output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}
