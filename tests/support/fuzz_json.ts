/** Mutations of JSON documents that keep them JSON, so that fuzzing reaches what lies behind the parser. */

import fc from "fast-check";
import { fraction } from "./fuzz.ts";

/** One change at a place of the document; `at` picks it among all its places. */
export type JsonMutation =
  | { readonly kind: "replace"; readonly at: number; readonly value: unknown }
  | { readonly kind: "number"; readonly at: number; readonly change: number }
  | { readonly kind: "remove"; readonly at: number }
  | { readonly kind: "copy"; readonly from: number; readonly at: number }
  | { readonly kind: "rename"; readonly at: number; readonly name: string };

/** Values that lie at the edges of what readers expect. */
const edgeValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(null, true, false, "", "x", "-1", [], {}, [[]], "__proto__", "../../etc/passwd", "\u0000"),
  fc.constantFrom(
    0,
    -1,
    1,
    0.5,
    -0.5,
    2,
    3,
    7,
    255,
    2 ** 16,
    2 ** 31,
    -(2 ** 31),
    2 ** 32,
    2 ** 53,
    2 ** 64,
    1e308,
    1e-308,
  ),
  fc.integer({ min: -10, max: 300 }),
  fc.constantFrom("F16", "BF16", "F64", "I8", "DT_INT32", "DT_BOOL", "DT_STRING", "float16", "int32", "string", "same"),
);

export const jsonMutations: fc.Arbitrary<readonly JsonMutation[]> = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("replace" as const), at: fraction, value: edgeValue }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant("number" as const),
        at: fraction,
        change: fc.constantFrom(1, -1, 2, -2, 8, 31, 1000, 2 ** 20, 2 ** 40),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("remove" as const), at: fraction }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("copy" as const), from: fraction, at: fraction }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("rename" as const),
        at: fraction,
        name: fc.constantFrom("", "x", "__proto__", "constructor", "toString", "length", "0"),
      }),
    },
  ),
  { minLength: 1, maxLength: 3 },
);

/** A container and the key of one of its entries. */
interface Place {
  readonly holder: Record<string, unknown> | unknown[];
  readonly key: string | number;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function placesOf(root: unknown): readonly Place[] {
  const places: Place[] = [];
  const stack: unknown[] = [root];
  while (stack.length > 0) {
    const holder = stack.pop();
    if (Array.isArray(holder)) {
      holder.forEach((entry, key) => {
        places.push({ holder, key });
        stack.push(entry);
      });
    } else if (isRecord(holder)) {
      for (const [key, entry] of Object.entries(holder)) {
        places.push({ holder, key });
        stack.push(entry);
      }
    }
  }
  return places;
}

function read({ holder, key }: Place): unknown {
  return Array.isArray(holder) ? holder[Number(key)] : holder[key];
}

function write({ holder, key }: Place, value: unknown): void {
  if (Array.isArray(holder)) holder[Number(key)] = value;
  else define(holder, String(key), value);
}

/** As JSON.parse does it: `__proto__` is a key like any other. */
function define(holder: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(holder, key, { value, writable: true, enumerable: true, configurable: true });
}

function remove({ holder, key }: Place): void {
  if (Array.isArray(holder)) holder.splice(Number(key), 1);
  else delete holder[key];
}

/** A changed copy of a JSON document. */
export function mutateJson(document: unknown, changes: readonly JsonMutation[]): unknown {
  const root: unknown = structuredClone(document);
  for (const change of changes) {
    const places = placesOf(root);
    if (places.length === 0) return root;
    const pick = (at: number) => places[Math.floor(at * places.length)];
    const place = pick(change.at);
    switch (change.kind) {
      case "replace":
        write(place, structuredClone(change.value));
        break;
      case "number": {
        const old = read(place);
        if (typeof old === "number") write(place, old + change.change);
        break;
      }
      case "remove":
        remove(place);
        break;
      case "copy":
        write(place, structuredClone(read(pick(change.from))));
        break;
      case "rename": {
        if (Array.isArray(place.holder)) break;
        const value = read(place);
        remove(place);
        define(place.holder, change.name, value);
        break;
      }
    }
  }
  return root;
}
