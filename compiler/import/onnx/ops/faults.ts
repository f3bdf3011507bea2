/** The ways in which an importer gives up, each with its code. */

import type { ImportContext } from "../op_importer.ts";

/** A legal ONNX form that Quern's ops cannot express. */
export function unsupported(context: ImportContext, message: string, help?: string): never {
  return context.fail("Q1060", message, help);
}

/** A form that the ONNX specification forbids. */
export function malformed(context: ImportContext, message: string): never {
  return context.fail("Q1061", message);
}

/** An extent that must be a number is a symbol. */
export function needsStatic(context: ImportContext, message: string): never {
  return context.fail("Q1062", message, "Bind the symbol to a number with --bind");
}

/** A value that must be known at compile time is computed at run time. */
export function needsConstant(context: ImportContext, message: string): never {
  return context.fail("Q1063", message, "Bind the input's symbols, or make it an initializer of the model");
}

/** Marks attributes as known where their values change nothing. */
export function ignoreAttributes(context: ImportContext, ...names: readonly string[]): void {
  for (const name of names) context.node.attributes.has(name);
}
