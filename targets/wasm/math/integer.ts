/** Integer operations that the IR defines where WebAssembly traps or has none. */

import type { MathFunction, MathFunctions } from "./function.ts";

type Word = "i32" | "i64";

function wordOf(name: string): Word {
  return name.endsWith("64") ? "i64" : "i32";
}

/** x / y truncated toward zero; x / 0 is 0, and the one overflow (least / -1) wraps. */
function quotient(name: "i32" | "i64" | "u32" | "u64"): MathFunction {
  const word = wordOf(name);
  const isSigned = name.startsWith("i");
  const overflow = isSigned
    ? `
  (if (${word}.eq (local.get $y) (${word}.const -1)) (then (return (${word}.sub (${word}.const 0) (local.get $x)))))`
    : "";
  return {
    calls: [],
    wat: `;; x / y truncated toward zero, 0 for y = 0, wrapping.
(func $div_${name} (param $x ${word}) (param $y ${word}) (result ${word})
  (if (${word}.eqz (local.get $y)) (then (return (${word}.const 0))))${overflow}
  (${word}.div_${isSigned ? "s" : "u"} (local.get $x) (local.get $y)))`,
  };
}

/** The remainder of `quotient`: it has the sign of x; 0 for y = 0. */
function remainder(name: "i32" | "i64" | "u32" | "u64"): MathFunction {
  const word = wordOf(name);
  return {
    calls: [],
    wat: `;; x - y * (x / y), 0 for y = 0.
(func $rem_${name} (param $x ${word}) (param $y ${word}) (result ${word})
  (if (${word}.eqz (local.get $y)) (then (return (${word}.const 0))))
  (${word}.rem_${name.startsWith("i") ? "s" : "u"} (local.get $x) (local.get $y)))`,
  };
}

/** The remainder with the sign of y; 0 for y = 0. */
function modulo(word: Word): MathFunction {
  const isZero = word === "i32" ? `(i32.eqz (local.get $r))` : `(i64.eqz (local.get $r))`;
  return {
    calls: [`rem_${word}`],
    wat: `;; The remainder of x / y with the sign of y, 0 for y = 0.
(func $mod_${word} (param $x ${word}) (param $y ${word}) (result ${word})
  (local $r ${word})
  (local.set $r (call $rem_${word} (local.get $x) (local.get $y)))
  (if ${isZero} (then (return (local.get $r))))
  (if (${word}.lt_s (${word}.xor (local.get $r) (local.get $y)) (${word}.const 0))
    (then (return (${word}.add (local.get $r) (local.get $y)))))
  (local.get $r))`,
  };
}

/** x^y by squaring, wrapping; a negative power is 1/x^|y| truncated, and 0 for x = 0. */
function power(name: "i32" | "i64" | "u32" | "u64"): MathFunction {
  const word = wordOf(name);
  const negative = name.startsWith("i")
    ? `
  (if (${word}.lt_s (local.get $y) (${word}.const 0))
    (then
      (if (${word}.eq (local.get $x) (${word}.const 1)) (then (return (${word}.const 1))))
      (if (${word}.ne (local.get $x) (${word}.const -1)) (then (return (${word}.const 0))))
      (return (select (${word}.const -1) (${word}.const 1)
        (i32.and ${word === "i64" ? "(i32.wrap_i64 (local.get $y))" : "(local.get $y)"} (i32.const 1))))))`
    : "";
  const isOdd = `(i32.and ${word === "i64" ? "(i32.wrap_i64 (local.get $y))" : "(local.get $y)"} (i32.const 1))`;
  return {
    calls: [],
    wat: `;; x^y by squaring, wrapping; negative powers are truncated.
(func $pow_${name} (param $x ${word}) (param $y ${word}) (result ${word})
  (local $result ${word})${negative}
  (local.set $result (${word}.const 1))
  (block $done
    (loop $bits
      (br_if $done (${word}.eqz (local.get $y)))
      (if ${isOdd} (then (local.set $result (${word}.mul (local.get $result) (local.get $x)))))
      (local.set $x (${word}.mul (local.get $x) (local.get $x)))
      (local.set $y (${word}.shr_u (local.get $y) (${word}.const 1)))
      (br $bits)))
  (local.get $result))`,
  };
}

/** -1, 1, or x itself where x is a zero or NaN. */
function sign(type: "f32" | "f64"): MathFunction {
  return {
    calls: [],
    wat: `;; -1 or 1 with the sign of x; zeros and NaN stay.
(func $sign_${type} (param $x ${type}) (result ${type})
  (select (local.get $x) (${type}.copysign (${type}.const 1) (local.get $x))
    (i32.or (${type}.eq (local.get $x) (${type}.const 0)) (${type}.ne (local.get $x) (local.get $x)))))`,
  };
}

export const integerFunctions: MathFunctions = {
  div_i32: quotient("i32"),
  div_u32: quotient("u32"),
  div_i64: quotient("i64"),
  div_u64: quotient("u64"),
  rem_i32: remainder("i32"),
  rem_u32: remainder("u32"),
  rem_i64: remainder("i64"),
  rem_u64: remainder("u64"),
  mod_i32: modulo("i32"),
  mod_i64: modulo("i64"),
  pow_i32: power("i32"),
  pow_u32: power("u32"),
  pow_i64: power("i64"),
  pow_u64: power("u64"),
  sign_f32: sign("f32"),
  sign_f64: sign("f64"),
};
