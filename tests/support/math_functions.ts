/** Runs functions of the math library over arrays, for tests. */

import { assemble } from "../../targets/wasm/module.ts";
import { mathLibrary } from "../../targets/wasm/math/library.ts";

export interface ArrayFunctionOptions {
  readonly signature: "f32" | "f64" | "f32x4";
  /** 1 unless said. */
  readonly operands?: 1 | 2;
  /** Functions called; the one named by `call` when absent. */
  readonly names?: readonly string[];
  /** The expression over operands that is computed; a call of the function when absent. */
  readonly expression?: (...operands: readonly string[]) => string;
  /** Changes the library's text: what a mutant is made by. */
  readonly mutate?: (library: string) => string;
}

/** Applies a function of one or two operands to every entry. */
export type ArrayFunction = (x: ArrayLike<number>, y?: ArrayLike<number>) => Float32Array | Float64Array;

const loads = { f32: "f32.load", f64: "f64.load", f32x4: "v128.load" } as const;
const stores = { f32: "f32.store", f64: "f64.store", f32x4: "v128.store" } as const;
const widths = { f32: 4, f64: 8, f32x4: 16 } as const;

/** Entries that one call takes; a multiple of four. */
const capacity = 1 << 16;

/** The function `name` of the library, ready to run on arrays. */
export function arrayFunction(name: string, options: ArrayFunctionOptions): ArrayFunction {
  const { signature, operands = 1, names = [name], mutate = (library: string) => library } = options;
  const expression = options.expression ?? ((...values: readonly string[]) => `(call $${name} ${values.join(" ")})`);
  const address = (base: number) => `(i32.add (i32.const ${base}) (local.get $at))`;
  const load = (base: number) => `(${loads[signature]} ${address(base)})`;
  const values = operands === 2 ? [load(0), load(8 * capacity)] : [load(0)];
  const text = `(module
${mutate(mathLibrary(names))}
(memory (export "memory") ${(24 * capacity) / 65536})
(func (export "run") (param $bytes i32) (local $at i32)
  (loop $each
    (${stores[signature]} ${address(16 * capacity)} ${expression(...values)})
    (br_if $each (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const ${
    widths[signature]
  }))) (local.get $bytes))))))`;
  const { memory, run } = new WebAssembly.Instance(new WebAssembly.Module(assemble(text, "simd128"))).exports;
  if (!(memory instanceof WebAssembly.Memory) || typeof run !== "function") throw new TypeError("Exports are missing");
  const bytes = signature === "f64" ? 8 : 4;
  const view = (base: number, length: number) =>
    signature === "f64" ? new Float64Array(memory.buffer, base, length) : new Float32Array(memory.buffer, base, length);
  return (x, y) => {
    const result = signature === "f64" ? new Float64Array(x.length) : new Float32Array(x.length);
    for (let start = 0; start < x.length; start += capacity) {
      const count = Math.min(capacity, x.length - start);
      const [first, second] = [view(0, count), view(8 * capacity, count)];
      for (let index = 0; index < count; index++) first[index] = x[start + index];
      if (y !== undefined) { for (let index = 0; index < count; index++) second[index] = y[start + index]; }
      run(count * bytes);
      result.set(view(16 * capacity, count), start);
    }
    return result;
  };
}

/**
 * |actual - reference| in units of the last place of `reference`, in f32 or f64; 0 where both are NaN. A reference past the
 * largest finite number by less than half a unit may be that number or infinity.
 */
export function ulps(actual: number, reference: number, bits: 32 | 64): number {
  if (actual === reference || (Number.isNaN(actual) && Number.isNaN(reference))) return 0;
  const [mantissa, least] = bits === 32 ? [23, -126] : [52, -1022];
  const largest = bits === 32 ? 3.4028234663852886e38 : Number.MAX_VALUE;
  const size = Math.abs(reference);
  if (size > largest) {
    if (actual === Math.sign(reference) * Infinity) return 0;
    return size <= largest * (1 + 2 ** -24) ? ulps(actual, Math.sign(reference) * largest, bits) : Infinity;
  }
  if (!Number.isFinite(actual) || !Number.isFinite(reference)) return Infinity;
  const exponent = size === 0 ? least : Math.max(least, Math.floor(Math.log2(size)));
  return Math.abs(actual - reference) / 2 ** (exponent - mantissa);
}
