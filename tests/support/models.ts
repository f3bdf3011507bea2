/** Finds the real models and data that stand beside the checkout, and registers the tests that need them. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

const checkout = join(import.meta.dirname ?? ".", "..", "..");

function sharedRoots(): readonly string[] {
  const named = process.env.QUERN_SHARED;
  const beside = join(checkout, "..", "shared", "models");
  return named === undefined || named === "" ? [beside] : [join(named, "models"), named, beside];
}

/** The path of a file or folder of the shared models, e.g. `stories260k/config.json`; undefined where it is absent. */
export function sharedFile(relativePath: string): string | undefined {
  return sharedRoots().map((root) => join(root, relativePath)).find((path) => existsSync(path));
}

/**
 * Registers a test that needs shared files; `body` gets their paths in the order asked for. Where one is missing the test
 * is ignored and one line says so.
 */
export function sharedTest(
  name: string,
  relativePaths: readonly string[],
  body: (paths: readonly string[]) => void | Promise<void>,
): void {
  const found = relativePaths.map((path) => ({ path, file: sharedFile(path) }));
  const missing = found.filter(({ file }) => file === undefined).map(({ path }) => path);
  if (missing.length > 0) {
    console.log(
      `Skipped "${name}": ${
        missing.join(", ")
      } not found. Put the shared folder beside the checkout or set QUERN_SHARED.`,
    );
  }
  const paths = found.flatMap(({ file }) => (file === undefined ? [] : [file]));
  Deno.test({ name, ignore: missing.length > 0, fn: () => body(paths) });
}
