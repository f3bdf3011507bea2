/** docs/accuracy.md from what was measured. */

import type { AccuracyCase, AccuracyModel } from "./case.ts";
import type { Measured } from "./measure.ts";

interface Row {
  readonly entry: AccuracyCase;
  readonly measured: Measured;
}

export type Results = ReadonlyMap<string, Measured>;

export function resultKey(model: string, name: string): string {
  return `${model}: ${name}`;
}

/** The page. Rows that were never measured are left out, models without rows too. */
export function accuracyPage(models: readonly AccuracyModel[], results: Results): string {
  const sections = models.flatMap((model) => {
    const shown = model.cases.flatMap((entry): Row[] => {
      const measured = results.get(resultKey(model.name, entry.name));
      return measured === undefined ? [] : [{ entry, measured }];
    });
    return shown.length === 0 ? [] : [section(model, shown)];
  });
  return `${introduction}\n${sections.join("\n")}`;
}

const introduction = `# Accuracy

Written by \`deno task accuracy\`; everything was measured on the compiled WebAssembly, and the last digits are those of
the machine's float arithmetic. Bits are those of one quantized weight in weights.bin, steps and zero points included;
kB is the whole file.

Language models: perplexity over the evaluation text, KL divergence from the float model in nats, embedding and head
float. stories260k: windows of 256 ids. smollm2: SmolLM2-135M-Instruct, whose GGUF holds 4-bit weights; its decoded
weights are the float model; WikiText-2 in 8 windows of 1,024 ids. Vision: every fifth sample calibrates, the others are evaluated; top-1, and the signal to noise
ratio of the logits against the float model in dB. The public column is the best figure that we measured with public tools on
the same files; that of mobilenetv1-025 on 225 images, ours on the 100 of 125 that do not calibrate. Nets of minifloats are
evaluated on the float reference of the compiled graph, after the artifact agrees with it on the first samples.
`;

function section(model: AccuracyModel, rows: readonly Row[]): string {
  const heads = model.kind === "language"
    ? ["Setting", "Recipe", "Bits", "kB", "Perplexity", "KL", "Public KL", "Tool", "s"]
    : ["Setting", "Recipe", "Bits", "kB", "Top-1", "SQNR dB", "Public dB", "Tool", "s"];
  const numeric = heads.map((head) => (["Setting", "Recipe", "Tool"].includes(head) ? "---" : "---:"));
  return [
    `## ${model.name}`,
    "",
    `![Error against bits per weight](accuracy-${model.name}.svg)`,
    "",
    line(heads),
    line(numeric),
    ...rows.map((row) => tableRow(model, row)),
    "",
    ...settings(rows),
  ].join("\n");
}

/** What the rows set beside their recipes. */
function settings(rows: readonly Row[]): string[] {
  const items = rows.filter(({ entry }) => entry.overrides.length > 0)
    .map(({ entry }) => `- ${entry.name}: ${entry.overrides.map((override) => `\`${override}\``).join(", ")}`);
  return items.length === 0 ? [] : ["Settings beside the recipe (`--set`):", "", ...items, ""];
}

function tableRow(model: AccuracyModel, { entry, measured }: Row): string {
  const isLanguage = model.kind === "language";
  const error = measured.error === null ? "exact" : measured.error.toFixed(isLanguage ? 4 : 1);
  const quality = measured.quality === undefined
    ? ""
    : isLanguage
    ? measured.quality.toFixed(3)
    : `${(100 * measured.quality).toFixed(1)} %`;
  return line([
    entry.name,
    `\`${entry.recipe}\``,
    measured.bits.toFixed(2),
    (measured.weightBytes / 1000).toFixed(0),
    quality,
    error,
    entry.public === undefined ? "" : String(entry.public.value),
    entry.public?.tool ?? "",
    String(measured.seconds),
  ]);
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}
