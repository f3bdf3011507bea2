/** Changes to single fields of ONNX files: sound protobufs that lie. */

import fc from "fast-check";
import onnxProto from "onnx-proto";
import { fraction } from "./fuzz.ts";

const { onnx } = onnxProto;

/** One change: which field, as a fraction of all there are, and what becomes of it. */
export interface FieldChange {
  readonly at: number;
  readonly number: number;
  readonly text: number;
  readonly kind: "replace" | "drop" | "double";
}

export const fieldChanges: fc.Arbitrary<readonly FieldChange[]> = fc.array(
  fc.record({
    at: fraction,
    number: fc.oneof(
      fc.constantFrom(0, 1, -1, 2, 3, 7, 255, 2 ** 31 - 1, -(2 ** 31), 2 ** 40),
      fc.integer({ min: -4, max: 24 }),
    ),
    text: fraction,
    kind: fc.constantFrom("replace" as const, "replace" as const, "drop" as const, "double" as const),
  }),
  { minLength: 1, maxLength: 3 },
);

/** A field of a message or an entry of a list, with the means to change it. */
interface Slot {
  readonly holder: Record<string, unknown> | unknown[];
  readonly key: string;
}

/** The file with these fields changed. */
export function changeFields(bytes: Uint8Array, changes: readonly FieldChange[]): Uint8Array {
  const model = onnx.ModelProto.toObject(onnx.ModelProto.decode(bytes), { longs: Number });
  for (const change of changes) {
    const slots: Slot[] = [];
    const texts: string[] = [];
    collect(model, slots, texts);
    if (slots.length === 0) break;
    apply(slots[Math.floor(change.at * slots.length)], change, texts);
  }
  return Uint8Array.from(onnx.ModelProto.encode(onnx.ModelProto.fromObject(model)).finish());
}

function collect(node: unknown, slots: Slot[], texts: string[]): void {
  if (typeof node === "string") texts.push(node);
  if (typeof node !== "object" || node === null || node instanceof Uint8Array) return;
  for (const [key, value] of Object.entries(node)) {
    // Object.entries runs over the keys of a plain object or a list.
    slots.push({ holder: node as Slot["holder"], key });
    collect(value, slots, texts);
  }
}

function apply({ holder, key }: Slot, change: FieldChange, texts: readonly string[]): void {
  if (Array.isArray(holder)) {
    const index = Number(key);
    if (change.kind === "drop") holder.splice(index, 1);
    else if (change.kind === "double") holder.splice(index, 0, structuredClone(holder[index]));
    else holder[index] = replaced(holder[index], change, texts);
    return;
  }
  if (change.kind === "drop") delete holder[key];
  else holder[key] = replaced(holder[key], change, texts);
}

function replaced(value: unknown, change: FieldChange, texts: readonly string[]): unknown {
  if (typeof value === "number") return change.number;
  if (typeof value === "string") return texts[Math.floor(change.text * texts.length)] ?? "";
  if (value instanceof Uint8Array) {
    const bytes = Uint8Array.from(value);
    if (bytes.length > 0) bytes[Math.floor(change.text * bytes.length)] = change.number & 255;
    return change.number % 3 === 0 ? bytes.subarray(1) : bytes;
  }
  if (Array.isArray(value)) return [...value].reverse();
  return value;
}
