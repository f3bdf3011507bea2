/** What the import of one model holds: the builder, what is known of its values, and the diagnostics so far. */

import type { Diagnostic } from "../../diagnostics.ts";
import { type Extent, isStatic } from "../../ir/extent.ts";
import { binary, input, literal } from "../../ir/expression.ts";
import type { ValueName } from "../../ir/node.ts";
import { plainTensor, type Tensor } from "../../ir/tensor.ts";
import type { NumberFormat } from "../../numeric/number_format.ts";
import type { ExternalData } from "./external_data.ts";
import type { FoldingBuilder } from "./folding_builder.ts";
import type { FunctionProto } from "./proto.ts";
import { constantVector, isStaticVector, type ShapeVector } from "./shape_vector.ts";

/** The state of one import. Its maps grow as nodes are imported. */
export interface Session {
  readonly builder: FoldingBuilder;
  readonly external: ExternalData;
  readonly functions: ReadonlyMap<string, FunctionProto>;
  /** Extents of the model's symbolic names. */
  readonly extents: ReadonlyMap<string, Extent>;
  /** Values that hold symbolic extents. */
  readonly vectors: Map<ValueName, ShapeVector>;
  /** Values that hold codes without a plain element. */
  readonly formats: Map<ValueName, NumberFormat>;
  /** Zero points computed at run time, with the quantized values that they belong to. */
  readonly zeroOwners: Map<ValueName, ValueName>;
  readonly diagnostics: Diagnostic[];
  /** Places of the nodes of each unknown op. */
  readonly unknownOps: Map<string, string[]>;
  /** Told how many of the main graph's nodes are imported. */
  readonly onNode?: (done: number, total: number) => void;
  /** Nodes imported so far, those of unrolled loops and inlined functions included. */
  imported: number;
}

/** The known entries of a value: a constant of whole numbers, or a vector with symbols. */
export function vectorOf(session: Session, value: ValueName): ShapeVector | undefined {
  return session.vectors.get(value) ?? constantVector(session.builder.constantOf(value));
}

/** A value that holds the extents, known to later shape arithmetic. */
export function vectorValue(session: Session, vector: ShapeVector, element: "i64" | "i32" = "i64"): ValueName {
  if (isStaticVector(vector)) {
    return session.builder.constant(integerTensor(vector.shape, vector.entries.filter(isStatic), element), {
      name: "shape",
    });
  }
  const { builder } = session;
  const entries = vector.entries.map((extent) => extentValue(session, extent, element));
  const joined = entries.length === 1 ? entries[0] : builder.add("concat", entries, { axis: 0 }, { name: "shape" });
  const value = builder.add("reshape", [joined], { shape: vector.shape }, { name: "shape" });
  session.vectors.set(value, vector);
  return value;
}

function integerTensor(shape: readonly number[], entries: readonly number[], element: "i64" | "i32"): Tensor {
  return element === "i64"
    ? plainTensor("i64", shape, BigInt64Array.from(entries, BigInt))
    : plainTensor("i32", shape, Int32Array.from(entries));
}

/** One extent as a tensor [1]: a symbol is counted at run time, as the sum of as many ones. */
function extentValue(session: Session, extent: Extent, element: "i64" | "i32"): ValueName {
  const { builder } = session;
  if (isStatic(extent)) return builder.constant(integerTensor([1], [extent], element));
  const one = builder.constant(integerTensor([1], [1], element));
  const ones = builder.add("expand", [one], { shape: [{ ...extent, factor: 1, offset: 0 }] });
  const count = builder.add("reduce", [ones], { kind: "sum", axes: [0], keepAxes: true });
  const wide = (value: number) => literal(element === "i64" ? BigInt(value) : value, element);
  const scaled = extent.factor === 1 ? input(0) : binary("mul", input(0), wide(extent.factor));
  return extent.factor === 1 && extent.offset === 0
    ? count
    : builder.map(binary("add", scaled, wide(extent.offset)), [count]);
}

/** Says that a value holds codes of a format. A constant gets a value of its own: equal bytes may stand for numbers elsewhere. */
export function codedValue(session: Session, value: ValueName, format: NumberFormat): ValueName {
  const { builder, formats } = session;
  const made = builder.producerOf(value);
  const coded = made?.op === "constant" ? builder.add("constant", [], made.attributes, { name: "codes" }) : value;
  formats.set(coded, format);
  return coded;
}
