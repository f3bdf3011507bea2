/** Integers of 64 bits as two words, low first. Signed numbers are two's complement; everything is exact and wraps. */

export const word64 = `
fn add_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  let low = x.x + y.x;
  return vec2<u32>(low, x.y + y.y + select(0u, 1u, low < x.x));
}

fn sub_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(x.x - y.x, x.y - y.y - select(0u, 1u, x.x < y.x));
}

fn neg_u64(x: vec2<u32>) -> vec2<u32> {
  return sub_u64(vec2<u32>(0u), x);
}

// The 64 bits of a product of two words, from four products of 16 bits.
fn mul_wide(x: u32, y: u32) -> vec2<u32> {
  let ll = (x & 0xffffu) * (y & 0xffffu);
  let lh = (x & 0xffffu) * (y >> 16u);
  let hl = (x >> 16u) * (y & 0xffffu);
  let middle = (ll >> 16u) + (lh & 0xffffu) + (hl & 0xffffu);
  return vec2<u32>((ll & 0xffffu) | (middle << 16u), (x >> 16u) * (y >> 16u) + (lh >> 16u) + (hl >> 16u) + (middle >> 16u));
}

fn mul_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  let low = mul_wide(x.x, y.x);
  return vec2<u32>(low.x, low.y + x.x * y.y + x.y * y.x);
}

fn eq_u64(x: vec2<u32>, y: vec2<u32>) -> bool {
  return all(x == y);
}

fn lt_u64(x: vec2<u32>, y: vec2<u32>) -> bool {
  return x.y < y.y || (x.y == y.y && x.x < y.x);
}

fn lt_i64(x: vec2<u32>, y: vec2<u32>) -> bool {
  return lt_u64(x ^ vec2<u32>(0u, 0x80000000u), y ^ vec2<u32>(0u, 0x80000000u));
}

// x << n for n < 64.
fn shift_left_u64(x: vec2<u32>, n: u32) -> vec2<u32> {
  if (n == 0u) { return x; }
  if (n >= 32u) { return vec2<u32>(0u, x.x << (n & 31u)); }
  return vec2<u32>(x.x << n, (x.y << n) | (x.x >> (32u - n)));
}

// x >> n for n < 64, zeros from above.
fn shift_right_u64(x: vec2<u32>, n: u32) -> vec2<u32> {
  if (n == 0u) { return x; }
  if (n >= 32u) { return vec2<u32>(x.y >> (n & 31u), 0u); }
  return vec2<u32>((x.x >> n) | (x.y << (32u - n)), x.y >> n);
}

// x >> n for n < 64, signs from above.
fn shift_right_i64(x: vec2<u32>, n: u32) -> vec2<u32> {
  let sign = u32(bitcast<i32>(x.y) >> 31u);
  return shift_right_u64(x ^ vec2<u32>(sign), n) ^ vec2<u32>(sign);
}

// Shifts by the width or more give 0.
fn shl_u64(x: vec2<u32>, n: vec2<u32>) -> vec2<u32> {
  return select(vec2<u32>(0u), shift_left_u64(x, n.x & 63u), n.y == 0u && n.x < 64u);
}

fn shr_u64(x: vec2<u32>, n: vec2<u32>) -> vec2<u32> {
  return select(vec2<u32>(0u), shift_right_u64(x, n.x & 63u), n.y == 0u && n.x < 64u);
}

fn shr_i64(x: vec2<u32>, n: vec2<u32>) -> vec2<u32> {
  return select(vec2<u32>(0u), shift_right_i64(x, n.x & 63u), n.y == 0u && n.x < 64u);
}

fn leading_zeros_u64(x: vec2<u32>) -> u32 {
  return select(countLeadingZeros(x.y), 32u + countLeadingZeros(x.x), x.y == 0u);
}

// x >> n with every bit that falls off kept in the lowest one.
fn shift_right_jam_u64(x: vec2<u32>, n: u32) -> vec2<u32> {
  if (n == 0u) { return x; }
  if (n >= 64u) { return vec2<u32>(select(0u, 1u, any(x != vec2<u32>(0u))), 0u); }
  let moved = shift_right_u64(x, n);
  return vec2<u32>(moved.x | select(0u, 1u, any(shift_left_u64(moved, n) != x)), moved.y);
}

// Quotient (xy) and remainder (zw) by long division; 0 and 0 for y = 0.
fn divide_u64(x: vec2<u32>, y: vec2<u32>) -> vec4<u32> {
  if (all(y == vec2<u32>(0u))) { return vec4<u32>(0u); }
  if (x.y == 0u && y.y == 0u) { return vec4<u32>(x.x / y.x, 0u, x.x % y.x, 0u); }
  var quotient = vec2<u32>(0u);
  var rest = vec2<u32>(0u);
  for (var bit = i32(63u - leading_zeros_u64(x | vec2<u32>(1u, 0u))); bit >= 0; bit--) {
    let carry = rest.y >> 31u;
    rest = shift_left_u64(rest, 1u);
    rest.x |= shift_right_u64(x, u32(bit)).x & 1u;
    quotient = shift_left_u64(quotient, 1u);
    if (carry == 1u || !lt_u64(rest, y)) {
      rest = sub_u64(rest, y);
      quotient.x |= 1u;
    }
  }
  return vec4<u32>(quotient, rest);
}

fn div_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  return divide_u64(x, y).xy;
}

fn rem_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  return divide_u64(x, y).zw;
}

fn is_negative_i64(x: vec2<u32>) -> bool {
  return (x.y >> 31u) == 1u;
}

fn abs_i64(x: vec2<u32>) -> vec2<u32> {
  return select(x, neg_u64(x), is_negative_i64(x));
}

fn div_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  let quotient = div_u64(abs_i64(x), abs_i64(y));
  return select(quotient, neg_u64(quotient), is_negative_i64(x) != is_negative_i64(y));
}

// The remainder has the sign of x.
fn rem_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  let rest = rem_u64(abs_i64(x), abs_i64(y));
  return select(rest, neg_u64(rest), is_negative_i64(x));
}

// The remainder has the sign of y.
fn mod_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  let rest = rem_i64(x, y);
  let moves = any(rest != vec2<u32>(0u)) && is_negative_i64(rest) != is_negative_i64(y);
  return select(rest, add_u64(rest, y), moves);
}

fn min_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> { return select(y, x, lt_u64(x, y)); }
fn max_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> { return select(x, y, lt_u64(x, y)); }
fn min_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> { return select(y, x, lt_i64(x, y)); }
fn max_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> { return select(x, y, lt_i64(x, y)); }

fn sign_i64(x: vec2<u32>) -> vec2<u32> {
  return select(vec2<u32>(select(0u, 1u, any(x != vec2<u32>(0u))), 0u), vec2<u32>(0xffffffffu), is_negative_i64(x));
}

fn sign_u64(x: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(select(0u, 1u, any(x != vec2<u32>(0u))), 0u);
}

// x^y by squaring, wrapping.
fn pow_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  var result = vec2<u32>(1u, 0u);
  var base = x;
  var rest = y;
  while (any(rest != vec2<u32>(0u))) {
    if ((rest.x & 1u) == 1u) { result = mul_u64(result, base); }
    base = mul_u64(base, base);
    rest = shift_right_u64(rest, 1u);
  }
  return result;
}

// Negative powers are 1/x^|y| truncated, and 0 for x = 0.
fn pow_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  if (!is_negative_i64(y)) { return pow_u64(x, y); }
  if (all(x == vec2<u32>(1u, 0u))) { return x; }
  if (all(x == vec2<u32>(0xffffffffu))) { return select(vec2<u32>(1u, 0u), x, (y.x & 1u) == 1u); }
  return vec2<u32>(0u);
}

fn i64_of_i32(x: i32) -> vec2<u32> {
  return vec2<u32>(bitcast<u32>(x), bitcast<u32>(x >> 31u));
}

// Nearest f32, ties to even.
fn f32_of_u64(x: vec2<u32>) -> f32 {
  if (all(x == vec2<u32>(0u))) { return 0f; }
  let zeros = leading_zeros_u64(x);
  let top = shift_left_u64(x, zeros);
  let word = (top.y >> 1u) | select(0u, 1u, top.x != 0u || (top.y & 1u) == 1u);
  return round_f32(0u, 189 - i32(zeros), word);
}

fn f32_of_i64(x: vec2<u32>) -> f32 {
  let size = f32_of_u64(abs_i64(x));
  return select(size, -size, is_negative_i64(x));
}

// Truncates; saturates, NaN to 0.
fn u64_of_f32(x: f32) -> vec2<u32> {
  let bits = bitcast<u32>(x);
  let exponent = i32((bits >> 23u) & 255u) - 150;
  if (is_nan(x) || (bits >> 31u) == 1u) { return vec2<u32>(0u); }
  if (exponent > 40) { return vec2<u32>(0xffffffffu); }
  let significand = vec2<u32>((bits & 0x7fffffu) | 0x800000u, 0u);
  if (exponent < -23) { return vec2<u32>(0u); }
  if (exponent < 0) { return shift_right_u64(significand, u32(-exponent)); }
  return shift_left_u64(significand, u32(exponent));
}

fn i64_of_f32(x: f32) -> vec2<u32> {
  let size = u64_of_f32(abs(x));
  if (x < 0f) { return select(neg_u64(size), vec2<u32>(0u, 0x80000000u), (size.y >> 31u) == 1u); }
  return select(size, vec2<u32>(0xffffffffu, 0x7fffffffu), (size.y >> 31u) == 1u);
}
`;
