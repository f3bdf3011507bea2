/**
 * f32 functions. WGSL leaves division, square roots and elementary functions inexact and lets NaN and infinities be
 * anything in some built-ins; these are written from operations that it defines. Division and square root are correctly
 * rounded (integer remainders decide); polynomials are those of the WebAssembly library.
 */

export const float32 = `
// Bits as a number: NaN and infinities cannot be written as constants.
fn f32_bits(bits: u32) -> f32 {
  return bitcast<f32>(bits);
}

fn is_nan(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_inf(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}

fn min_f32(x: f32, y: f32) -> f32 {
  return select(select(select(y, x, x < y), y, is_nan(y)), x, is_nan(x));
}

fn max_f32(x: f32, y: f32) -> f32 {
  return select(select(select(y, x, x > y), y, is_nan(y)), x, is_nan(x));
}

fn sign_f32(x: f32) -> f32 {
  return select(select(1f, -1f, x < 0f), x, x == 0f || is_nan(x));
}

fn plus_zero(x: f32) -> f32 {
  return select(x, 0f, x == 0f);
}

fn copy_sign(magnitude: f32, x: f32) -> f32 {
  return bitcast<f32>((bitcast<u32>(magnitude) & 0x7fffffffu) | (bitcast<u32>(x) & 0x80000000u));
}

// significand / 2^30 * 2^(exponent - 126), rounded to nearest even; bit 30 of the significand is its first.
fn round_f32(sign: u32, exponent: i32, significand: u32) -> f32 {
  var e = exponent;
  var s = significand;
  if (e < 0) {
    let n = u32(-e);
    s = select(select(0u, 1u, s != 0u), (s >> (n & 31u)) | select(0u, 1u, (s & ((1u << (n & 31u)) - 1u)) != 0u), n < 32u);
    e = 0;
  } else if (e > 253 || (e == 253 && s + 64u >= 0x80000000u)) {
    return bitcast<f32>(sign | 0x7f800000u);
  }
  let tie = select(0u, 1u, (s & 127u) == 64u);
  s = ((s + 64u) >> 7u) & ~tie;
  return bitcast<f32>(sign | (select(u32(e) << 23u, 0u, s == 0u) + s));
}

// Significand with bit 23 set, and the exponent that goes with it; x is finite and not 0.
fn split_f32(bits: u32) -> vec2<i32> {
  let field = i32((bits >> 23u) & 255u);
  let fraction = bits & 0x7fffffu;
  if (field > 0) { return vec2<i32>(i32(fraction | 0x800000u), field); }
  let shift = i32(countLeadingZeros(fraction)) - 8;
  return vec2<i32>(i32(fraction << u32(shift)), 1 - shift);
}

// x / y, correctly rounded: a quotient of 25 bits is estimated and then mended by its exact remainder.
fn div_f32(x: f32, y: f32) -> f32 {
  let a = bitcast<u32>(x);
  let b = bitcast<u32>(y);
  let sign = (a ^ b) & 0x80000000u;
  let ma = a & 0x7fffffffu;
  let mb = b & 0x7fffffffu;
  if (ma > 0x7f800000u || mb > 0x7f800000u || (ma == mb && (ma == 0u || ma == 0x7f800000u))) { return bitcast<f32>(0x7fc00000u | sign); }
  if (ma == 0x7f800000u || mb == 0u) { return bitcast<f32>(sign | 0x7f800000u); }
  if (ma == 0u || mb == 0x7f800000u) { return bitcast<f32>(sign); }
  let p = split_f32(ma);
  let q = split_f32(mb);
  var top = u32(p.x);
  let bottom = u32(q.x);
  var exponent = p.y - q.y + 126;
  if (top < bottom) {
    top = top << 1u;
    exponent--;
  }
  var quotient = u32((f32(top) / f32(bottom)) * 16777216f);
  var rest = bitcast<i32>((top << 24u) - quotient * bottom);
  while (rest < 0) {
    quotient--;
    rest += i32(bottom);
  }
  while (rest >= i32(bottom)) {
    quotient++;
    rest -= i32(bottom);
  }
  return round_f32(sign, exponent, (quotient << 6u) | select(0u, 1u, rest != 0));
}

// The root of x, correctly rounded: bit by bit, 26 bits and whether anything is left.
fn sqrt_f32(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) == 0u || is_nan(x)) { return x; }
  if ((bits >> 31u) == 1u) { return f32_bits(0x7fc00000u); }
  if (bits == 0x7f800000u) { return x; }
  let p = split_f32(bits);
  let power = p.y - 127;
  let m = u32(p.x) << u32(1 + (power & 1));
  var root = 0u;
  var rest = 0u;
  for (var step = 0; step < 26; step++) {
    let pair = select(0u, (m >> u32(max(24 - 2 * step, 0))) & 3u, step < 13);
    rest = (rest << 2u) | pair;
    let trial = (root << 2u) | 1u;
    root = root << 1u;
    if (rest >= trial) {
      rest -= trial;
      root |= 1u;
    }
  }
  return round_f32(0u, (power >> 1u) + 126, (root << 5u) | select(0u, 1u, rest != 0u));
}

// Bits of the nearest f16, ties to even.
fn f16_encode(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let magnitude = bits & 0x7fffffffu;
  let sign = (bits >> 16u) & 0x8000u;
  if (magnitude > 0x7f800000u) { return sign | 0x7e00u; }
  if (magnitude >= 0x477ff000u) { return sign | 0x7c00u; }
  if (magnitude < 0x38800000u) { return sign | (bitcast<u32>(bitcast<f32>(magnitude) + 0.5f) - 0x3f000000u); }
  return sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u);
}

fn f16_decode(bits: u32) -> f32 {
  let magnitude = bits & 0x7fffu;
  let sign = (bits & 0x8000u) << 16u;
  if (magnitude >= 0x7c00u) { return bitcast<f32>(sign | (magnitude << 13u) | 0x7f800000u); }
  if (magnitude < 0x400u) { return bitcast<f32>(sign | bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8f)); }
  return bitcast<f32>(sign | ((magnitude << 13u) + 0x38000000u));
}

fn round_f16(x: f32) -> f32 {
  return f16_decode(f16_encode(x));
}

fn round_bf16(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  if (is_nan(x)) { return bitcast<f32>((bits & 0xffff0000u) | 0x400000u); }
  return bitcast<f32>((bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u);
}

// Truncation toward zero that saturates; NaN gives 0.
fn i32_of_f32(x: f32) -> i32 {
  if (is_nan(x)) { return 0; }
  if (x >= 2147483648f) { return 2147483647; }
  if (x < -2147483648f) { return i32(-2147483648); }
  return i32(x);
}

fn u32_of_f32(x: f32) -> u32 {
  if (is_nan(x) || x <= 0f) { return 0u; }
  if (x >= 4294967296f) { return 4294967295u; }
  return u32(x);
}

// e^x = 2^k e^r, k = round(x / ln 2), r = x - k ln 2; 2^k in two factors, so that subnormal results round once.
fn exp_f32(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let held = clamp(x, -104f, 89f);
  let k = round(held * 1.4426950216293335f);
  let r = (held - k * 0.693359375f) - k * -0.00021219444414600730f;
  let p = 0.4999999403953552f + r * (0.16666515171527863f + r * (0.04166845604777336f +
    r * (0.008369418792426586f + r * 0.0013813157565891743f)));
  let n = i32(k);
  let half_n = n >> 1u;
  return ((1f + (r + (r * r) * p)) * bitcast<f32>((half_n + 127) << 23u)) * bitcast<f32>((n - half_n + 127) << 23u);
}

// log x = k ln 2 + log(1 + f), 1 + f in [sqrt(1/2), sqrt 2); with s = f / (2 + f): log(1 + f) = f - (f²/2 - s (f²/2 + R)).
fn log_f32(x: f32) -> f32 {
  if (is_nan(x) || x < 0f) { return f32_bits(0x7fc00000u); }
  let bits = bitcast<i32>(x);
  if (bits == 0 || x == 0f) { return f32_bits(0xff800000u); }
  if (is_inf(x)) { return x; }
  let tiny = bits < 0x800000;
  let scaled = select(x, f32(bits) * 1f, tiny);
  // A subnormal number is its bits times 2^-149.
  let word = bitcast<i32>(scaled);
  let shift = (word - 0x3f3504f3) >> 23u;
  let k = f32(shift - select(0, 149, tiny));
  let f = bitcast<f32>(word - (shift << 23u)) - 1f;
  let s = f / (2f + f);
  let z = s * s;
  let h = 0.5f * f * f;
  let p = z * (0.6666678190231323f + z * (0.39976611733436584f + z * 0.2989865243434906f));
  return k * 0.693359375f + (f - (h - (s * (h + p) + k * -0.00021219444414600730f)));
}

// |x| < 0.625: x + x³ P(x²); beyond: 1 - 2 / (e^(2|x|) + 1), with the sign of x.
fn tanh_f32(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let size = abs(x);
  if (size >= 0.625f) { return copy_sign(1f - 2f / (exp_f32(min(size, 20f) * 2f) + 1f), x); }
  let z = x * x;
  return x + x * z * (-0.3333328068256378f + z * (0.13331441581249237f + z * (-0.05373971536755562f +
    z * (0.020639093592762947f + z * -0.00570499524474144f))));
}

// |x| < 0.9: x + x P(x²); beyond: 1 - e^(-Q(t)), t = min(|x|, 4), with the sign of x.
fn erf_f32(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  if (abs(x) < 0.9f) {
    let z = x * x;
    return x + x * (0.12837916612625122f + z * (-0.37612634897232056f + z * (0.11283715069293976f +
      z * (-0.02686050906777382f + z * (0.005203858949244022f + z * (-0.0008175639668479562f + z * 8.513106149621308e-5f))))));
  }
  let t = min(abs(x), 4f);
  let q = 0.00013984923134557903f + t * (1.1279094219207764f + t * (0.6367834806442261f + t * (0.10428585112094879f +
    t * (-0.02239963971078396f + t * (0.003087010933086276f + t * -0.00020044631673954427f)))));
  return copy_sign(1f - exp_f32(-q), x);
}

// x = k π/2 + r, |r| <= π/4: r, and k mod 4. Large x by the bits of 2/π (Payne and Hanek 1983): the 24 bits of x times
// six words of 2/π hold x 2/π to 64 bits behind the point.
fn reduce_turn(x: f32) -> vec2<f32> {
  if (abs(x) <= 2048f) {
    // π/2 in parts of 11 bits, whose products with k < 2^12 are exact, and the rest.
    let k = round(x * 0.6366197466850281f);
    let r = (((x - k * 1.5703125f) - k * 0.000483751296997070f) - k * 7.54953362047672e-8f) - k * 2.56334406825708e-12f;
    return vec2<f32>(r, f32(i32(k) & 3));
  }
  var two_over_pi = array<u32, 6>(0x3c439041u, 0xdb629599u, 0xf534ddc0u, 0xfc2757d1u, 0x4e441529u, 0xa2f9836eu);
  let bits = bitcast<u32>(x);
  let significand = (bits << 8u) | 0x80000000u;
  var product: array<u32, 7>;
  var carry = 0u;
  for (var word = 0; word < 6; word++) {
    let p = add_u64(mul_wide(significand, two_over_pi[word]), vec2<u32>(carry, 0u));
    product[word] = p.x;
    carry = p.y;
  }
  product[6] = carry;
  let exponent = i32((bits >> 23u) & 0xffu) - 128;
  let first = exponent >> 5u;
  let shift = u32(exponent & 31);
  var high = product[6 - first];
  var low = product[5 - first];
  if (shift > 0u) {
    high = (high << shift) | (low >> (32u - shift));
    low = (low << shift) | (product[4 - first] >> (32u - shift));
  }
  let quarter = high >> 30u;
  var rest = vec2<u32>(low << 2u, (high << 2u) | (low >> 30u));
  let up = rest.y >> 31u;
  if (up == 1u) { rest = neg_u64(rest); }
  let size = (f32(rest.y) + f32(rest.x) * 2.3283064365386963e-10f) * 3.6572951981665057e-10f;
  let k = i32(quarter + up);
  let is_negative = (bits >> 31u) == 1u;
  return vec2<f32>(select(size, -size, (up == 1u) != is_negative), f32(select(k, -k, is_negative) & 3));
}

// sin(x + shift π/2): with x = k π/2 + r, by k + shift mod 4 one of ±sin r, ±cos r.
fn sin_turned(x: f32, shift: i32) -> f32 {
  if (is_nan(x) || is_inf(x)) { return f32_bits(0x7fc00000u); }
  let turned = reduce_turn(x);
  return sin_of_turn(turned.x, i32(turned.y) + shift);
}

fn sin_of_turn(r: f32, turns: i32) -> f32 {
  let z = r * r;
  let sine = r + r * z * (-0.1666666716337204f + z * (0.008333329111337662f + z * (-0.0001983930415008217f + z * 2.7180462893738877e-6f)));
  let cosine = 1f - 0.5f * z + z * z * (0.04166664555668831f + z * (-0.0013887309469282627f + z * 2.4432411009911448e-5f));
  let value = select(sine, cosine, (turns & 1) == 1);
  return select(value, -value, (turns & 2) == 2);
}

fn sin_f32(x: f32) -> f32 {
  return select(sin_turned(x, 0), x, x == 0f);
}

fn cos_f32(x: f32) -> f32 {
  return sin_turned(x, 1);
}
`;

/** f32 functions that are computed in f64 and rounded. */
export const throughF64: string = [
  ...["rem", "mod"].map((name) =>
    `fn ${name}_f32(x: f32, y: f32) -> f32 {\n  return f32_of_f64(${name}_f64(f64_of_f32(x), f64_of_f32(y)));\n}`
  ),
].join("\n\n");

/**
 * x^y in fixed point: log2 |x| to 55 bits by repeated squaring, times the significand of y, then 2^r by a polynomial. (Code
 * for f64 of this size takes minutes to compile on some drivers.) Small whole powers are products, so that they are exact
 * where their result is.
 */
export const power32 = `
// The upper word pair of a product of two 64-bit numbers.
fn mul_high_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  let ll = mul_wide(x.x, y.x);
  let lh = mul_wide(x.x, y.y);
  let hl = mul_wide(x.y, y.x);
  let middle = add_u64(add_u64(vec2<u32>(ll.y, 0u), vec2<u32>(lh.x, 0u)), vec2<u32>(hl.x, 0u));
  return add_u64(add_u64(mul_wide(x.y, y.y), vec2<u32>(lh.y, 0u)), add_u64(vec2<u32>(hl.y, 0u), vec2<u32>(middle.y, 0u)));
}

// log2 of a positive finite number, times 2^55: with m in [1, 2), log2 m has the bit 1 where m² reaches 2, and so on.
fn log2_fixed(bits: u32) -> vec2<u32> {
  let p = split_f32(bits);
  var m = vec2<u32>(0u, u32(p.x) << 8u);
  var fraction = vec2<u32>(0u);
  for (var step = 0; step < 55; step++) {
    m = mul_high_u64(m, m);
    fraction = shift_left_u64(fraction, 1u);
    if ((m.y >> 31u) == 1u) {
      fraction.x |= 1u;
    } else {
      m = shift_left_u64(m, 1u);
    }
  }
  return add_u64(vec2<u32>(0u, u32((p.y - 127) << 23u)), fraction);
}

// |x|^y for finite |x| and y other than 0.
fn pow_fixed(x: u32, y: f32) -> f32 {
  let log2_x = log2_fixed(x);
  let size = abs_i64(log2_x);
  let q = split_f32(bitcast<u32>(y) & 0x7fffffffu);
  let low = mul_wide(size.x, u32(q.x));
  let high = add_u64(mul_wide(size.y, u32(q.x)), vec2<u32>(low.y, 0u));
  let negative = is_negative_i64(log2_x) != (y < 0f);
  let over = f32_bits(select(0x7f800000u, 0u, negative));
  // The product is high:low.x times 2^(exponent - 78); t has 32 bits behind the point.
  let shift = 46 - (q.y - 127);
  var t = vec2<u32>(0u);
  if (shift < 0) {
    if (any(high != vec2<u32>(0u)) || low.x != 0u) { return over; }
  } else if (shift < 32) {
    if ((high.y >> u32(shift)) != 0u) { return over; }
    t = shift_right_u64(vec2<u32>(low.x, high.x), u32(shift));
    if (shift > 0) { t.y |= high.y << u32(32 - shift); }
  } else if (shift < 96) {
    t = shr_u64(high, vec2<u32>(u32(shift - 32), 0u));
  }
  if (t.y >= 160u) { return over; }
  let signed = select(t, neg_u64(t), negative);
  let n = bitcast<i32>(signed.y) + i32(signed.x >> 31u);
  let r = f32(bitcast<i32>(signed.x)) * 2.3283064365386963e-10f * 0.6931471824645996f;
  let p = 0.4999999403953552f + r * (0.16666515171527863f + r * (0.04166845604777336f +
    r * (0.008369418792426586f + r * 0.0013813157565891743f)));
  let half_n = n >> 1u;
  return ((1f + (r + (r * r) * p)) * bitcast<f32>((half_n + 127) << 23u)) * bitcast<f32>((n - half_n + 127) << 23u);
}

// Special cases as IEEE 754: 1^y = x^0 = 1, (-1)^±inf = 1, negative x takes whole powers only.
fn pow_f32(x: f32, y: f32) -> f32 {
  if (y == 0f || x == 1f) { return 1f; }
  if (is_nan(x) || is_nan(y)) { return f32_bits(0x7fc00000u); }
  let size = abs(x);
  if (is_inf(y)) {
    if (size == 1f) { return 1f; }
    return f32_bits(select(0u, 0x7f800000u, (size > 1f) == (y > 0f)));
  }
  let whole = trunc(y) == y;
  let odd = whole && abs(y) < 16777216f && (i32(clamp(y, -16777216f, 16777216f)) & 1) == 1;
  let sign = select(0u, 0x80000000u, odd && (bitcast<u32>(x) >> 31u) == 1u);
  if (size == 0f || is_inf(x)) {
    return f32_bits(sign | select(0u, 0x7f800000u, (size == 0f) != (y > 0f)));
  }
  if (x < 0f && !whole) { return f32_bits(0x7fc00000u); }
  if (whole && y > 0f && y <= 16f) {
    var result = 1f;
    var base = x;
    for (var rest = i32(y); rest > 0; rest = rest >> 1u) {
      if ((rest & 1) == 1) { result = result * base; }
      base = base * base;
    }
    return result;
  }
  let value = pow_fixed(bitcast<u32>(size), y);
  return f32_bits(bitcast<u32>(value) | sign);
}
`;

/** Integers of 32 bits where WGSL's operators differ from the IR's. */
export const integer32 = `
// x / y truncated toward zero, 0 for y = 0, wrapping.
fn div_i32(x: i32, y: i32) -> i32 {
  if (y == 0) { return 0; }
  if (y == -1) { return 0 - x; }
  return x / y;
}

fn div_u32(x: u32, y: u32) -> u32 {
  if (y == 0u) { return 0u; }
  return x / y;
}

fn rem_i32(x: i32, y: i32) -> i32 {
  if (y == 0 || y == -1) { return 0; }
  return x % y;
}

fn rem_u32(x: u32, y: u32) -> u32 {
  if (y == 0u) { return 0u; }
  return x % y;
}

// The remainder with the sign of y.
fn mod_i32(x: i32, y: i32) -> i32 {
  let rest = rem_i32(x, y);
  return select(rest, rest + y, rest != 0 && ((rest ^ y) < 0));
}

fn shl_i32(x: i32, n: i32) -> i32 {
  return select(0, x << (u32(n) & 31u), n >= 0 && n < 32);
}

fn shr_i32(x: i32, n: i32) -> i32 {
  return select(0, x >> (u32(n) & 31u), n >= 0 && n < 32);
}

fn shl_u32(x: u32, n: u32) -> u32 {
  return select(0u, x << (n & 31u), n < 32u);
}

fn shr_u32(x: u32, n: u32) -> u32 {
  return select(0u, x >> (n & 31u), n < 32u);
}

fn pow_u32(x: u32, y: u32) -> u32 {
  var result = 1u;
  var base = x;
  var rest = y;
  while (rest != 0u) {
    if ((rest & 1u) == 1u) { result = result * base; }
    base = base * base;
    rest = rest >> 1u;
  }
  return result;
}

// Negative powers are 1/x^|y| truncated, and 0 for x = 0.
fn pow_i32(x: i32, y: i32) -> i32 {
  if (y >= 0) { return bitcast<i32>(pow_u32(bitcast<u32>(x), u32(y))); }
  if (x == 1) { return 1; }
  if (x == -1) { return select(1, -1, (y & 1) == 1); }
  return 0;
}
`;
