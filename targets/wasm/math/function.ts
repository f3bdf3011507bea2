/** What a math function is, and the few pieces of text that they are built from. */

/** One WAT function `$name`; `calls` names the functions that it calls itself. */
export interface MathFunction {
  readonly wat: string;
  readonly calls: readonly string[];
}

export type MathFunctions = Readonly<Record<string, MathFunction>>;

type FloatType = "f32" | "f64" | "f32x4" | "f64x2";

/** A constant in every lane. */
export function constant(type: FloatType, value: number): string {
  const text = Number.isNaN(value) ? "nan" : value === Infinity ? "inf" : value === -Infinity ? "-inf" : String(value);
  switch (type) {
    case "f32x4":
      return `(v128.const f32x4${` ${text}`.repeat(4)})`;
    case "f64x2":
      return `(v128.const f64x2${` ${text}`.repeat(2)})`;
    default:
      return `(${type}.const ${text})`;
  }
}

/** An integer constant in every lane of an i32x4. */
export function lanes(value: number): string {
  return `(v128.const i32x4${` ${value}`.repeat(4)})`;
}

/** c0 + x (c1 + x (c2 + ...)), by Horner's rule; `x` is a local. */
export function polynomial(type: FloatType, x: string, coefficients: readonly number[]): string {
  return coefficients.slice(0, -1).reduceRight(
    (inner, coefficient) =>
      `(${type}.add ${constant(type, coefficient)}\n    (${type}.mul (local.get $${x}) ${inner}))`,
    constant(type, coefficients[coefficients.length - 1]),
  );
}

/** 1/n! for n = first, first + step, ... */
export function inverseFactorials(first: number, count: number, step = 1): number[] {
  return Array.from({ length: count }, (_, index) => 1 / factorial(first + index * step));
}

function factorial(n: number): number {
  return n <= 1 ? 1 : n * factorial(n - 1);
}

/** The same numbers with signs +, -, +, ... */
export function alternating(values: readonly number[]): number[] {
  return values.map((value, index) => (index % 2 === 0 ? value : -value));
}
