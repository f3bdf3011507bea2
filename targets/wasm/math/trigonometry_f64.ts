/** Sines, tangents and their inverses in f64. */

import { alternating, inverseFactorials, type MathFunctions, polynomial } from "./function.ts";
import { halfPiParts } from "./vector_f32.ts";

/** sin r = r + r³ P(r²): -1/3!, 1/5!, ... to r^19; the rest is below 2^-62 for |r| <= π/4. */
const sinSeries = alternating(inverseFactorials(3, 9, 2)).map((value) => -value);
/** cos r = 1 - r²/2 + r⁴ P(r²): 1/4!, -1/6!, ... to r^18. */
const cosSeries = alternating(inverseFactorials(4, 8, 2));
/** atan t = t + t³ P(t²): -1/3, 1/5, ...; the rest is below 2^-58 for |t| <= 1/15. */
const atanSeries = Array.from({ length: 7 }, (_, index) => (index % 2 === 0 ? -1 : 1) / (2 * index + 3));

/** atan(k/8) for k = 0..8, each as the nearest double and what it lacks (from 60 digits). */
const atanTable: readonly (readonly [number, number])[] = [
  [0, 0],
  [0.12435499454676144, -3.1253241424539383e-18],
  [0.24497866312686414, 1.0698755618734451e-17],
  [0.35877067027057225, -2.4623815582638635e-17],
  [0.4636476090008061, 2.2698777452961687e-17],
  [0.5585993153435624, -5.4556305485916264e-18],
  [0.6435011087932844, 1.5834785051444286e-17],
  [0.7188299996216245, -2.1478388444456983e-17],
  [0.7853981633974483, 3.061616997868383e-17],
];

/** h + l = a + b exactly (Knuth's two-sum), as statements on locals; `t` is scratch. */
function twoSum(high: string, low: string, a: string, b: string): string {
  return `(local.set $t ${b})
  (local.set $${high} (f64.add ${a} (local.get $t)))
  (local.set $v (f64.sub (local.get $${high}) ${a}))
  (local.set $${low} (f64.add (f64.sub ${a} (f64.sub (local.get $${high}) (local.get $v)))
    (f64.sub (local.get $t) (local.get $v))))`;
}

function minusTurns(part: number): string {
  return `(f64.neg (f64.mul (local.get $k) (f64.const ${halfPiParts[part]})))`;
}

const rotated =
  `;; sin(x + shift π/2). x - k π/2 is taken in two words: π/2 is split into parts whose products with k are exact for
;; |k| < 2^31, and every difference keeps its rounding error. Precise for |x| <= 2^30.
(func $sin_turned_f64 (param $x f64) (param $shift i32) (result f64)
  (local $k f64) (local $a f64) (local $b f64) (local $e f64) (local $e2 f64) (local $t f64) (local $v f64)
  (local $r f64) (local $tail f64) (local $z f64) (local $w f64) (local $n i32)
  (local.set $k (f64.nearest (f64.mul (local.get $x) (f64.const ${2 / Math.PI}))))
  (local.set $n (i32.add (i32.trunc_sat_f64_s (local.get $k)) (local.get $shift)))
  ${twoSum("a", "e", "(local.get $x)", minusTurns(0))}
  ${twoSum("b", "e2", "(local.get $a)", minusTurns(1))}
  (local.set $e (f64.add (local.get $e) (local.get $e2)))
  ${twoSum("a", "e2", "(local.get $b)", minusTurns(2))}
  (local.set $e (f64.add (f64.add (local.get $e) (local.get $e2)) ${minusTurns(3)}))
  (local.set $r (f64.add (local.get $a) (local.get $e)))
  (local.set $tail (f64.add (f64.sub (local.get $a) (local.get $r)) (local.get $e)))
  (local.set $z (f64.mul (local.get $r) (local.get $r)))
  (if (i32.and (local.get $n) (i32.const 1))
    (then
      ;; cos(r + tail) = 1 - z/2 + z² P - r tail, the rounding of 1 - z/2 taken back in.
      (local.set $t (f64.mul (f64.const 0.5) (local.get $z)))
      (local.set $w (f64.sub (f64.const 1) (local.get $t)))
      (local.set $v (f64.add (local.get $w) (f64.add
        (f64.sub (f64.sub (f64.const 1) (local.get $w)) (local.get $t))
        (f64.sub
          (f64.mul (f64.mul (local.get $z) (local.get $z))
    ${polynomial("f64", "z", cosSeries)})
          (f64.mul (local.get $r) (local.get $tail)))))))
    (else
      ;; sin(r + tail) = r + r z P + tail (1 - z/2).
      (local.set $v (f64.add (local.get $r) (f64.add
        (f64.mul (f64.mul (local.get $r) (local.get $z))
    ${polynomial("f64", "z", sinSeries)})
        (f64.mul (local.get $tail) (f64.sub (f64.const 1) (f64.mul (f64.const 0.5) (local.get $z)))))))))
  (select (f64.neg (local.get $v)) (local.get $v) (i32.and (local.get $n) (i32.const 2))))`;

/** `values[k]` by a tree of tests on the local `k`. */
function chosen(values: readonly number[], from = 0, to = values.length): string {
  if (to - from === 1) return `(f64.const ${values[from]})`;
  const middle = (from + to) >> 1;
  return `(if (result f64) (i32.lt_u (local.get $k) (i32.const ${middle})) (then ${
    chosen(values, from, middle)
  }) (else ${chosen(values, middle, to)}))`;
}

const arctangent =
  `;; atan x = atan(k/8) + atan t with k/8 the nearest eighth and t = (x - k/8) / (1 + x k/8); beyond 1, π/2 - atan(1/x).
(func $atan_f64 (param $x f64) (result f64)
  (local $a f64) (local $c f64) (local $t f64) (local $z f64) (local $k i32) (local $y f64) (local $over i32)
  (if (f64.ne (local.get $x) (local.get $x)) (then (return (local.get $x))))
  (local.set $a (f64.abs (local.get $x)))
  (local.set $over (f64.gt (local.get $a) (f64.const 1)))
  (if (local.get $over) (then (local.set $a (f64.div (f64.const 1) (local.get $a)))))
  (local.set $k (i32.trunc_sat_f64_u (f64.nearest (f64.mul (local.get $a) (f64.const 8)))))
  (local.set $c (f64.mul (f64.convert_i32_u (local.get $k)) (f64.const 0.125)))
  (local.set $t (f64.div (f64.sub (local.get $a) (local.get $c))
    (f64.add (f64.const 1) (f64.mul (local.get $a) (local.get $c)))))
  (local.set $z (f64.mul (local.get $t) (local.get $t)))
  (local.set $y (f64.add
    ${chosen(atanTable.map(([high]) => high))}
    (f64.add (local.get $t) (f64.add
      ${chosen(atanTable.map(([, low]) => low))}
      (f64.mul (f64.mul (local.get $t) (local.get $z))
    ${polynomial("f64", "z", atanSeries)})))))
  (if (local.get $over)
    (then (local.set $y (f64.sub (f64.const ${
    Math.PI / 2
  }) (f64.sub (local.get $y) (f64.const 6.123233995736766e-17))))))
  (f64.copysign (local.get $y) (local.get $x)))`;

const arcsine = `;; asin x = atan(x / √((1 - x)(1 + x))).
(func $asin_f64 (param $x f64) (result f64)
  (call $atan_f64 (f64.div (local.get $x) (f64.sqrt (f64.mul
    (f64.sub (f64.const 1) (local.get $x))
    (f64.add (f64.const 1) (local.get $x)))))))`;

const arccosine = `;; acos x = 2 atan(√((1 - x) / (1 + x))).
(func $acos_f64 (param $x f64) (result f64)
  (f64.mul (f64.const 2) (call $atan_f64 (f64.sqrt (f64.div
    (f64.sub (f64.const 1) (local.get $x))
    (f64.add (f64.const 1) (local.get $x)))))))`;

export const trigonometricFunctions: MathFunctions = {
  sin_turned_f64: { wat: rotated, calls: [] },
  sin_f64: {
    wat: `;; sin x; zeros keep their sign.
(func $sin_f64 (param $x f64) (result f64)
  (if (result f64) (f64.eq (local.get $x) (f64.const 0))
    (then (local.get $x))
    (else (call $sin_turned_f64 (local.get $x) (i32.const 0)))))`,
    calls: ["sin_turned_f64"],
  },
  cos_f64: {
    wat: `;; cos x.
(func $cos_f64 (param $x f64) (result f64)
  (call $sin_turned_f64 (local.get $x) (i32.const 1)))`,
    calls: ["sin_turned_f64"],
  },
  tan_f64: {
    wat: `;; sin x / cos x.
(func $tan_f64 (param $x f64) (result f64)
  (f64.div (call $sin_f64 (local.get $x)) (call $cos_f64 (local.get $x))))`,
    calls: ["sin_f64", "cos_f64"],
  },
  atan_f64: { wat: arctangent, calls: [] },
  asin_f64: { wat: arcsine, calls: ["atan_f64"] },
  acos_f64: { wat: arccosine, calls: ["atan_f64"] },
};
