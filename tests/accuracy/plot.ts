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
  const crowded = (point: Point) =>
    ours.some(({ bits, error }) =>
      bits > point.bits && bits < point.bits + 1.5 && Math.abs(Math.log(error / point.error)) < 0.15
    );
  const label = { x: "bits", y: "error", text: "label" } as const;
  const figure = Plot.plot({
    document,
    width: 860,
    height: 460,
    marginTop: 30,
    marginLeft: 60,
    marginRight: 190,
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
      Plot.text(ours.filter((point) => !crowded(point)), { ...label, textAnchor: "start", dx: 8 }),
      Plot.text(ours.filter(crowded), { ...label, textAnchor: "end", dx: -8 }),
      Plot.text(["○ Quern   × best public tool, drawn at our bits"], { frameAnchor: "top-right", dx: 180, dy: -14 }),
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
