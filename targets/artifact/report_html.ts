/** report.html: the report as one page that needs nothing beside it. */

import { formatDiagnostic } from "../../compiler/diagnostics.ts";
import type { Report, TargetReport } from "./report.ts";

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** `1.2 MB`, in powers of 1000 as download sizes are told. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB"];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toPrecision(3)} ${units[unit]}`;
}

const style = `
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.facts { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1rem 0; }
.facts div { border: 1px solid #8885; border-radius: .5rem; padding: .5rem .9rem; }
.facts b { display: block; font-size: 1.2rem; } .facts span, .dim { color: #777; font-size: .85rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .87rem; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid #8883; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font: .82rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; background: #8881; padding: .7rem; border-radius: .4rem; font-size: .82rem; }
svg { width: 100%; height: 16rem; border: 1px solid #8885; } rect { fill: #3b82f688; stroke: #1d4ed8; stroke-width: .6; vector-effect: non-scaling-stroke; }
rect:hover { fill: #f59e0b; }`;

/** The page. Equal reports give equal text. */
export function reportHtml(report: Report): string {
  const targets = report.targets.map(({ name }) => name).join(" and ");
  const title = `${report.name}: ${report.recipe} for ${targets}`;
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<style>${style}</style>
<h1>${escape(report.name)}</h1>
<p class="dim">${escape(report.source)} model, recipe ${escape(report.recipe)}, target ${escape(targets)}</p>
${facts(report)}
${formats(report)}
${diagnostics(report)}
${passes(report)}
${regions(report)}
${report.targets.map((target) => nodes(target) + memory(target)).join("\n")}
</html>
`;
}

function facts({ sizes, code, targets: [{ memory, nodes }] }: Report): string {
  const largestCode = Math.max(0, ...Object.values(code.bytes));
  const list: [string, string][] = [
    [formatBytes(sizes.weightBytes), "weights"],
    [sizes.bitsPerWeight.toFixed(2), "bits per weight"],
    [sizes.parameters.toLocaleString("en"), "parameters"],
    [formatBytes(largestCode), "kernels (largest variant)"],
    [formatBytes(code.runtimeBytes), "runtime"],
    [formatBytes(memory.totalBytes), "memory"],
    [formatBytes(memory.peakBytes), "live values at the peak"],
    [String(nodes.length), "kernel calls"],
  ];
  return `<div class="facts">${
    list.map(([value, what]) => `<div><b>${escape(value)}</b><span>${what}</span></div>`).join("")
  }</div>`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[], numbers: readonly number[] = []): string {
  const cell = (tag: string) => (text: string, index: number) =>
    `<${tag}${numbers.includes(index) ? ` class="number"` : ""}>${text}</${tag}>`;
  return `<div class="wide"><table><tr>${head.map(cell("th")).join("")}</tr>${
    rows.map((row) => `<tr>${row.map(cell("td")).join("")}</tr>`).join("\n")
  }</table></div>`;
}

function formats({ sizes }: Report): string {
  const rows = sizes.formats.map((row) => [
    `<code>${escape(row.format)}</code>`,
    String(row.tensors),
    row.parameters.toLocaleString("en"),
    row.bytes.toLocaleString("en"),
  ]);
  return `<h2>Weights by number format</h2>${table(["Format", "Tensors", "Numbers", "Bytes"], rows, [1, 2, 3])}`;
}

function diagnostics(report: Report): string {
  if (report.diagnostics.length === 0) return "";
  const text = report.diagnostics.map((diagnostic) => escape(formatDiagnostic(diagnostic))).join("\n\n");
  return `<h2>Diagnostics</h2><pre>${text}</pre>`;
}

function passes(report: Report): string {
  const rows = report.passes.map((pass) => [
    `<code>${escape(pass.pass)}</code>`,
    pass.exactness,
    String(pass.applied.length),
    String(pass.declined.length),
    pass.declined.length === 0 ? "" : declines(pass.declined),
  ]);
  const head = ["Pass", "Changes", "Applied", "Declined", "Reasons"];
  return `<h2>Passes</h2>${table(head, rows, [2, 3])}`;
}

function regions(report: Report): string {
  if (report.regions.length === 0) return "";
  const rows = report.regions.map(({ kind, name, channels, readers, declined }) => [
    `<code>${escape(kind)}</code>`,
    `<code>${escape(name)}</code>`,
    channels === undefined ? "" : String(channels),
    escape(declined === undefined ? (readers ?? []).join(", ") : `none: ${declined}`),
  ]);
  return `<h2>Regions</h2>
<p class="dim">Channels that scales, shifts and rotations may change at all their writers and readers together.</p>
<details><summary>show ${rows.length}</summary>${table(["Kind", "At", "Channels", "Readers"], rows, [2])}</details>`;
}

function declines(list: Report["passes"][number]["declined"]): string {
  const lines = list.map(({ node, reason }) => `<code>${escape(node)}</code>: ${escape(reason)}`);
  return `<details><summary>show</summary>${lines.join("<br>")}</details>`;
}

function nodes({ name, nodes }: TargetReport): string {
  const rows = nodes.map((row, index) => [
    String(index),
    escape(row.nodes.join(", ")),
    escape(row.ops.join(", ")),
    row.outputs.map(({ type }) => `<code>${escape(type)}</code>`).join("<br>"),
    `<code>${escape(row.kernel)}</code>`,
    row.weightBytes === 0 ? "" : row.weightBytes.toLocaleString("en"),
  ]);
  const head = ["", "Source nodes", "Ops", "Result", "Kernel", "Weight bytes"];
  return `<h2>Kernel calls of ${escape(name)}, in order</h2>${table(head, rows, [0, 5])}`;
}

function memory({ name, memory }: TargetReport): string {
  const steps = Math.max(1, ...memory.buffers.map(({ end }) => end + 1)) + 1;
  const base = memory.buffers.reduce((low, { address }) => Math.min(low, address), Infinity);
  const height = Math.max(1, memory.arenaBytes);
  const boxes = memory.buffers.map(({ id, address, bytes, start, end }) => {
    const y = ((address - base) / height) * 100;
    return `<rect x="${(((start + 1) / steps) * 100).toFixed(3)}" y="${y.toFixed(3)}" width="${
      (((end - start + 1) / steps) * 100).toFixed(3)
    }" height="${((bytes / height) * 100).toFixed(3)}"><title>${
      escape(id)
    }: ${bytes} bytes, steps ${start} to ${end}</title></rect>`;
  });
  return `<h2>Memory of values, ${escape(name)}</h2>
<p class="dim">Time runs to the right, addresses downwards. ${formatBytes(memory.arenaBytes)} planned, ${
    formatBytes(memory.peakBytes)
  } live at the peak, ${formatBytes(memory.unsharedBytes)} without sharing; weights ${
    formatBytes(memory.weightsBytes)
  }, states ${formatBytes(memory.statesBytes)}.</p>
<svg viewBox="0 0 100 100" preserveAspectRatio="none">${boxes.join("")}</svg>`;
}
