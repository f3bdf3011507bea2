/** Einsum as transposes, sums, products and matmuls, contracted from left to right. */

import { type Extent, printExtent } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { mul } from "./expressions.ts";
import { malformed } from "./faults.ts";
import { matmul } from "./linear.ts";
import { mapOf, productOf, reshaped, staticExtent, transposed } from "./operands.ts";
import { reduced } from "./reduction.ts";

/** A value with a label per axis: a letter, or `.i` for the i-th axis of the ellipsis. */
interface Term {
  readonly value: ValueName;
  readonly labels: readonly string[];
}

interface Equation {
  readonly operands: readonly (readonly string[])[];
  readonly output: readonly string[];
}

/** Splits a subscript into letters and at most one "...". */
function subscripts(context: ImportContext, text: string): readonly string[] {
  const parts = text.match(/\.\.\.|[A-Za-z]/g) ?? [];
  if (parts.join("") !== text || parts.filter((part) => part === "...").length > 1) {
    return malformed(context, `"${text}" is not an einsum subscript`);
  }
  return parts;
}

/** Reads the equation against the ranks of the operands; ellipses are aligned at their last axes. */
function parseEquation(context: ImportContext, text: string, ranks: readonly number[]): Equation {
  const [left, right, ...more] = text.replace(/\s+/g, "").split("->");
  const terms = left.split(",").map((term) => subscripts(context, term));
  if (more.length > 0 || terms.length !== ranks.length) {
    return malformed(context, `equation "${text}" does not fit ${ranks.length} operands`);
  }
  const hidden = terms.map((term, index) => {
    const letters = term.filter((part) => part !== "...").length;
    const rest = ranks[index] - letters;
    if (rest < 0 || (rest > 0 && !term.includes("..."))) {
      return malformed(context, `"${term.join("")}" does not fit an operand of rank ${ranks[index]}`);
    }
    return rest;
  });
  const most = Math.max(0, ...hidden);
  const spread = (term: readonly string[], count: number) =>
    term.flatMap((part) =>
      part === "..." ? Array.from({ length: count }, (_, axis) => `.${most - count + axis}`) : [part]
    );
  const operands = terms.map((term, index) => spread(term, hidden[index]));
  if (right !== undefined) return { operands, output: spread(subscripts(context, right), most) };
  const all = operands.flat();
  const once = [...new Set(all)].filter((label) =>
    !label.startsWith(".") && all.filter((other) => other === label).length === 1
  ).sort();
  return { operands, output: [...spread(["..."], most), ...once] };
}

/** The extent of every label; axes of extent 1 broadcast. */
function labelExtents(context: ImportContext, terms: readonly Term[]): ReadonlyMap<string, Extent> {
  const extents = new Map<string, Extent>();
  for (const { value, labels } of terms) {
    labels.forEach((label, axis) => {
      const extent = context.typeOf(value).shape[axis];
      const known = extents.get(label);
      if (known === undefined || known === 1) extents.set(label, extent);
      else if (extent !== 1 && printExtent(extent) !== printExtent(known)) {
        malformed(context, `"${label}" is both ${printExtent(known)} and ${printExtent(extent)}`);
      }
    });
  }
  return extents;
}

/** The diagonal over two axes of one label: the axes are put last, merged, and every (n + 1)-th entry is kept. */
function withoutRepeats(context: ImportContext, term: Term): Term {
  const first = term.labels.findIndex((label, axis) => term.labels.indexOf(label, axis + 1) >= 0);
  if (first < 0) return term;
  const second = term.labels.indexOf(term.labels[first], first + 1);
  const rest = term.labels.map((_, axis) => axis).filter((axis) => axis !== first && axis !== second);
  const last = transposed(context, term.value, [...rest, first, second]);
  const { shape } = context.typeOf(last);
  const extent = staticExtent(context, shape[rest.length], `"${term.labels[first]}"`);
  const leading = shape.slice(0, rest.length);
  const flat = reshaped(context, last, [...leading, extent * extent]);
  const value = context.builder.add("slice", [flat], {
    starts: [...leading.map(() => 0), 0],
    steps: [...leading.map(() => 1), extent + 1],
    extents: [...leading, extent],
  });
  return withoutRepeats(context, { value, labels: [...rest.map((axis) => term.labels[axis]), term.labels[first]] });
}

/** Drops axes of extent 1 that broadcast against a larger one. */
function withoutBroadcasts(context: ImportContext, term: Term, extents: ReadonlyMap<string, Extent>): Term {
  const { shape } = context.typeOf(term.value);
  const kept = term.labels.map((_, axis) => axis)
    .filter((axis) => shape[axis] !== 1 || extents.get(term.labels[axis]) === 1);
  return {
    value: reshaped(context, term.value, kept.map((axis) => shape[axis])),
    labels: kept.map((axis) => term.labels[axis]),
  };
}

/** Sums over the labels that nothing else reads. */
function summed(context: ImportContext, term: Term, kept: ReadonlySet<string>): Term {
  const axes = term.labels.map((_, axis) => axis).filter((axis) => !kept.has(term.labels[axis]));
  return {
    value: reduced(context, term.value, "sum", { axes, keepAxes: false }),
    labels: term.labels.filter((label) => kept.has(label)),
  };
}

function arranged(context: ImportContext, term: Term, labels: readonly string[]): ValueName {
  return transposed(context, term.value, labels.map((label) => term.labels.indexOf(label)));
}

/** Multiplies two terms and sums over the labels that both hold and nothing else reads. */
function contracted(context: ImportContext, a: Term, b: Term, kept: ReadonlySet<string>): Term {
  const shared = a.labels.filter((label) => b.labels.includes(label));
  const batch = shared.filter((label) => kept.has(label));
  const inner = shared.filter((label) => !kept.has(label));
  const rows = a.labels.filter((label) => !shared.includes(label));
  const columns = b.labels.filter((label) => !shared.includes(label));
  const labels = [...batch, ...rows, ...columns];
  const extentOf = (label: string): Extent => {
    const axis = a.labels.indexOf(label);
    return axis >= 0 ? context.typeOf(a.value).shape[axis] : context.typeOf(b.value).shape[b.labels.indexOf(label)];
  };
  const batchShape = batch.map(extentOf);
  if (inner.length === 0) {
    const left = reshaped(context, arranged(context, a, [...batch, ...rows]), [
      ...batchShape,
      ...rows.map(extentOf),
      ...columns.map(() => 1),
    ]);
    const right = reshaped(context, arranged(context, b, [...batch, ...columns]), [
      ...batchShape,
      ...rows.map(() => 1),
      ...columns.map(extentOf),
    ]);
    return { value: mapOf(context, [left, right], ([x, y]) => mul(x, y)), labels };
  }
  const [m, n, k] = [rows, columns, inner].map((part) => productOf(context, part.map(extentOf)));
  const straight = [...batch, ...inner, ...columns].every((label, axis) => b.labels[axis] === label);
  const left = reshaped(context, arranged(context, a, [...batch, ...rows, ...inner]), [...batchShape, m, k]);
  const right = straight
    ? reshaped(context, b.value, [...batchShape, k, n])
    : reshaped(context, arranged(context, b, [...batch, ...columns, ...inner]), [...batchShape, n, k]);
  const product = matmul(context, left, right, { transposeB: !straight });
  return { value: reshaped(context, product, labels.map(extentOf)), labels };
}

function importEinsum(context: ImportContext): readonly ValueName[] {
  const values = context.node.inputs.map((_, index) => context.input(index));
  const ranks = values.map((value) => context.typeOf(value).shape.length);
  const text = context.node.attributes.string("equation");
  const { operands, output } = parseEquation(context, text, ranks);
  const raw = values.map((value, index): Term => ({ value, labels: operands[index] }));
  const extents = labelExtents(context, raw);
  if (new Set(output).size !== output.length || output.some((label) => !extents.has(label))) {
    return malformed(context, `the output of "${text}" repeats a label or names an unknown one`);
  }
  const terms = raw.map((term) => withoutBroadcasts(context, withoutRepeats(context, term), extents));
  const readAfter = (index: number) => new Set([...output, ...terms.slice(index + 1).flatMap(({ labels }) => labels)]);
  const alone = terms.map((term, index) => {
    const others = terms.flatMap(({ labels }, other) => (other === index ? [] : labels));
    return summed(context, term, new Set([...output, ...others]));
  });
  const [first, ...rest] = alone;
  const result = rest.reduce((term, next, index) => contracted(context, term, next, readAfter(index + 1)), first);
  const whole = reshaped(
    context,
    arranged(context, result, output.filter((label) => result.labels.includes(label))),
    output.map((label) => extents.get(label) ?? 1),
  );
  return [whole];
}

export const einsumImporters: OpImporterTable = { Einsum: importEinsum };
