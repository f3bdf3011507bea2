/** Golden files: what a test produces is compared with a file; `UPDATE_GOLDEN=1` writes the file instead. */

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";

const goldenFolder = join(import.meta.dirname ?? ".", "..", "golden");

/** Path of a golden file from its place under tests/golden. */
export function goldenPath(place: string): string {
  return join(goldenFolder, place);
}

/** Names of the golden files of a folder, sorted. */
export function goldenFiles(folder: string): readonly string[] {
  return readdirSync(goldenPath(folder)).sort();
}

export function readGolden(place: string): string {
  return readFileSync(goldenPath(place), "utf8");
}

/** Compares `actual` with the golden file, or writes the file when UPDATE_GOLDEN is set. */
export function assertGolden(place: string, actual: string): void {
  const path = goldenPath(place);
  if (process.env.UPDATE_GOLDEN === "1") {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, actual);
    return;
  }
  let expected: string;
  try {
    expected = readFileSync(path, "utf8");
  } catch {
    assert.fail(`There is no golden file ${place}; UPDATE_GOLDEN=1 writes it`);
  }
  assert.equal(actual, expected, `${place} differs; UPDATE_GOLDEN=1 accepts what is produced now`);
}
