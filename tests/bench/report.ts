/** Results of a part of the bench as tables, and their place in docs/performance.md. */

export interface BenchTable {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** What a part shows: tables and the verdicts over them, or why it was left out. */
export type PartResult =
  | { readonly tables: readonly BenchTable[]; readonly verdicts: readonly Verdict[] }
  | { readonly skipped: string };

/** A target that was set, and what was measured. */
export interface Verdict {
  readonly target: string;
  readonly measured: string;
  readonly met: boolean;
}

/** GitHub table with aligned columns; every column but the first is flush right. */
export function printTable({ columns, rows }: BenchTable): string {
  const widths = columns.map((title, column) => Math.max(3, title.length, ...rows.map((row) => row[column].length)));
  const line = (cells: readonly string[]): string =>
    `| ${
      cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
        .join(" | ")
    } |`;
  const rule = widths.map((width, column) => (column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`));
  return [line(columns), line(rule), ...rows.map(line)].join("\n");
}

export function printPart(result: PartResult): string {
  if ("skipped" in result) return `Skipped: ${result.skipped}`;
  const tables = result.tables.map((table) => `${table.title}\n\n${printTable(table)}`);
  const verdicts = result.verdicts.map(({ target, measured, met }) =>
    `- ${met ? "met" : "**missed**"}: ${target}; measured ${measured}`
  );
  return [...tables, verdicts.join("\n")].filter((text) => text !== "").join("\n\n");
}

/** Puts `text` between the markers of `part`; the document around it is kept. Undefined when the markers are missing. */
export function replaceBlock(document: string, part: string, text: string): string | undefined {
  const [begin, end] = [`<!-- bench:${part} -->`, `<!-- /bench:${part} -->`];
  const from = document.indexOf(begin);
  const to = document.indexOf(end);
  if (from < 0 || to < from) return undefined;
  return `${document.slice(0, from + begin.length)}\n\n${text}\n\n${document.slice(to)}`;
}
