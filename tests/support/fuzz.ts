/** How many cases the fuzz tests run, and mutations of bytes that they share. */

import process from "node:process";
import fc from "fast-check";

/**
 * Parameters of one fuzz test: `few` cases, or QUERN_FUZZ_CASES of them, from QUERN_FUZZ_SEED or a new seed. Both are
 * printed, so that a run can be repeated.
 */
export function fuzzParameters(name: string, few: number): { readonly numRuns: number; readonly seed: number } {
  const numRuns = wholeNumber("QUERN_FUZZ_CASES") ?? few;
  const seed = wholeNumber("QUERN_FUZZ_SEED") ?? Math.floor(Math.random() * 2 ** 31);
  console.log(`${name}: ${numRuns} cases, QUERN_FUZZ_SEED=${seed}`);
  return { numRuns, seed };
}

function wholeNumber(variable: string): number | undefined {
  const text = process.env[variable];
  if (text === undefined || text === "") return undefined;
  if (!/^\d+$/.test(text)) throw new RangeError(`${variable} is "${text}", wanted a whole number`);
  return Number(text);
}

/** One change to a list of bytes; `at` and `length` are fractions of what there is. */
export type Mutation =
  | { readonly kind: "set"; readonly at: number; readonly value: number }
  | { readonly kind: "flip"; readonly at: number; readonly bit: number }
  | { readonly kind: "cut"; readonly at: number; readonly length: number }
  | { readonly kind: "insert"; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: "copy"; readonly from: number; readonly at: number; readonly length: number }
  | { readonly kind: "truncate"; readonly at: number };

/** Uniform in [0, 1): doubles of fast-check are uniform over their bit patterns, most of them next to 0. */
export const fraction: fc.Arbitrary<number> = fc.integer({ min: 0, max: 2 ** 30 - 1 }).map((value) => value / 2 ** 30);

const place = fraction;
const share = fraction.map((value) => value / 10);
/** Bytes that end lengths, sign extensions and large varints. */
const edgeByte = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff));

export const mutations: fc.Arbitrary<readonly Mutation[]> = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("set" as const), at: place, value: edgeByte }) },
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant("flip" as const), at: place, bit: fc.integer({ min: 0, max: 7 }) }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("cut" as const), at: place, length: share }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("insert" as const),
        at: place,
        bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("copy" as const), from: place, at: place, length: share }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("truncate" as const), at: place }) },
  ),
  { minLength: 1, maxLength: 4 },
);

/** The bytes after all changes, in order. */
export function mutate(bytes: Uint8Array, changes: readonly Mutation[]): Uint8Array<ArrayBuffer> {
  return changes.reduce((now, change) => applyChange(now, change), Uint8Array.from(bytes));
}

function applyChange(bytes: Uint8Array<ArrayBuffer>, change: Mutation): Uint8Array<ArrayBuffer> {
  const index = (fraction: number) => Math.floor(fraction * bytes.length);
  switch (change.kind) {
    case "set":
      return bytes.map((byte, at) => (at === index(change.at) ? change.value : byte));
    case "flip":
      return bytes.map((byte, at) => (at === index(change.at) ? byte ^ (1 << change.bit) : byte));
    case "cut":
      return spliced(bytes, index(change.at), Math.ceil(change.length * bytes.length), new Uint8Array());
    case "insert":
      return spliced(bytes, index(change.at), 0, change.bytes);
    case "copy": {
      const from = index(change.from);
      const part = bytes.slice(from, from + Math.ceil(change.length * bytes.length));
      return spliced(bytes, index(change.at), 0, part);
    }
    case "truncate":
      return bytes.slice(0, index(change.at));
  }
}

function spliced(bytes: Uint8Array, at: number, removed: number, added: Uint8Array): Uint8Array<ArrayBuffer> {
  const after = bytes.subarray(Math.min(bytes.length, at + removed));
  const result = new Uint8Array(at + added.length + after.length);
  result.set(bytes.subarray(0, at), 0);
  result.set(added, at);
  result.set(after, at + added.length);
  return result;
}
