/**
 * f64 in two words, low first, exactly as IEEE 754 has it: sums, products, quotients and roots are correctly rounded.
 * The structure is that of Berkeley SoftFloat: a significand with ten bits to round away, its first bit at 62.
 */

export const float64 = `
fn is_nan_f64(x: vec2<u32>) -> bool {
  let high = x.y & 0x7fffffffu;
  return high > 0x7ff00000u || (high == 0x7ff00000u && x.x != 0u);
}

fn is_inf_f64(x: vec2<u32>) -> bool {
  return (x.y & 0x7fffffffu) == 0x7ff00000u && x.x == 0u;
}

fn is_zero_f64(x: vec2<u32>) -> bool {
  return (x.y & 0x7fffffffu) == 0u && x.x == 0u;
}

fn nan_f64() -> vec2<u32> {
  return vec2<u32>(0u, 0x7ff80000u);
}

fn neg_f64(x: vec2<u32>) -> vec2<u32> {
  return x ^ vec2<u32>(0u, 0x80000000u);
}

fn abs_f64(x: vec2<u32>) -> vec2<u32> {
  return x & vec2<u32>(0xffffffffu, 0x7fffffffu);
}

fn copysign_f64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(x.x, (x.y & 0x7fffffffu) | (y.y & 0x80000000u));
}

// significand / 2^62 * 2^(exponent - 1022), rounded to nearest even; the first bit stands at 62.
fn round_pack_f64(sign: u32, exponent: i32, significand: vec2<u32>) -> vec2<u32> {
  var e = exponent;
  var s = significand;
  if (e < 0) {
    s = shift_right_jam_u64(s, u32(-e));
    e = 0;
  } else if (e > 2045 || (e == 2045 && (add_u64(s, vec2<u32>(0x200u, 0u)).y >> 31u) == 1u)) {
    return vec2<u32>(0u, sign | 0x7ff00000u);
  }
  let tie = select(0u, 1u, (s.x & 0x3ffu) == 0x200u);
  s = shift_right_u64(add_u64(s, vec2<u32>(0x200u, 0u)), 10u);
  s.x &= ~tie;
  if (all(s == vec2<u32>(0u))) { return vec2<u32>(0u, sign); }
  return add_u64(s, vec2<u32>(0u, sign | (u32(e) << 20u)));
}

// The same for a significand with its first bit anywhere.
fn norm_pack_f64(sign: u32, exponent: i32, significand: vec2<u32>) -> vec2<u32> {
  if (all(significand == vec2<u32>(0u))) { return vec2<u32>(0u, sign); }
  if ((significand.y >> 31u) == 1u) { return round_pack_f64(sign, exponent + 1, shift_right_jam_u64(significand, 1u)); }
  let shift = leading_zeros_u64(significand) - 1u;
  return round_pack_f64(sign, exponent - i32(shift), shift_left_u64(significand, shift));
}

fn exponent_f64(x: vec2<u32>) -> i32 {
  return i32((x.y >> 20u) & 0x7ffu);
}

// Significand of 53 bits; subnormal numbers have no hidden bit.
fn significand_f64(x: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(x.x, (x.y & 0xfffffu) | select(0x100000u, 0u, exponent_f64(x) == 0));
}

fn add_f64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  if (is_nan_f64(x) || is_nan_f64(y)) { return nan_f64(); }
  if (is_inf_f64(x)) { return select(x, nan_f64(), is_inf_f64(y) && x.y != y.y); }
  if (is_inf_f64(y)) { return y; }
  let swapped = lt_u64(abs_f64(x), abs_f64(y));
  let a = select(x, y, swapped);
  let b = select(y, x, swapped);
  let ea = max(exponent_f64(a), 1);
  let eb = max(exponent_f64(b), 1);
  let sa = shift_left_u64(significand_f64(a), 10u);
  let sb = shift_right_jam_u64(shift_left_u64(significand_f64(b), 10u), u32(ea - eb));
  let sign = a.y & 0x80000000u;
  if (((a.y ^ b.y) >> 31u) == 0u) { return norm_pack_f64(sign, ea - 1, add_u64(sa, sb)); }
  let difference = sub_u64(sa, sb);
  return norm_pack_f64(select(sign, 0u, all(difference == vec2<u32>(0u))), ea - 1, difference);
}

fn sub_f64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  return add_f64(x, neg_f64(y));
}

// Significand with bit 52 set (xy) and its exponent (z, as bits).
fn split_f64(x: vec2<u32>) -> vec3<u32> {
  let s = significand_f64(x);
  if (exponent_f64(x) > 0) { return vec3<u32>(s, bitcast<u32>(exponent_f64(x))); }
  let shift = leading_zeros_u64(s) - 11u;
  return vec3<u32>(shift_left_u64(s, shift), bitcast<u32>(1 - i32(shift)));
}

fn mul_f64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  let sign = (x.y ^ y.y) & 0x80000000u;
  if (is_nan_f64(x) || is_nan_f64(y)) { return nan_f64(); }
  if (is_inf_f64(x) || is_inf_f64(y)) {
    return select(vec2<u32>(0u, sign | 0x7ff00000u), nan_f64(), is_zero_f64(x) || is_zero_f64(y));
  }
  if (is_zero_f64(x) || is_zero_f64(y)) { return vec2<u32>(0u, sign); }
  let p = split_f64(x);
  let q = split_f64(y);
  let a = shift_left_u64(p.xy, 10u);
  let b = shift_left_u64(q.xy, 11u);
  let ll = mul_wide(a.x, b.x);
  let lh = mul_wide(a.x, b.y);
  let hl = mul_wide(a.y, b.x);
  let middle = add_u64(add_u64(vec2<u32>(ll.y, 0u), vec2<u32>(lh.x, 0u)), vec2<u32>(hl.x, 0u));
  var s = add_u64(add_u64(mul_wide(a.y, b.y), vec2<u32>(lh.y, 0u)), add_u64(vec2<u32>(hl.y, 0u), vec2<u32>(middle.y, 0u)));
  s.x |= select(0u, 1u, (ll.x | middle.x) != 0u);
  return norm_pack_f64(sign, bitcast<i32>(p.z) + bitcast<i32>(q.z) - 1023, s);
}

fn div_f64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  let sign = (x.y ^ y.y) & 0x80000000u;
  if (is_nan_f64(x) || is_nan_f64(y)) { return nan_f64(); }
  if (is_inf_f64(x)) { return select(vec2<u32>(0u, sign | 0x7ff00000u), nan_f64(), is_inf_f64(y)); }
  if (is_inf_f64(y)) { return vec2<u32>(0u, sign); }
  if (is_zero_f64(y)) { return select(vec2<u32>(0u, sign | 0x7ff00000u), nan_f64(), is_zero_f64(x)); }
  if (is_zero_f64(x)) { return vec2<u32>(0u, sign); }
  let p = split_f64(x);
  let q = split_f64(y);
  var exponent = bitcast<i32>(p.z) - bitcast<i32>(q.z) + 1022;
  var rest = p.xy;
  if (lt_u64(rest, q.xy)) {
    rest = shift_left_u64(rest, 1u);
    exponent--;
  }
  var quotient = vec2<u32>(0u);
  for (var step = 0; step < 56; step++) {
    quotient = shift_left_u64(quotient, 1u);
    if (!lt_u64(rest, q.xy)) {
      rest = sub_u64(rest, q.xy);
      quotient.x |= 1u;
    }
    rest = shift_left_u64(rest, 1u);
  }
  var s = shift_left_u64(quotient, 7u);
  s.x |= select(0u, 1u, any(rest != vec2<u32>(0u)));
  return round_pack_f64(sign, exponent, s);
}

fn sqrt_f64(x: vec2<u32>) -> vec2<u32> {
  if (is_nan_f64(x) || is_zero_f64(x)) { return x; }
  if ((x.y >> 31u) == 1u) { return nan_f64(); }
  if (is_inf_f64(x)) { return x; }
  let p = split_f64(x);
  let power = bitcast<i32>(p.z) - 1023;
  let m = shift_left_u64(p.xy, u32(power & 1));
  var root = vec2<u32>(0u);
  var rest = vec2<u32>(0u);
  for (var step = 0; step < 55; step++) {
    rest = shift_left_u64(rest, 2u);
    if (step < 27) { rest.x |= shift_right_u64(m, u32(52 - 2 * step)).x & 3u; }
    var trial = shift_left_u64(root, 2u);
    trial.x |= 1u;
    root = shift_left_u64(root, 1u);
    if (!lt_u64(rest, trial)) {
      rest = sub_u64(rest, trial);
      root.x |= 1u;
    }
  }
  var s = shift_left_u64(root, 8u);
  s.x |= select(0u, 1u, any(rest != vec2<u32>(0u)));
  return round_pack_f64(0u, (power >> 1u) + 1022, s);
}

fn eq_f64(x: vec2<u32>, y: vec2<u32>) -> bool {
  return !is_nan_f64(x) && !is_nan_f64(y) && (all(x == y) || (is_zero_f64(x) && is_zero_f64(y)));
}

fn lt_f64(x: vec2<u32>, y: vec2<u32>) -> bool {
  if (is_nan_f64(x) || is_nan_f64(y) || (is_zero_f64(x) && is_zero_f64(y))) { return false; }
  let negative_x = (x.y >> 31u) == 1u;
  let negative_y = (y.y >> 31u) == 1u;
  if (negative_x != negative_y) { return negative_x; }
  return select(lt_u64(x, y), lt_u64(y, x), negative_x);
}

fn le_f64(x: vec2<u32>, y: vec2<u32>) -> bool {
  return lt_f64(x, y) || eq_f64(x, y);
}

fn min_f64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  if (is_nan_f64(x) || is_nan_f64(y)) { return nan_f64(); }
  return select(y, x, lt_f64(x, y));
}

fn max_f64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  if (is_nan_f64(x) || is_nan_f64(y)) { return nan_f64(); }
  return select(y, x, lt_f64(y, x));
}

fn sign_f64(x: vec2<u32>) -> vec2<u32> {
  return select(vec2<u32>(0u, 0x3ff00000u | (x.y & 0x80000000u)), x, is_zero_f64(x) || is_nan_f64(x));
}

// Bits below the point of a number of this exponent (0 <= e < 52).
fn fraction_mask_f64(e: i32) -> vec2<u32> {
  return sub_u64(shift_left_u64(vec2<u32>(1u, 0u), u32(52 - e)), vec2<u32>(1u, 0u));
}

fn trunc_f64(x: vec2<u32>) -> vec2<u32> {
  let e = exponent_f64(x) - 1023;
  if (e >= 52) { return x; }
  if (e < 0) { return vec2<u32>(0u, x.y & 0x80000000u); }
  return x & ~fraction_mask_f64(e);
}

// Nearest whole number, ties to even.
fn round_f64(x: vec2<u32>) -> vec2<u32> {
  let e = exponent_f64(x) - 1023;
  let sign = x.y & 0x80000000u;
  if (e >= 52) { return x; }
  if (e < -1) { return vec2<u32>(0u, sign); }
  if (e == -1) {
    let above = (x.y & 0xfffffu) != 0u || x.x != 0u;
    return vec2<u32>(0u, sign | select(0u, 0x3ff00000u, above));
  }
  let mask = fraction_mask_f64(e);
  let last = shift_left_u64(vec2<u32>(1u, 0u), u32(52 - e));
  var z = add_u64(x, shift_right_u64(last, 1u));
  if (all((z & mask) == vec2<u32>(0u))) { z &= ~last; }
  return z & ~mask;
}

fn floor_f64(x: vec2<u32>) -> vec2<u32> {
  let whole = trunc_f64(x);
  if (lt_f64(x, whole)) { return copysign_f64(sub_f64(whole, vec2<u32>(0u, 0x3ff00000u)), x); }
  return whole;
}

fn ceil_f64(x: vec2<u32>) -> vec2<u32> {
  let whole = trunc_f64(x);
  if (lt_f64(whole, x)) { return copysign_f64(add_f64(whole, vec2<u32>(0u, 0x3ff00000u)), x); }
  return whole;
}

fn f64_of_u64(x: vec2<u32>) -> vec2<u32> {
  return norm_pack_f64(0u, 1084, x);
}

fn f64_of_i64(x: vec2<u32>) -> vec2<u32> {
  return norm_pack_f64(x.y & 0x80000000u, 1084, abs_i64(x)) & select(vec2<u32>(0xffffffffu), vec2<u32>(0u), all(x == vec2<u32>(0u)));
}

fn f64_of_u32(x: u32) -> vec2<u32> {
  return f64_of_u64(vec2<u32>(x, 0u));
}

fn f64_of_i32(x: i32) -> vec2<u32> {
  return f64_of_i64(i64_of_i32(x));
}

fn f64_of_f32(x: f32) -> vec2<u32> {
  let bits = bitcast<u32>(x);
  let sign = bits & 0x80000000u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude == 0u) { return vec2<u32>(0u, sign); }
  if (magnitude >= 0x7f800000u) {
    return vec2<u32>(0u, sign | 0x7ff00000u | select(0u, 0x80000u, magnitude > 0x7f800000u));
  }
  let p = split_f32(magnitude);
  let fraction = u32(p.x) & 0x7fffffu;
  return vec2<u32>(fraction << 29u, sign | (u32(p.y + 896) << 20u) | (fraction >> 3u));
}

fn f32_of_f64(x: vec2<u32>) -> f32 {
  let sign = x.y & 0x80000000u;
  if (is_nan_f64(x)) { return f32_bits(sign | 0x7fc00000u); }
  if (is_inf_f64(x)) { return f32_bits(sign | 0x7f800000u); }
  if (exponent_f64(x) == 0) { return f32_bits(sign); }
  let word = shift_right_jam_u64(significand_f64(x), 22u).x;
  return round_f32(sign, exponent_f64(x) - 897, word);
}

// Bits of the nearest f16, rounded once: x is first rounded to odd in f32, which loses nothing that f16 could see.
fn f16_of_f64(x: vec2<u32>) -> f32 {
  let sign = x.y & 0x80000000u;
  if (is_nan_f64(x)) { return f32_bits(sign | 0x7fc00000u); }
  let e = exponent_f64(x) - 1023;
  if (e > 16) { return f32_bits(sign | 0x7f800000u); }
  if (e < -30) { return f32_bits(sign); }
  let s = shift_right_jam_u64(significand_f64(x), 29u).x & 0x7fffffu;
  return round_f16(f32_bits(sign | (u32(e + 127) << 23u) | s));
}

// Truncates; saturates, NaN to 0.
fn u64_of_f64(x: vec2<u32>) -> vec2<u32> {
  let e = exponent_f64(x) - 1075;
  if (is_nan_f64(x) || (x.y >> 31u) == 1u || e < -52) { return vec2<u32>(0u); }
  if (e > 11) { return vec2<u32>(0xffffffffu); }
  if (e < 0) { return shift_right_u64(significand_f64(x), u32(-e)); }
  return shift_left_u64(significand_f64(x), u32(e));
}

fn i64_of_f64(x: vec2<u32>) -> vec2<u32> {
  let size = u64_of_f64(abs_f64(x));
  let over = (size.y >> 31u) == 1u;
  if ((x.y >> 31u) == 1u) { return select(neg_u64(size), vec2<u32>(0u, 0x80000000u), over); }
  return select(size, vec2<u32>(0xffffffffu, 0x7fffffffu), over);
}

fn u32_of_f64(x: vec2<u32>) -> u32 {
  let whole = u64_of_f64(x);
  return select(whole.x, 0xffffffffu, whole.y != 0u);
}

fn i32_of_f64(x: vec2<u32>) -> i32 {
  let whole = i64_of_f64(x);
  if (lt_i64(whole, vec2<u32>(0x80000000u, 0xffffffffu))) { return i32(-2147483648); }
  if (lt_i64(vec2<u32>(0x7fffffffu, 0u), whole)) { return 2147483647; }
  return bitcast<i32>(whole.x);
}
`;
