/** Error against bits per weight, one SVG a model. */

import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { AccuracyModel } from "./case.ts";
import { resultKey, type Results } from "./table.ts";

interface Point {
  readonly bits: number;
  readonly error: number;
  readonly label: string;
  readonly source: "Quern" | "best public tool";
}

/** The SVG text; undefined where fewer than two settings were measured. */
export function accuracyPlot(model: AccuracyModel, results: Results): string | undefined {
  const points = pointsOf(model, results);
  if (points.length < 2) return undefined;
  const { document } = parseHTML("<html><body></body></html>");
  const isLanguage = model.kind === "language";
  const ours = points.filter(({ source }) => source === "Quern");
  const numbered = ours.map((point, index) => ({ ...point, label: String(index + 1) }));
  const legend = ours.map(({ label }, index) => `${index + 1}  ${label}`).join("\n");
  const figure = Plot.plot({
    document,
    width: 960,
    height: 460,
    marginTop: 30,
    marginLeft: 60,
    marginRight: 340,
    style: { background: "white", fontSize: "12px" },
    x: { label: "bits per weight on disk", grid: true, nice: true },
    y: {
      label: isLanguage ? "KL to float, nats" : "SQNR of the logits, dB",
      grid: true,
      ...(isLanguage ? { type: "log" as const, ticks: 4, tickFormat: String } : {}),
    },
    color: { domain: ["Quern", "best public tool"], range: ["#1f6feb", "#d1772b"] },
    symbol: { domain: ["Quern", "best public tool"], range: ["circle", "times"] },
    marks: [
      Plot.dot(points, { x: "bits", y: "error", stroke: "source", symbol: "source", r: 4, strokeWidth: 1.8 }),
      Plot.text(numbered, { x: "bits", y: "error", text: "label", textAnchor: "start", dx: 7 }),
      Plot.text([`○ Quern   × best public tool, drawn at our bits\n\n${legend}`], {
        frameAnchor: "top-right",
        textAnchor: "start",
        lineAnchor: "top",
        dx: 24,
        lineHeight: 1.35,
      }),
    ],
  });
  figure.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return `${figure.outerHTML}\n`;
}

function pointsOf(model: AccuracyModel, results: Results): readonly Point[] {
  return model.cases.flatMap((entry): Point[] => {
    const measured = results.get(resultKey(model.name, entry.name));
    if (measured === undefined || entry.recipe === "as-is" || measured.error === null) return [];
    const at = { bits: measured.bits, label: entry.name };
    return [
      { ...at, error: measured.error, source: "Quern" },
      ...(entry.public === undefined
        ? []
        : [{ ...at, error: entry.public.value, source: "best public tool" as const }]),
    ];
  });
}
