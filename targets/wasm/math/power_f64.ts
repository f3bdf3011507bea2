/** Powers, remainders and the error function in f64. */

import { type MathFunctions, polynomial } from "./function.ts";

/**
 * The error function. |x| < 3: 2/√π e^(-x²) Σ 2^n x^(2n+1) / (2n+1)!! (DLMF 7.6.2), whose terms all have one sign, summed
 * from the innermost bracket x (1 + 2x²/3 (1 + 2x²/5 (1 + ...))), 64 of them (the rest is below 2^-60); beyond:
 * 1 - e^(-x²) / (x √π K), with K the continued fraction of DLMF 7.9.1. Both factors use the
 * same rounded x², whose error then cancels: their product changes with x² as slowly as erf itself.
 */
const errorFunction =
  `;; |x| < 3: 2/√π e^(-x²) Σ 2^n x^(2n+1) / (2n+1)!!; |x| < 6: 1 - e^(-x²) / (|x| √π K), K = 1 + (1/2x²)/(1 + (2/2x²)/(1 + ...)); else 1.
(func $erf_f64 (param $x f64) (result f64)
  (local $a f64) (local $square f64) (local $sum f64) (local $n f64) (local $power f64)
  (if (f64.ne (local.get $x) (local.get $x)) (then (return (local.get $x))))
  (local.set $a (f64.abs (local.get $x)))
  (if (f64.ge (local.get $a) (f64.const 6)) (then (return (f64.copysign (f64.const 1) (local.get $x)))))
  (local.set $square (f64.mul (local.get $a) (local.get $a)))
  (local.set $power (call $exp_f64 (f64.neg (local.get $square))))
  (if (f64.lt (local.get $a) (f64.const 3))
    (then
      (local.set $sum (f64.const 1))
      (local.set $n (f64.const 129))
      (loop $series
        (local.set $sum (f64.add (f64.const 1) (f64.mul
          (f64.div (f64.add (local.get $square) (local.get $square)) (local.get $n))
          (local.get $sum))))
        (local.set $n (f64.sub (local.get $n) (f64.const 2)))
        (br_if $series (f64.ge (local.get $n) (f64.const 3))))
      (local.set $sum (f64.mul (local.get $a) (local.get $sum)))
      (return (f64.copysign (f64.mul (f64.mul (local.get $sum) (local.get $power)) (f64.const ${
    2 / Math.sqrt(Math.PI)
  }))
        (local.get $x)))))
  (local.set $sum (f64.const 1))
  (local.set $n (f64.const 48))
  (loop $fraction
    (local.set $sum (f64.add (f64.const 1) (f64.div
      (f64.div (local.get $n) (f64.mul (f64.const 2) (local.get $square)))
      (local.get $sum))))
    (local.set $n (f64.sub (local.get $n) (f64.const 1)))
    (br_if $fraction (f64.ge (local.get $n) (f64.const 1))))
  (f64.copysign
    (f64.sub (f64.const 1) (f64.div (local.get $power)
      (f64.mul (f64.mul (local.get $a) (f64.const ${Math.sqrt(Math.PI)})) (local.get $sum))))
    (local.get $x)))`;

const productError = `;; x y - p for p = x y rounded, exact (Dekker): both factors are split into halves of 26 bits.
(func $product_error_f64 (param $x f64) (param $y f64) (param $p f64) (result f64)
  (local $xh f64) (local $xl f64) (local $yh f64) (local $yl f64)
  (local.set $xh (f64.mul (local.get $x) (f64.const 134217729)))
  (local.set $xh (f64.sub (local.get $xh) (f64.sub (local.get $xh) (local.get $x))))
  (local.set $xl (f64.sub (local.get $x) (local.get $xh)))
  (local.set $yh (f64.mul (local.get $y) (f64.const 134217729)))
  (local.set $yh (f64.sub (local.get $yh) (f64.sub (local.get $yh) (local.get $y))))
  (local.set $yl (f64.sub (local.get $y) (local.get $yh)))
  (f64.add
    (f64.add
      (f64.add (f64.sub (f64.mul (local.get $xh) (local.get $yh)) (local.get $p)) (f64.mul (local.get $xh) (local.get $yl)))
      (f64.mul (local.get $xl) (local.get $yh)))
    (f64.mul (local.get $xl) (local.get $yl))))`;

const remainder =
  `;; x - y trunc(x / y), exact: the significand of |x| is reduced bit by bit (modular doubling), as integers.
(func $rem_f64 (param $x f64) (param $y f64) (result f64)
  (local $a i64) (local $b i64) (local $ea i32) (local $eb i32) (local $r i64)
  (local.set $a (i64.and (i64.reinterpret_f64 (local.get $x)) (i64.const 0x7fffffffffffffff)))
  (local.set $b (i64.and (i64.reinterpret_f64 (local.get $y)) (i64.const 0x7fffffffffffffff)))
  (if (i32.or (i64.eqz (local.get $b)) (i32.or
        (i64.gt_u (local.get $b) (i64.const 0x7ff0000000000000))
        (i64.ge_u (local.get $a) (i64.const 0x7ff0000000000000))))
    (then (return (f64.const nan))))
  (if (i64.lt_u (local.get $a) (local.get $b)) (then (return (local.get $x))))
  ;; Significands with their hidden bit, in units of 2^(e - 1075); subnormal numbers have exponent 1 and no hidden bit.
  (local.set $ea (i32.wrap_i64 (i64.shr_u (local.get $a) (i64.const 52))))
  (local.set $eb (i32.wrap_i64 (i64.shr_u (local.get $b) (i64.const 52))))
  (local.set $a (i64.and (local.get $a) (i64.const 0xfffffffffffff)))
  (local.set $b (i64.and (local.get $b) (i64.const 0xfffffffffffff)))
  (if (local.get $ea) (then (local.set $a (i64.or (local.get $a) (i64.const 0x10000000000000)))) (else (local.set $ea (i32.const 1))))
  (if (local.get $eb) (then (local.set $b (i64.or (local.get $b) (i64.const 0x10000000000000)))) (else (local.set $eb (i32.const 1))))
  (local.set $r (i64.rem_u (local.get $a) (local.get $b)))
  (block $reduced
    (loop $bits
      (br_if $reduced (i32.le_s (local.get $ea) (local.get $eb)))
      ;; r < b < 2^53: ten more bits fit in 63.
      (if (i32.ge_s (i32.sub (local.get $ea) (local.get $eb)) (i32.const 10))
        (then
          (local.set $r (i64.rem_u (i64.shl (local.get $r) (i64.const 10)) (local.get $b)))
          (local.set $ea (i32.sub (local.get $ea) (i32.const 10))))
        (else
          (local.set $r (i64.rem_u (i64.shl (local.get $r) (i64.const 1)) (local.get $b)))
          (local.set $ea (i32.sub (local.get $ea) (i32.const 1)))))
      (br $bits)))
  ;; r 2^(eb - 1075): r is below 2^53, so both products with powers of two are exact.
  (f64.copysign
    (call $scale_f64 (f64.convert_i64_u (local.get $r)) (i32.sub (local.get $eb) (i32.const 1075)))
    (local.get $x)))`;

const modulo = `;; The remainder with the sign of y; a zero has the sign of y too.
(func $mod_f64 (param $x f64) (param $y f64) (result f64)
  (local $r f64)
  (if (i32.and (f64.eq (f64.abs (local.get $y)) (f64.const inf)) (f64.lt (f64.abs (local.get $x)) (f64.const inf)))
    (then
      (if (f64.eq (local.get $x) (f64.const 0)) (then (return (f64.copysign (f64.const 0) (local.get $y)))))
      (return (select (local.get $x) (local.get $y)
        (i32.eq (f64.lt (local.get $x) (f64.const 0)) (f64.lt (local.get $y) (f64.const 0)))))))
  (local.set $r (call $rem_f64 (local.get $x) (local.get $y)))
  (if (f64.eq (local.get $r) (f64.const 0)) (then (return (f64.copysign (f64.const 0) (local.get $y)))))
  (if (i32.ne (f64.lt (local.get $r) (f64.const 0)) (f64.lt (local.get $y) (f64.const 0)))
    (then (local.set $r (f64.add (local.get $r) (local.get $y)))))
  (local.get $r))`;

/** 2/5, 2/7, ...: log(1 + f) = 2s + s (2/3 z + z² P(z)), z = s². */
const logSeriesTail = Array.from({ length: 9 }, (_, index) => 2 / (2 * index + 5));

const power =
  `;; x^y = e^(y log x), log x and the product in two words: log(1 + f) = 2s + s z (2/3 + z P(z)), s = f / (2 + f), z = s².
;; Special cases as IEEE 754: 1^y = x^0 = 1, (-1)^±inf = 1, negative x takes whole powers only.
(func $pow_f64 (param $x f64) (param $y f64) (result f64)
  (local $a f64) (local $k f64) (local $bits i64) (local $shift i64) (local $whole i32) (local $odd i32) (local $sign f64)
  (local $f f64) (local $d f64) (local $s f64) (local $sl f64) (local $z f64) (local $zl f64) (local $q f64)
  (local $t f64) (local $tl f64) (local $w f64) (local $wl f64) (local $u f64) (local $ul f64) (local $h f64) (local $l f64)
  (if (i32.or (f64.eq (local.get $y) (f64.const 0)) (f64.eq (local.get $x) (f64.const 1))) (then (return (f64.const 1))))
  (if (i32.or (f64.ne (local.get $x) (local.get $x)) (f64.ne (local.get $y) (local.get $y))) (then (return (f64.const nan))))
  (local.set $a (f64.abs (local.get $x)))
  (if (f64.eq (f64.abs (local.get $y)) (f64.const inf))
    (then
      (if (f64.eq (local.get $a) (f64.const 1)) (then (return (f64.const 1))))
      (return (select (f64.const inf) (f64.const 0)
        (i32.eq (f64.gt (local.get $a) (f64.const 1)) (f64.gt (local.get $y) (f64.const 0)))))))
  (local.set $whole (f64.eq (local.get $y) (f64.trunc (local.get $y))))
  (if (i32.and (local.get $whole) (f64.lt (f64.abs (local.get $y)) (f64.const 0x1p53)))
    (then (local.set $odd (i32.and (i32.wrap_i64 (i64.trunc_sat_f64_s (local.get $y))) (i32.const 1)))))
  (local.set $sign (select (f64.copysign (f64.const 1) (local.get $x)) (f64.const 1) (local.get $odd)))
  (if (i32.or (f64.eq (local.get $a) (f64.const 0)) (f64.eq (local.get $a) (f64.const inf)))
    (then (return (f64.mul (local.get $sign) (select (f64.const 0) (f64.const inf)
      (i32.eq (f64.eq (local.get $a) (f64.const 0)) (f64.gt (local.get $y) (f64.const 0))))))))
  (if (i32.and (f64.lt (local.get $x) (f64.const 0)) (i32.eqz (local.get $whole))) (then (return (f64.const nan))))
  (if (f64.lt (local.get $a) (f64.const 0x1p-1022))
    (then
      (local.set $a (f64.mul (local.get $a) (f64.const 0x1p54)))
      (local.set $k (f64.const -54))))
  (local.set $bits (i64.reinterpret_f64 (local.get $a)))
  (local.set $shift (i64.shr_s (i64.sub (local.get $bits) (i64.const 0x3fe6a09e667f3bcd)) (i64.const 52)))
  (local.set $k (f64.add (local.get $k) (f64.convert_i64_s (local.get $shift))))
  (local.set $f (f64.sub
    (f64.reinterpret_i64 (i64.sub (local.get $bits) (i64.shl (local.get $shift) (i64.const 52))))
    (f64.const 1)))
  ;; s + sl = f / (2 + f)
  (local.set $d (f64.add (f64.const 2) (local.get $f)))
  (local.set $s (f64.div (local.get $f) (local.get $d)))
  (local.set $q (f64.mul (local.get $s) (local.get $d)))
  (local.set $sl (f64.div
    (f64.sub
      (f64.sub (f64.sub (local.get $f) (local.get $q)) (call $product_error_f64 (local.get $s) (local.get $d) (local.get $q)))
      (f64.mul (local.get $s) (f64.sub (local.get $f) (f64.sub (local.get $d) (f64.const 2)))))
    (local.get $d)))
  ;; z + zl = s²
  (local.set $z (f64.mul (local.get $s) (local.get $s)))
  (local.set $zl (f64.add (call $product_error_f64 (local.get $s) (local.get $s) (local.get $z))
    (f64.mul (f64.const 2) (f64.mul (local.get $s) (local.get $sl)))))
  ;; t + tl = 2/3 + z P(z)
  (local.set $q (f64.mul (local.get $z)
    ${polynomial("f64", "z", logSeriesTail)}))
  (local.set $t (f64.add (f64.const 0.6666666666666666) (local.get $q)))
  (local.set $tl (f64.add (f64.add (f64.sub (f64.const 0.6666666666666666) (local.get $t)) (local.get $q))
    (f64.const 3.700743415417188e-17)))
  ;; w + wl = z t, u + ul = s w
  (local.set $w (f64.mul (local.get $z) (local.get $t)))
  (local.set $wl (f64.add (call $product_error_f64 (local.get $z) (local.get $t) (local.get $w))
    (f64.add (f64.mul (local.get $z) (local.get $tl)) (f64.mul (local.get $zl) (local.get $t)))))
  (local.set $u (f64.mul (local.get $s) (local.get $w)))
  (local.set $ul (f64.add (call $product_error_f64 (local.get $s) (local.get $w) (local.get $u))
    (f64.add (f64.mul (local.get $s) (local.get $wl)) (f64.mul (local.get $sl) (local.get $w)))))
  ;; h + l = k ln 2 + 2s + u
  (local.set $d (f64.add (local.get $s) (local.get $s)))
  (local.set $t (f64.add (local.get $d) (local.get $u)))
  (local.set $tl (f64.add (f64.add (f64.sub (local.get $d) (local.get $t)) (local.get $u))
    (f64.add (f64.add (local.get $sl) (local.get $sl)) (local.get $ul))))
  (local.set $d (f64.mul (local.get $k) (f64.const 0.6931471803691238)))
  (local.set $h (f64.add (local.get $d) (local.get $t)))
  (local.set $l (f64.add (f64.add (f64.sub (local.get $d) (local.get $h)) (local.get $t))
    (f64.add (local.get $tl) (f64.mul (local.get $k) (f64.const 1.9082149292705877e-10)))))
  (local.set $t (f64.mul (local.get $y) (local.get $h)))
  (f64.mul (local.get $sign) (call $exp_with_tail_f64 (local.get $t)
    (f64.add (call $product_error_f64 (local.get $y) (local.get $h) (local.get $t))
      (f64.mul (local.get $y) (local.get $l))))))`;

export const powerFunctions: MathFunctions = {
  product_error_f64: { wat: productError, calls: [] },
  erf_f64: { wat: errorFunction, calls: ["exp_f64"] },
  pow_f64: { wat: power, calls: ["exp_with_tail_f64", "product_error_f64"] },
  rem_f64: { wat: remainder, calls: ["scale_f64"] },
  mod_f64: { wat: modulo, calls: ["rem_f64"] },
};
