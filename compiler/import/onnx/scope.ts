/** Names of one ONNX graph and what they stand for while it is imported. */

import type { ValueName } from "../../ir/node.ts";
import type { AttributeProto, OpsetProto, TensorProto } from "./proto.ts";

/** What holds for every node of a model's main graph or of one inlined function body. */
export interface Frame {
  readonly opsets: readonly OpsetProto[];
  /** Attributes of the call, by name, for a function body; undefined in the main graph. */
  readonly attributes: ReadonlyMap<string, AttributeProto> | undefined;
  /** Put before node names, so that two calls of one function are told apart. */
  readonly prefix: string;
  /** Keys of the functions that are being inlined, outermost first. */
  readonly calls: readonly string[];
}

/** A value whose import failed: what reads it is not imported either. */
export const failed = Symbol("failed");

export type Meaning = ValueName | typeof failed;

/** Names in one graph; those of the graphs around it are visible too. */
export interface Scope {
  readonly frame: Frame;
  readonly parent: Scope | undefined;
  readonly values: Map<string, Meaning>;
  /** Initializers that nothing has read yet. */
  readonly initializers: Map<string, TensorProto>;
}

export function childScope(frame: Frame, parent: Scope | undefined): Scope {
  return { frame, parent, values: new Map(), initializers: new Map() };
}

/** Opset version of a domain; 1 for domains that the model does not import. */
export function opsetOf(frame: Frame, domain: string): number {
  return frame.opsets.find((entry) => entry.domain === domain)?.version ?? 1;
}
