/**
 * Elementary functions of four f32 lanes. Polynomials are minimax fits (Remez exchange in 40 digits, coefficients rounded
 * to f32); each note gives interval and relative error of the fit. Bounds over all f32 are those of the tests beside.
 */

import { constant, lanes, type MathFunctions, polynomial } from "./function.ts";

const c = (value: number) => constant("f32x4", value);

/** (e^r - 1 - r) / r² on |r| <= 0.3500, so that e^r errs by 2^-28.2. */
const expFit = [
  0.4999999403953552,
  0.16666515171527863,
  0.04166845604777336,
  0.008369418792426586,
  0.0013813157565891743,
];
/** (2 artanh(s) / s - 2) / s² in z = s² on 0 <= z <= 0.03: log errs by 2^-30.1. */
const logFit = [0.6666678190231323, 0.39976611733436584, 0.2989865243434906];
/** (tanh(x)/x - 1)/x² in z = x² on |x| <= 0.625: 2^-27.8. */
const tanhFit = [
  -0.3333328068256378,
  0.13331441581249237,
  -0.05373971536755562,
  0.020639093592762947,
  -0.00570499524474144,
];
/** erf(x)/x - 1 in z = x² on |x| <= 0.9: erf errs by 2^-31.7. */
const erfFit = [
  0.12837916612625122,
  -0.37612634897232056,
  0.11283715069293976,
  -0.02686050906777382,
  0.005203858949244022,
  -0.0008175639668479562,
  8.513106149621308e-05,
];
/** -log(1 - erf(t)) on 0.88 <= t <= 4, weighted so that erf errs by 2^-29.0. */
const erfcLogFit = [
  0.00013984923134557903,
  1.1279094219207764,
  0.6367834806442261,
  0.10428585112094879,
  -0.02239963971078396,
  0.003087010933086276,
  -0.00020044631673954427,
];
/** (sin(r)/r - 1)/r² in z = r² on |r| <= π/4: 2^-37.5. */
const sinFit = [-0.1666666716337204, 0.008333329111337662, -0.0001983930415008217, 2.7180462893738877e-06];
/** (cos(r) - 1 + z/2)/z² in z = r² on |r| <= π/4: 2^-33.0. */
const cosFit = [0.04166664555668831, -0.0013887309469282627, 2.4432411009911448e-05];

/** Bits of √½ as f32: mantissas are taken from √½ to √2. */
const rootHalfBits = 0x3f3504f3;

/** Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the sum. */
const roundingShift = 12582912;
const roundingShiftBits = 0x4b400000;

const exponential =
  `;; e^x = 2^k e^r, k = round(x / ln 2), r = x - k ln 2 (ln 2 in two parts, the first of 9 bits: k times it is exact).
;; 2^k is applied as two factors, so that subnormal results round once.
(func $exp_f32x4 (param $x v128) (result v128)
  (local $k v128) (local $r v128) (local $n v128) (local $half v128)
  ;; Beyond these bounds the result is 0 or infinity anyway; NaN passes both.
  (local.set $x (f32x4.pmin (f32x4.pmax (local.get $x) ${c(-104)}) ${c(89)}))
  ;; Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  (local.set $n (f32x4.add (f32x4.mul (local.get $x) ${c(Math.fround(Math.LOG2E))}) ${c(roundingShift)}))
  (local.set $k (f32x4.sub (local.get $n) ${c(roundingShift)}))
  (local.set $n (i32x4.sub (local.get $n) ${lanes(roundingShiftBits)}))
  (local.set $r (f32x4.sub
    (f32x4.sub (local.get $x) (f32x4.mul (local.get $k) ${c(0.693359375)}))
    (f32x4.mul (local.get $k) ${c(Math.fround(-0.00021219444005469057))})))
  (local.set $half (i32x4.shr_s (local.get $n) (i32.const 1)))
  (f32x4.mul
    (f32x4.mul
      (f32x4.add ${c(1)} (f32x4.add (local.get $r) (f32x4.mul (f32x4.mul (local.get $r) (local.get $r))
    ${polynomial("f32x4", "r", expFit)})))
      (i32x4.shl (i32x4.add (local.get $half) ${lanes(127)}) (i32.const 23)))
    (i32x4.shl (i32x4.add (i32x4.sub (local.get $n) (local.get $half)) ${lanes(127)}) (i32.const 23))))`;

const logarithm = `;; log x = k ln 2 + log(1 + f), 1 + f in [√½, √2); with s = f / (2 + f) and R = s² P(s²):
;; log(1 + f) = f - (f²/2 - s (f²/2 + R)).
(func $log_f32x4 (param $x v128) (result v128)
  (local $y v128) (local $bits v128) (local $k v128) (local $f v128) (local $s v128) (local $z v128) (local $h v128)
  (local $tiny v128)
  (local.set $tiny (f32x4.lt (local.get $x) ${c(2 ** -126)}))
  (local.set $y (f32x4.mul (local.get $x) (v128.bitselect ${c(2 ** 23)} ${c(1)} (local.get $tiny))))
  (local.set $bits (i32x4.shr_s (i32x4.sub (local.get $y) ${lanes(rootHalfBits)}) (i32.const 23)))
  (local.set $k (f32x4.convert_i32x4_s
    (i32x4.sub (local.get $bits) (v128.and (local.get $tiny) ${lanes(23)}))))
  (local.set $f (f32x4.sub (i32x4.sub (local.get $y) (i32x4.shl (local.get $bits) (i32.const 23))) ${c(1)}))
  (local.set $s (f32x4.div (local.get $f) (f32x4.add ${c(2)} (local.get $f))))
  (local.set $z (f32x4.mul (local.get $s) (local.get $s)))
  (local.set $h (f32x4.mul ${c(0.5)} (f32x4.mul (local.get $f) (local.get $f))))
  (local.set $y (f32x4.add
    (f32x4.mul (local.get $k) ${c(0.693359375)})
    (f32x4.sub (local.get $f) (f32x4.sub (local.get $h) (f32x4.add
      (f32x4.mul (local.get $s) (f32x4.add (local.get $h) (f32x4.mul (local.get $z)
    ${polynomial("f32x4", "z", logFit)})))
      (f32x4.mul (local.get $k) ${c(Math.fround(-0.00021219444005469057))}))))))
  ;; x < 0 and NaN give NaN, 0 gives -infinity, infinity itself.
  (local.set $y (v128.bitselect (local.get $y) ${c(NaN)} (f32x4.ge (local.get $x) ${c(0)})))
  (local.set $y (v128.bitselect ${c(-Infinity)} (local.get $y) (f32x4.eq (local.get $x) ${c(0)})))
  (v128.bitselect ${c(Infinity)} (local.get $y) (f32x4.eq (local.get $x) ${c(Infinity)})))`;

const hyperbolicTangent = `;; |x| < 0.625: x + x³ P(x²); beyond: 1 - 2 / (e^(2|x|) + 1), with the sign of x.
(func $tanh_f32x4 (param $x v128) (result v128)
  (local $magnitude v128) (local $z v128) (local $large v128)
  (local.set $magnitude (f32x4.abs (local.get $x)))
  (local.set $z (f32x4.mul (local.get $x) (local.get $x)))
  (local.set $large (f32x4.sub ${c(1)} (f32x4.div ${c(2)}
    (f32x4.add (call $exp_f32x4 (f32x4.add (local.get $magnitude) (local.get $magnitude))) ${c(1)}))))
  (v128.bitselect
    (f32x4.add (local.get $x) (f32x4.mul (f32x4.mul (local.get $x) (local.get $z))
    ${polynomial("f32x4", "z", tanhFit)}))
    (v128.or (local.get $large) (v128.and (local.get $x) ${lanes(-0x80000000)}))
    (f32x4.lt (local.get $magnitude) ${c(0.625)})))`;

const errorFunction =
  `;; |x| < 0.9: x + x P(x²); beyond: 1 - e^(-Q(t)), t = min(|x|, 4), with the sign of x (1 - erf(4) is below half an ulp).
(func $erf_f32x4 (param $x v128) (result v128)
  (local $magnitude v128) (local $z v128) (local $t v128) (local $large v128)
  (local.set $magnitude (f32x4.abs (local.get $x)))
  (local.set $z (f32x4.mul (local.get $x) (local.get $x)))
  (local.set $t (f32x4.pmin (local.get $magnitude) ${c(4)}))
  (local.set $large (f32x4.sub ${c(1)} (call $exp_f32x4 (f32x4.neg
    ${polynomial("f32x4", "t", erfcLogFit)}))))
  (v128.bitselect
    (f32x4.add (local.get $x) (f32x4.mul (local.get $x)
    ${polynomial("f32x4", "z", erfFit)}))
    (v128.or (local.get $large) (v128.and (local.get $x) ${lanes(-0x80000000)}))
    (f32x4.lt (local.get $magnitude) ${c(0.9)})))`;

/** π/2 in three parts of 22 bits and the rest: k times a part is exact in f64 for |k| < 2^31. */
export const halfPiParts = [
  1.570796012878418,
  3.139164164167596e-07,
  6.223371969669989e-14,
  2.0222662487959506e-21,
] as const;

const d = (value: number) => constant("f64x2", value);

/** Two lanes reduced in f64: sets `to` to x - k π/2 and `turns` to k. */
function reducedPair(from: string, to: string, turns: string): string {
  return `(local.set $${turns} (f64x2.nearest (f64x2.mul (local.get $${from}) ${d(2 / Math.PI)})))
  (local.set $${to} (f64x2.sub (f64x2.sub (f64x2.sub (local.get $${from})
    (f64x2.mul (local.get $${turns}) ${d(halfPiParts[0])}))
    (f64x2.mul (local.get $${turns}) ${d(halfPiParts[1])}))
    (f64x2.mul (local.get $${turns}) ${d(halfPiParts[2])})))`;
}

/** sin (shift 0) or cos (shift 1) of four lanes. */
function sine(name: string, shift: 0 | 1): string {
  return `;; ${name}(x): r = x - k π/2 in f64 (exact enough for |x| <= 2^30), then by k${
    shift === 0 ? "" : " + 1"
  } mod 4 one of ±sin r, ±cos r.
(func $${name}_f32x4 (param $x v128) (result v128)
  (local $low v128) (local $high v128) (local $k v128) (local $k2 v128) (local $r v128) (local $z v128) (local $turns v128)
  (local.set $low (f64x2.promote_low_f32x4 (local.get $x)))
  (local.set $high (f64x2.promote_low_f32x4
    (i8x16.shuffle 8 9 10 11 12 13 14 15 8 9 10 11 12 13 14 15 (local.get $x) (local.get $x))))
  ${reducedPair("low", "low", "k")}
  ${reducedPair("high", "high", "k2")}
  (local.set $r (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23
    (f32x4.demote_f64x2_zero (local.get $low)) (f32x4.demote_f64x2_zero (local.get $high))))
  (local.set $turns (i32x4.add ${lanes(shift)}
    (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23
      (i32x4.trunc_sat_f64x2_s_zero (local.get $k)) (i32x4.trunc_sat_f64x2_s_zero (local.get $k2)))))
  (local.set $z (f32x4.mul (local.get $r) (local.get $r)))
  (v128.xor
    (v128.bitselect
      (f32x4.add (f32x4.sub ${c(1)} (f32x4.mul ${c(0.5)} (local.get $z)))
        (f32x4.mul (f32x4.mul (local.get $z) (local.get $z))
    ${polynomial("f32x4", "z", cosFit)}))
      (f32x4.add (local.get $r) (f32x4.mul (f32x4.mul (local.get $r) (local.get $z))
    ${polynomial("f32x4", "z", sinFit)}))
      (i32x4.ne (v128.and (local.get $turns) ${lanes(1)}) ${lanes(0)}))
    (i32x4.shl (v128.and (local.get $turns) ${lanes(2)}) (i32.const 30))))`;
}

export const vectorFunctions: MathFunctions = {
  exp_f32x4: { wat: exponential, calls: [] },
  log_f32x4: { wat: logarithm, calls: [] },
  tanh_f32x4: { wat: hyperbolicTangent, calls: ["exp_f32x4"] },
  erf_f32x4: { wat: errorFunction, calls: ["exp_f32x4"] },
  sin_f32x4: { wat: sine("sin", 0), calls: [] },
  cos_f32x4: { wat: sine("cos", 1), calls: [] },
};
