/** The WGSL math library: the functions that a kernel's text calls, each once. */

import { exponentialFunctions } from "../../wasm/math/exponential_f64.ts";
import { powerFunctions } from "../../wasm/math/power_f64.ts";
import { trigonometricFunctions } from "../../wasm/math/trigonometry_f64.ts";
import { circular32 } from "./circular32.ts";
import { float32, integer32, power32, throughF64 } from "./float32.ts";
import { float64 } from "./float64.ts";
import { wgslFunction } from "./from_wat.ts";
import { power64 } from "./power64.ts";
import { word64 } from "./word64.ts";

interface LibraryFunction {
  readonly text: string;
  readonly calls: readonly string[];
}

/** `power64` has its own. */
const { pow_f64: _, ...otherPowers } = powerFunctions;

const sources: readonly string[] = [
  float32,
  integer32,
  circular32,
  throughF64,
  power32,
  word64,
  float64,
  power64,
  ...Object.values({ ...exponentialFunctions, ...trigonometricFunctions, ...otherPowers })
    .map(({ wat }) => wgslFunction(wat)),
];

const library: ReadonlyMap<string, LibraryFunction> = readLibrary(sources.join("\n\n"));

/** Names of all library functions: a kernel must not take them for its own. */
export const libraryNames: ReadonlySet<string> = new Set(library.keys());

/** Cuts a text into functions, each with the comment above it. */
function readLibrary(text: string): ReadonlyMap<string, LibraryFunction> {
  const pieces = text.match(/(?:^\/\/.*\n)*(?:^fn .*\}$|^fn [^]*?^\})/gm) ?? [];
  const texts = new Map(pieces.map((piece) => [/^fn (\w+)/m.exec(piece)?.[1] ?? "", piece.trim()]));
  return new Map(
    [...texts].map((
      [name, piece],
    ) => [name, { text: piece, calls: calledNames(piece).filter((call) => call !== name && texts.has(call)) }]),
  );
}

function calledNames(text: string): string[] {
  const code = text.replace(/\/\/.*$/gm, "");
  return [...new Set([...code.matchAll(/\b([A-Za-z_]\w*)\(/g)].map((match) => match[1]))];
}

/** Text of the library functions that `text` calls and of all that they call, callees first. */
export function libraryFor(text: string): string {
  const ordered = new Set<string>();
  const visit = (name: string): void => {
    const found = library.get(name);
    if (found === undefined || ordered.has(name)) return;
    found.calls.forEach(visit);
    ordered.add(name);
  };
  calledNames(text).sort().forEach(visit);
  return [...ordered].map((name) => library.get(name)?.text).join("\n\n");
}
