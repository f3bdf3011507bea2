/** The context that an op's importer works in. */

import { fail } from "../../diagnostics.ts";
import { type Extent, isStatic, printExtent } from "../../ir/extent.ts";
import type { ValueName } from "../../ir/node.ts";
import type { ImportContext, OnnxNode } from "./op_importer.ts";
import type { GraphProto } from "./proto.ts";
import { codedValue, type Session, vectorOf, vectorValue } from "./session.ts";

/** Imports a graph attribute's body with its formal inputs given. */
export type SubgraphImporter = (body: GraphProto, inputs: readonly ValueName[]) => readonly ValueName[];

/** The context of one node. `graphOf` reads a graph attribute, `subgraph` imports one. */
export function importContext(
  session: Session,
  node: OnnxNode,
  inputNames: readonly string[],
  graphOf: (attribute: string) => GraphProto,
  subgraph: SubgraphImporter,
): ImportContext {
  const { builder } = session;
  const failHere = (code: string, message: string, help?: string): never =>
    fail(code, `${node.opType}: ${message}`, { node: node.name, help });
  const input = (index: number): ValueName => node.inputs[index] ?? failHere("Q1022", `input ${index} is missing`);
  const inputText = (index: number): string => `input ${index} ("${inputNames[index] ?? ""}")`;
  const extents = (index: number): readonly Extent[] => {
    const value = input(index);
    const vector = vectorOf(session, value);
    if (vector !== undefined) return vector.entries;
    return failHere(
      "Q1023",
      `${inputText(index)} must be known at compile time`,
      "It is computed from data or from unbound sizes; bind the symbols with --bind or simplify the export",
    );
  };
  return {
    builder,
    node,
    input,
    optional: (index) => node.inputs[index],
    typeOf: (value) => builder.typeOf(value),
    constantOf: (value) => builder.constantOf(value),
    integers: (index) =>
      extents(index).map((extent) =>
        isStatic(extent) ? extent : failHere("Q1023", `${inputText(index)} holds the symbol ${printExtent(extent)}`)
      ),
    extents,
    shapeValue: (entries, element) => vectorValue(session, { shape: [entries.length], entries }, element),
    formatOf: (value) => session.formats.get(value),
    withFormat: (value, format) => {
      return format === undefined ? value : codedValue(session, value, format);
    },
    markZero: (zero, quantized) => {
      session.zeroOwners.set(zero, quantized);
      return zero;
    },
    zeroOwner: (zero) => session.zeroOwners.get(zero),
    producerOf: (value) => builder.producerOf(value),
    subgraph: (attribute, inputs) => subgraph(graphOf(attribute), inputs),
    subgraphArity: (attribute) => {
      const body = graphOf(attribute);
      return { inputs: body.inputs.length, outputs: body.outputs.length };
    },
    axis: (axis, rank) =>
      Number.isInteger(axis) && axis >= -rank && axis < rank
        ? (axis + rank) % rank
        : failHere("Q1024", `axis ${axis} is outside a tensor of rank ${rank}`),
    fail: failHere,
  };
}
