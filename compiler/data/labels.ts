/** Reads class labels: one number per sample, or a table that names the sample's file. */

import { basename, extname } from "node:path";
import { fail } from "../diagnostics.ts";
import { readArrays, readBytes, readIdx } from "./arrays.ts";

export interface LabelOptions {
  /** Column of a table; else one named `label`, `class` or `index`, or the first numeric one. */
  readonly column?: string;
}

/**
 * Labels in the order of the samples. `names` are the samples' file names, for tables with a `file` column.
 * Throws DiagnosticError (Q0906).
 */
export function readLabels(path: string, names: readonly string[] | undefined, options: LabelOptions = {}): number[] {
  switch (extname(path).toLowerCase()) {
    case ".npy":
      return Array.from(Object.values(readArrays(path))[0].data, Number);
    case ".tsv":
    case ".csv":
      return tableLabels(path, names, options);
    case ".txt":
      return textLabels(path);
    default:
      return /idx\d-ubyte$/.test(path) ? Array.from(readIdx(path).data, Number) : [...readBytes(path)];
  }
}

function bad(path: string, reason: string): never {
  return fail("Q0906", `Cannot read the labels "${path}": ${reason}`, { node: path });
}

function lines(path: string): string[] {
  return new TextDecoder().decode(readBytes(path)).split(/\r?\n/).filter((line) => line.trim() !== "");
}

function textLabels(path: string): number[] {
  return lines(path).map((line, index) => {
    const label = Number(line);
    return Number.isInteger(label) ? label : bad(path, `line ${index + 1} is not a whole number`);
  });
}

function tableLabels(path: string, names: readonly string[] | undefined, { column }: LabelOptions): number[] {
  const separator = path.toLowerCase().endsWith(".tsv") ? "\t" : ",";
  const [head, ...rows] = lines(path).map((line) => line.split(separator).map((cell) => cell.trim()));
  if (head === undefined) return bad(path, "it is empty");
  const fileColumn = head.indexOf("file");
  const labelColumn = columnOf(path, head, rows, column);
  const labelOf = (row: readonly string[]): number => {
    const label = Number(row[labelColumn]);
    return Number.isInteger(label) ? label : bad(path, `"${row[labelColumn]}" is not a class number`);
  };
  if (fileColumn < 0 || names === undefined) return rows.map(labelOf);
  const byFile = new Map(rows.map((row) => [row[fileColumn], row]));
  return names.map((name) => labelOf(byFile.get(basename(name)) ?? bad(path, `it has no row for "${basename(name)}"`)));
}

function columnOf(
  path: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
  wanted: string | undefined,
): number {
  if (wanted !== undefined) {
    const index = head.indexOf(wanted);
    return index >= 0 ? index : bad(path, `it has no column "${wanted}"; columns are ${head.join(", ")}`);
  }
  const known = ["label", "class", "index"].map((name) => head.indexOf(name)).find((index) => index >= 0);
  const numeric = head.findIndex((_, index) => rows.length > 0 && rows.every((row) => /^\d+$/.test(row[index] ?? "")));
  const found = known ?? numeric;
  return found >= 0 ? found : bad(path, "no column holds class numbers");
}
