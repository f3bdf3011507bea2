/** The contract of one ONNX op's importer. Families of importers are tables of these, merged in `op_table.ts`. */

import type { GraphBuilder } from "../../ir/build.ts";
import type { Extent } from "../../ir/extent.ts";
import type { Node, ValueName } from "../../ir/node.ts";
import type { Tensor } from "../../ir/tensor.ts";
import type { NumberFormat } from "../../numeric/number_format.ts";
import type { TensorType } from "../../ir/types.ts";

/** Typed reads of a node's attributes; a wrong kind is a diagnostic at this node. Reading marks an attribute as known. */
export interface AttributeReader {
  has(name: string): boolean;
  int(name: string, fallback?: number): number;
  ints(name: string, fallback?: readonly number[]): readonly number[];
  float(name: string, fallback?: number): number;
  floats(name: string, fallback?: readonly number[]): readonly number[];
  string(name: string, fallback?: string): string;
  strings(name: string, fallback?: readonly string[]): readonly string[];
  tensor(name: string): Tensor;
  /** The format of a tensor's codes, where its elements have no plain one. */
  tensorFormat(name: string): NumberFormat | undefined;
  /** One or several integers in full width. */
  bigints(name: string): readonly bigint[];
}

/** One ONNX node as an importer sees it. */
export interface OnnxNode {
  readonly name: string;
  readonly opType: string;
  /** "" for ai.onnx. */
  readonly domain: string;
  /** Opset version of the node's domain in this model. */
  readonly opset: number;
  /** Absent optional inputs are undefined. */
  readonly inputs: readonly (ValueName | undefined)[];
  /** Number of outputs, trailing absent ones not counted; `outputUsed[i]` says whether one is named. */
  readonly outputUsed: readonly boolean[];
  readonly attributes: AttributeReader;
}

/** What an importer may do. Everything it adds carries the node's name as origin. */
export interface ImportContext {
  readonly builder: GraphBuilder;
  readonly node: OnnxNode;
  /** The i-th input; a diagnostic when it is absent. */
  input(index: number): ValueName;
  optional(index: number): ValueName | undefined;
  typeOf(value: ValueName): TensorType;
  /** The tensor of a value known at compile time (after folding); undefined otherwise. */
  constantOf(value: ValueName): Tensor | undefined;
  /** The integers of a value known at compile time; a diagnostic that names the input when it is not. */
  integers(index: number): readonly number[];
  /** The extents that a shape-like input holds, symbols included (Shape/Gather/Concat chains); a diagnostic when unknown. */
  extents(index: number): readonly Extent[];
  /** A shape result: later `extents` calls see it, symbols included. Returns its value (a constant where static). */
  shapeValue(extents: readonly Extent[], element?: "i64" | "i32"): ValueName;
  /**
   * The number format of a value that holds codes without a plain element of their own (int4, float8 and the like);
   * undefined for an ordinary value. Integer codes are their values, others are bit patterns.
   */
  formatOf(value: ValueName): NumberFormat | undefined;
  /** Says that a value holds codes of a format. Returns the value. */
  withFormat(value: ValueName, format: NumberFormat | undefined): ValueName;
  /** Says that a value is the zero point that a quantized value computed for itself. Returns the value. */
  markZero(zero: ValueName, quantized: ValueName): ValueName;
  /** The quantized value that a zero point was computed for. */
  zeroOwner(zero: ValueName): ValueName | undefined;
  /** The node that made a value; undefined for graph inputs. */
  producerOf(value: ValueName): Node | undefined;
  /** Imports the nodes of a graph attribute in place, with `inputs` for its formal inputs; yields its outputs. */
  subgraph(attribute: string, inputs: readonly ValueName[]): readonly ValueName[];
  /** How many inputs and outputs a graph attribute declares. */
  subgraphArity(attribute: string): { readonly inputs: number; readonly outputs: number };
  /** Turns a possibly negative axis into 0..rank-1; a diagnostic when outside. */
  axis(axis: number, rank: number): number;
  /** Ends this node's import with a diagnostic. */
  fail(code: string, message: string, help?: string): never;
}

/** Returns the node's outputs, in order (unused trailing ones may be left out). May throw TypeFault or DiagnosticError. */
export type OpImporter = (context: ImportContext) => readonly ValueName[];

export type OpImporterTable = Readonly<Record<string, OpImporter>>;
