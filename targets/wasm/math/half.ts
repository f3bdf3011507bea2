/** Sixteen-bit floats: decoding is exact, encoding rounds to nearest, ties to even. */

import { constant, lanes, type MathFunctions } from "./function.ts";

export const halfFunctions: MathFunctions = {
  f16_decode: {
    calls: [],
    wat:
      `;; The f32 whose f16 bits these are. Exponent and mantissa move to their place in f32; 2^112 mends the bias, subnormals
;; included. The top exponent (infinity and NaN) is set to f32's.
(func $f16_decode (param $bits i32) (result f32)
  (local $magnitude f32)
  (local.set $magnitude (f32.mul
    (f32.reinterpret_i32 (i32.shl (i32.and (local.get $bits) (i32.const 0x7fff)) (i32.const 13)))
    (f32.const 0x1p112)))
  (if (i32.ge_u (i32.and (local.get $bits) (i32.const 0x7fff)) (i32.const 0x7c00))
    (then (local.set $magnitude (f32.reinterpret_i32
      (i32.or (i32.shl (i32.and (local.get $bits) (i32.const 0x7fff)) (i32.const 13)) (i32.const 0x7f800000))))))
  (f32.reinterpret_i32 (i32.or
    (i32.reinterpret_f32 (local.get $magnitude))
    (i32.shl (i32.and (local.get $bits) (i32.const 0x8000)) (i32.const 16)))))`,
  },
  f16_encode: {
    calls: [],
    wat:
      `;; Bits of the f16 nearest to x. Normal results: the 13 dropped bits round by adding half a unit, less one where the last
;; kept bit is even. Below 2^-14 adding 0.5 lines the last kept bit up with the last bit of f32.
(func $f16_encode (param $x f32) (result i32)
  (local $bits i32) (local $magnitude i32) (local $sign i32)
  (local.set $bits (i32.reinterpret_f32 (local.get $x)))
  (local.set $magnitude (i32.and (local.get $bits) (i32.const 0x7fffffff)))
  (local.set $sign (i32.and (i32.shr_u (local.get $bits) (i32.const 16)) (i32.const 0x8000)))
  (if (i32.gt_u (local.get $magnitude) (i32.const 0x7f800000)) (then (return (i32.or (local.get $sign) (i32.const 0x7e00)))))
  (if (i32.ge_u (local.get $magnitude) (i32.const 0x477ff000)) (then (return (i32.or (local.get $sign) (i32.const 0x7c00)))))
  (if (i32.lt_u (local.get $magnitude) (i32.const 0x38800000))
    (then (return (i32.or (local.get $sign) (i32.sub
      (i32.reinterpret_f32 (f32.add (f32.reinterpret_i32 (local.get $magnitude)) (f32.const 0.5)))
      (i32.const 0x3f000000))))))
  (i32.or (local.get $sign) (i32.shr_u
    (i32.add (i32.add (i32.sub (local.get $magnitude) (i32.const 0x38000000)) (i32.const 0xfff))
      (i32.and (i32.shr_u (local.get $magnitude) (i32.const 13)) (i32.const 1)))
    (i32.const 13))))`,
  },
  f16_encode_f64: {
    calls: ["f16_encode"],
    wat:
      `;; Bits of the f16 nearest to x, rounded once: x is first rounded to odd in f32, which loses nothing that f16 could see.
(func $f16_encode_f64 (param $x f64) (result i32)
  (local $near f32) (local $bits i32)
  (local.set $near (f32.demote_f64 (local.get $x)))
  (local.set $bits (i32.reinterpret_f32 (local.get $near)))
  (if (i32.and (f64.ne (f64.promote_f32 (local.get $near)) (local.get $x))
        (i32.and (i32.eqz (i32.and (local.get $bits) (i32.const 1)))
          (f64.lt (f64.abs (local.get $x)) (f64.const 65536))))
    (then (local.set $bits (i32.add (local.get $bits)
      (select (i32.const 1) (i32.const -1)
        (f64.gt (f64.abs (local.get $x)) (f64.abs (f64.promote_f32 (local.get $near)))))))))
  (call $f16_encode (f32.reinterpret_i32 (local.get $bits))))`,
  },
  f16_round: {
    calls: ["f16_decode", "f16_encode"],
    wat: `;; x rounded to f16.
(func $f16_round (param $x f32) (result f32)
  (call $f16_decode (call $f16_encode (local.get $x))))`,
  },
  bf16_encode: {
    calls: [],
    wat: `;; Bits of the bfloat16 nearest to x: the upper half of its f32 bits, rounded; NaN stays a quiet NaN.
(func $bf16_encode (param $x f32) (result i32)
  (local $bits i32)
  (local.set $bits (i32.reinterpret_f32 (local.get $x)))
  (if (f32.ne (local.get $x) (local.get $x))
    (then (return (i32.or (i32.shr_u (local.get $bits) (i32.const 16)) (i32.const 0x40)))))
  (i32.shr_u
    (i32.add (i32.add (local.get $bits) (i32.const 0x7fff)) (i32.and (i32.shr_u (local.get $bits) (i32.const 16)) (i32.const 1)))
    (i32.const 16)))`,
  },
  bf16_round: {
    calls: ["bf16_encode"],
    wat: `;; x rounded to bfloat16.
(func $bf16_round (param $x f32) (result f32)
  (f32.reinterpret_i32 (i32.shl (call $bf16_encode (local.get $x)) (i32.const 16))))`,
  },
  f16_decode_i32x4: {
    calls: [],
    wat: `;; f16_decode over four lanes of f16 bits.
(func $f16_decode_i32x4 (param $bits v128) (result v128)
  (local $magnitude v128) (local $moved v128)
  (local.set $magnitude (v128.and (local.get $bits) ${lanes(0x7fff)}))
  (local.set $moved (i32x4.shl (local.get $magnitude) (i32.const 13)))
  (v128.or
    (v128.bitselect
      (v128.or (local.get $moved) ${lanes(0x7f800000)})
      (f32x4.mul (local.get $moved) ${constant("f32x4", 2 ** 112)})
      (i32x4.ge_s (local.get $magnitude) ${lanes(0x7c00)}))
    (i32x4.shl (v128.and (local.get $bits) ${lanes(0x8000)}) (i32.const 16))))`,
  },
  f16_encode_f32x4: {
    calls: [],
    wat: `;; f16_encode over four lanes; the bits come in the lower half of each.
(func $f16_encode_f32x4 (param $x v128) (result v128)
  (local $magnitude v128) (local $bits v128)
  (local.set $magnitude (v128.and (local.get $x) ${lanes(0x7fffffff)}))
  (local.set $bits (v128.bitselect
    (i32x4.sub (f32x4.add (local.get $magnitude) ${constant("f32x4", 0.5)}) ${lanes(0x3f000000)})
    (i32x4.shr_u
      (i32x4.add
        (i32x4.sub (local.get $magnitude) ${lanes(0x38000000 - 0xfff)})
        (v128.and (i32x4.shr_u (local.get $magnitude) (i32.const 13)) ${lanes(1)}))
      (i32.const 13))
    (i32x4.lt_s (local.get $magnitude) ${lanes(0x38800000)})))
  (local.set $bits (v128.bitselect ${lanes(0x7c00)} (local.get $bits)
    (i32x4.ge_s (local.get $magnitude) ${lanes(0x477ff000)})))
  (local.set $bits (v128.bitselect ${lanes(0x7e00)} (local.get $bits)
    (i32x4.gt_s (local.get $magnitude) ${lanes(0x7f800000)})))
  (v128.or (local.get $bits) (v128.and (i32x4.shr_u (local.get $x) (i32.const 16)) ${lanes(0x8000)})))`,
  },
  f16_round_f32x4: {
    calls: ["f16_decode_i32x4", "f16_encode_f32x4"],
    wat: `;; Four lanes rounded to f16.
(func $f16_round_f32x4 (param $x v128) (result v128)
  (call $f16_decode_i32x4 (call $f16_encode_f32x4 (local.get $x))))`,
  },
  bf16_encode_f32x4: {
    calls: [],
    wat: `;; bf16_encode over four lanes; the bits come in the lower half of each.
(func $bf16_encode_f32x4 (param $x v128) (result v128)
  (local $high v128)
  (local.set $high (i32x4.shr_u (local.get $x) (i32.const 16)))
  (v128.bitselect
    (v128.or (local.get $high) ${lanes(0x40)})
    (i32x4.shr_u
      (i32x4.add (i32x4.add (local.get $x) ${lanes(0x7fff)}) (v128.and (local.get $high) ${lanes(1)}))
      (i32.const 16))
    (f32x4.ne (local.get $x) (local.get $x))))`,
  },
  bf16_round_f32x4: {
    calls: ["bf16_encode_f32x4"],
    wat: `;; Four lanes rounded to bfloat16.
(func $bf16_round_f32x4 (param $x v128) (result v128)
  (i32x4.shl (call $bf16_encode_f32x4 (local.get $x)) (i32.const 16)))`,
  },
};
