/** exp, log and their kin in f64. Series are exact rationals (1/n!, 2/(2n+1)); every reduction keeps a second word where it matters. */

import { inverseFactorials, type MathFunctions, polynomial } from "./function.ts";

/** ln 2: 32 bits, and the rest. k times the first is exact for |k| < 2^21. */
const ln2High = 0.6931471803691238;
const ln2Low = 1.9082149292705877e-10;

/** e^r - 1 - r over r² to r^14: the rest is below 2^-57 for |r| <= ln 2 / 2. */
const expSeries = inverseFactorials(2, 13);
/** 2/3, 2/5, ...: 2 artanh(s) = 2s + s (2/3 s² + 2/5 s⁴ + ...); the rest is below 2^-58 for s² <= 0.0295. */
const logSeries = Array.from({ length: 10 }, (_, index) => 2 / (2 * index + 3));

const scale =
  `;; y 2^k for |k| <= 2100, as three factors of normal numbers, so that a subnormal result is rounded only where it must be.
(func $scale_f64 (param $y f64) (param $k i32) (result f64)
  (local $part i32)
  (local.set $part (i32.div_s (local.get $k) (i32.const 3)))
  (f64.mul
    (f64.mul
      (f64.mul (local.get $y) (call $power_of_two_f64 (local.get $part)))
      (call $power_of_two_f64 (local.get $part)))
    (call $power_of_two_f64 (i32.sub (local.get $k) (i32.mul (local.get $part) (i32.const 2))))))`;

const powerOfTwo = `;; 2^k for -1022 <= k <= 1023.
(func $power_of_two_f64 (param $k i32) (result f64)
  (f64.reinterpret_i64 (i64.shl (i64.extend_i32_s (i32.add (local.get $k) (i32.const 1023))) (i64.const 52))))`;

const exponential = `;; e^(x + tail) = 2^k e^r, k = round(x / ln 2), r = x + tail - k ln 2.
(func $exp_with_tail_f64 (param $x f64) (param $tail f64) (result f64)
  (local $k f64) (local $r f64) (local $low f64)
  (if (f64.gt (local.get $x) (f64.const 709.79)) (then (return (f64.const inf))))
  (if (f64.lt (local.get $x) (f64.const -745.2)) (then (return (f64.const 0))))
  (local.set $k (f64.nearest (f64.mul (local.get $x) (f64.const ${Math.LOG2E}))))
  (local.set $r (f64.sub (local.get $x) (f64.mul (local.get $k) (f64.const ${ln2High}))))
  (local.set $low (f64.sub (local.get $tail) (f64.mul (local.get $k) (f64.const ${ln2Low}))))
  (local.set $x (f64.add (local.get $r) (local.get $low)))
  (local.set $low (f64.add (f64.sub (local.get $r) (local.get $x)) (local.get $low)))
  (local.set $r (local.get $x))
  (call $scale_f64
    (f64.add (f64.const 1) (f64.add (local.get $r) (f64.add (local.get $low)
      (f64.mul (f64.mul (local.get $r) (local.get $r))
    ${polynomial("f64", "r", expSeries)}))))
    (i32.trunc_sat_f64_s (local.get $k))))`;

const exponentialMinusOne =
  `;; e^x - 1 = 2^k (e^r - 1) + (2^k - 1). For k = 0 the second term is absent and small x keep their precision.
(func $expm1_f64 (param $x f64) (result f64)
  (local $k f64) (local $r f64) (local $p f64) (local $n i32)
  (if (f64.gt (local.get $x) (f64.const 40)) (then (return (f64.sub (call $exp_f64 (local.get $x)) (f64.const 1)))))
  (if (f64.lt (local.get $x) (f64.const -40)) (then (return (f64.const -1))))
  (local.set $k (f64.nearest (f64.mul (local.get $x) (f64.const ${Math.LOG2E}))))
  (local.set $r (f64.sub (f64.sub (local.get $x) (f64.mul (local.get $k) (f64.const ${ln2High})))
    (f64.mul (local.get $k) (f64.const ${ln2Low}))))
  (local.set $p (f64.add (local.get $r) (f64.mul (f64.mul (local.get $r) (local.get $r))
    ${polynomial("f64", "r", expSeries)})))
  (local.set $n (i32.trunc_sat_f64_s (local.get $k)))
  (if (i32.eqz (local.get $n)) (then (return (local.get $p))))
  (f64.add
    (f64.mul (local.get $p) (call $power_of_two_f64 (local.get $n)))
    (f64.sub (call $power_of_two_f64 (local.get $n)) (f64.const 1))))`;

const logarithm = `;; log x = k ln 2 + log(1 + f), 1 + f in [√½, √2); with s = f / (2 + f) and R = s² P(s²):
;; log(1 + f) = f - (f²/2 - s (f²/2 + R)).
(func $log_f64 (param $x f64) (result f64)
  (local $bits i64) (local $k f64) (local $shift i64) (local $f f64) (local $s f64) (local $z f64) (local $h f64)
  (if (i32.eqz (f64.gt (local.get $x) (f64.const 0)))
    (then (return (select (f64.const -inf) (f64.const nan) (f64.eq (local.get $x) (f64.const 0))))))
  (if (f64.eq (local.get $x) (f64.const inf)) (then (return (local.get $x))))
  (if (f64.lt (local.get $x) (f64.const 0x1p-1022))
    (then
      (local.set $x (f64.mul (local.get $x) (f64.const 0x1p54)))
      (local.set $k (f64.const -54))))
  (local.set $bits (i64.reinterpret_f64 (local.get $x)))
  (local.set $shift (i64.shr_s (i64.sub (local.get $bits) (i64.const 0x3fe6a09e667f3bcd)) (i64.const 52)))
  (local.set $k (f64.add (local.get $k) (f64.convert_i64_s (local.get $shift))))
  (local.set $f (f64.sub
    (f64.reinterpret_i64 (i64.sub (local.get $bits) (i64.shl (local.get $shift) (i64.const 52))))
    (f64.const 1)))
  (local.set $s (f64.div (local.get $f) (f64.add (f64.const 2) (local.get $f))))
  (local.set $z (f64.mul (local.get $s) (local.get $s)))
  (local.set $h (f64.mul (f64.const 0.5) (f64.mul (local.get $f) (local.get $f))))
  (f64.add
    (f64.mul (local.get $k) (f64.const ${ln2High}))
    (f64.sub (local.get $f) (f64.sub (local.get $h) (f64.add
      (f64.mul (local.get $s) (f64.add (local.get $h) (f64.mul (local.get $z)
    ${polynomial("f64", "z", logSeries)})))
      (f64.mul (local.get $k) (f64.const ${ln2Low})))))))`;

const logarithmPlusOne = `;; log(1 + x) = log(u) + (x - (u - 1)) / u with u = 1 + x rounded.
(func $log1p_f64 (param $x f64) (result f64)
  (local $u f64)
  (local.set $u (f64.add (f64.const 1) (local.get $x)))
  (if (f64.eq (local.get $u) (f64.const 1)) (then (return (local.get $x))))
  (if (f64.eq (local.get $u) (f64.const inf)) (then (return (local.get $u))))
  (if (f64.eq (local.get $u) (f64.const 0)) (then (return (f64.const -inf))))
  (f64.add (call $log_f64 (local.get $u))
    (f64.div (f64.sub (local.get $x) (f64.sub (local.get $u) (f64.const 1))) (local.get $u))))`;

const hyperbolicSine =
  `;; (E + E / (E + 1)) / 2 with E = e^|x| - 1, with the sign of x; for large |x| (e^(|x|/2) / 2) e^(|x|/2).
(func $sinh_f64 (param $x f64) (result f64)
  (local $e f64)
  (local.set $e (f64.abs (local.get $x)))
  (if (f64.gt (local.get $e) (f64.const 40))
    (then
      (local.set $e (call $exp_f64 (f64.mul (local.get $e) (f64.const 0.5))))
      (return (f64.copysign (f64.mul (f64.mul (f64.const 0.5) (local.get $e)) (local.get $e)) (local.get $x)))))
  (local.set $e (call $expm1_f64 (local.get $e)))
  (f64.copysign
    (f64.mul (f64.const 0.5) (f64.add (local.get $e) (f64.div (local.get $e) (f64.add (local.get $e) (f64.const 1)))))
    (local.get $x)))`;

const hyperbolicCosine = `;; (e^|x| + e^-|x|) / 2; for large |x| (e^(|x|/2) / 2) e^(|x|/2).
(func $cosh_f64 (param $x f64) (result f64)
  (local $e f64)
  (local.set $e (f64.abs (local.get $x)))
  (if (f64.gt (local.get $e) (f64.const 40))
    (then
      (local.set $e (call $exp_f64 (f64.mul (local.get $e) (f64.const 0.5))))
      (return (f64.mul (f64.mul (f64.const 0.5) (local.get $e)) (local.get $e)))))
  (local.set $e (call $exp_f64 (local.get $e)))
  (f64.mul (f64.const 0.5) (f64.add (local.get $e) (f64.div (f64.const 1) (local.get $e)))))`;

const hyperbolicTangent = `;; E / (E + 2) with E = e^(2|x|) - 1, with the sign of x; 1 beyond 20.
(func $tanh_f64 (param $x f64) (result f64)
  (local $e f64)
  (local.set $e (f64.abs (local.get $x)))
  (if (f64.gt (local.get $e) (f64.const 20)) (then (return (f64.copysign (f64.const 1) (local.get $x)))))
  (local.set $e (call $expm1_f64 (f64.add (local.get $e) (local.get $e))))
  (f64.copysign (f64.div (local.get $e) (f64.add (local.get $e) (f64.const 2))) (local.get $x)))`;

const inverseHyperbolicSine =
  `;; log1p(a + a² / (1 + √(1 + a²))), a = |x|, with the sign of x; log a + ln 2 beyond 2^28.
(func $asinh_f64 (param $x f64) (result f64)
  (local $a f64) (local $square f64)
  (local.set $a (f64.abs (local.get $x)))
  (if (f64.gt (local.get $a) (f64.const 0x1p28))
    (then (return (f64.copysign (f64.add (call $log_f64 (local.get $a)) (f64.const ${Math.LN2})) (local.get $x)))))
  (local.set $square (f64.mul (local.get $a) (local.get $a)))
  (f64.copysign
    (call $log1p_f64 (f64.add (local.get $a) (f64.div (local.get $square)
      (f64.add (f64.const 1) (f64.sqrt (f64.add (f64.const 1) (local.get $square)))))))
    (local.get $x)))`;

const inverseHyperbolicCosine = `;; log1p(t + √(2t + t²)), t = x - 1; log x + ln 2 beyond 2^28.
(func $acosh_f64 (param $x f64) (result f64)
  (local $t f64)
  (if (f64.gt (local.get $x) (f64.const 0x1p28))
    (then (return (f64.add (call $log_f64 (local.get $x)) (f64.const ${Math.LN2})))))
  (if (f64.lt (local.get $x) (f64.const 1)) (then (return (f64.const nan))))
  (local.set $t (f64.sub (local.get $x) (f64.const 1)))
  (call $log1p_f64 (f64.add (local.get $t) (f64.sqrt
    (f64.add (f64.add (local.get $t) (local.get $t)) (f64.mul (local.get $t) (local.get $t)))))))`;

const inverseHyperbolicTangent = `;; log1p(2a / (1 - a)) / 2, a = |x|, with the sign of x.
(func $atanh_f64 (param $x f64) (result f64)
  (local $a f64)
  (local.set $a (f64.abs (local.get $x)))
  (f64.copysign
    (f64.mul (f64.const 0.5) (call $log1p_f64
      (f64.div (f64.add (local.get $a) (local.get $a)) (f64.sub (f64.const 1) (local.get $a)))))
    (local.get $x)))`;

export const exponentialFunctions: MathFunctions = {
  power_of_two_f64: { wat: powerOfTwo, calls: [] },
  scale_f64: { wat: scale, calls: ["power_of_two_f64"] },
  exp_with_tail_f64: { wat: exponential, calls: ["scale_f64"] },
  exp_f64: {
    wat: `;; e^x.
(func $exp_f64 (param $x f64) (result f64)
  (call $exp_with_tail_f64 (local.get $x) (f64.const 0)))`,
    calls: ["exp_with_tail_f64"],
  },
  expm1_f64: { wat: exponentialMinusOne, calls: ["exp_f64", "power_of_two_f64"] },
  log_f64: { wat: logarithm, calls: [] },
  log1p_f64: { wat: logarithmPlusOne, calls: ["log_f64"] },
  sinh_f64: { wat: hyperbolicSine, calls: ["exp_f64", "expm1_f64"] },
  cosh_f64: { wat: hyperbolicCosine, calls: ["exp_f64"] },
  tanh_f64: { wat: hyperbolicTangent, calls: ["expm1_f64"] },
  asinh_f64: { wat: inverseHyperbolicSine, calls: ["log_f64", "log1p_f64"] },
  acosh_f64: { wat: inverseHyperbolicCosine, calls: ["log_f64", "log1p_f64"] },
  atanh_f64: { wat: inverseHyperbolicTangent, calls: ["log1p_f64"] },
};
