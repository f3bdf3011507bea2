/**
 * x^y in f64 by integers: 2^(y log2 |x|), the logarithm with 116 bits behind the point. Its loops stay loops, where the
 * same function over f64 operators is some hundred calls, each of which a driver writes out.
 */

export const power64 = `
// The upper half of x².
fn square_high_u128(x: vec4<u32>) -> vec4<u32> {
  var words = x;
  var product = array<u32, 8>();
  for (var i = 0; i < 4; i++) {
    var carry = 0u;
    for (var j = 0; j < 4; j++) {
      let sum = add_u64(add_u64(mul_wide(words[i], words[j]), vec2<u32>(product[i + j], 0u)), vec2<u32>(carry, 0u));
      product[i + j] = sum.x;
      carry = sum.y;
    }
    product[i + 4] = carry;
  }
  return vec4<u32>(product[4], product[5], product[6], product[7]);
}

fn double_u128(x: vec4<u32>) -> vec4<u32> {
  return (x << vec4<u32>(1u)) | (vec4<u32>(0u, x.xyz) >> vec4<u32>(31u));
}

// log2 of a positive finite number, times 2^116: with m in [1, 2), log2 m has the bit 1 where m² reaches 2, and so on.
fn log2_fixed_f64(x: vec2<u32>) -> vec4<u32> {
  let p = split_f64(x);
  var m = vec4<u32>(vec2<u32>(0u), shift_left_u64(p.xy, 11u));
  var fraction = vec4<u32>(0u);
  for (var step = 0; step < 116; step++) {
    m = square_high_u128(m);
    fraction = double_u128(fraction);
    if ((m.w >> 31u) == 1u) {
      fraction.x |= 1u;
    } else {
      m = double_u128(m);
    }
  }
  fraction.w += (p.z - 1023u) << 20u;
  return fraction;
}

fn neg_u128(x: vec4<u32>) -> vec4<u32> {
  let low = neg_u64(x.xy);
  let high = sub_u64(neg_u64(x.zw), vec2<u32>(select(0u, 1u, any(x.xy != vec2<u32>(0u))), 0u));
  return vec4<u32>(low, high);
}

// x / y for a divisor below 2^16, by digits of 16 bits.
fn div_small_u64(x: vec2<u32>, y: u32) -> vec2<u32> {
  let a = x.y >> 16u;
  let b = ((a % y) << 16u) | (x.y & 0xffffu);
  let c = ((b % y) << 16u) | (x.x >> 16u);
  let d = ((c % y) << 16u) | (x.x & 0xffffu);
  return vec2<u32>(((c / y) << 16u) | (d / y), ((a / y) << 16u) | (b / y));
}

// 2^f times 2^62, for f a fraction of 64 bits: the series of e^z, z = f ln 2, from its innermost bracket 1 + z/k (...).
fn exp2_fixed_f64(f: vec2<u32>) -> vec2<u32> {
  let z = mul_high_u64(f, vec2<u32>(0xd1cf79acu, 0xb17217f7u));
  let one = vec2<u32>(0u, 0x40000000u);
  var sum = one;
  for (var k = 20u; k > 0u; k--) { sum = add_u64(one, div_small_u64(mul_high_u64(z, sum), k)); }
  return sum;
}

// |x|^y for finite |x| and y other than 0.
fn pow_fixed_f64(sign: u32, x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  let log2_x = log2_fixed_f64(x);
  let below = (log2_x.w >> 31u) == 1u;
  var size = select(log2_x, neg_u128(log2_x), below);
  let negative = below != ((y.y >> 31u) == 1u);
  let over = vec2<u32>(0u, sign | select(0x7ff00000u, 0u, negative));
  let q = split_f64(abs_f64(y));
  var factor = q.xy;
  var product = array<u32, 6>();
  for (var i = 0; i < 2; i++) {
    var carry = 0u;
    for (var j = 0; j < 4; j++) {
      let sum = add_u64(add_u64(mul_wide(factor[i], size[j]), vec2<u32>(product[i + j], 0u)), vec2<u32>(carry, 0u));
      product[i + j] = sum.x;
      carry = sum.y;
    }
    product[i + 4] = carry;
  }
  // y log2 |x| is the product times 2^(exponent - 1191); t has 64 bits behind the point.
  let shift = 1127 - bitcast<i32>(q.z);
  if (shift < 0 && any(size != vec4<u32>(0u))) { return over; }
  var t = vec3<u32>(0u);
  for (var word = 0; word < 6; word++) {
    let place = 32 * word - shift;
    if (place >= 96 && product[word] != 0u) { return over; }
    for (var to = 0; to < 3; to++) {
      let left = place - 32 * to;
      if (left >= 0 && left < 32) { t[to] |= product[word] << u32(left); }
      if (left < 0 && left > -32) { t[to] |= product[word] >> u32(-left); }
    }
    if (place > 64 && place < 96 && (product[word] >> u32(96 - place)) != 0u) { return over; }
  }
  if (t.z >= 1100u) { return over; }
  let fraction = select(t.xy, neg_u64(t.xy), negative);
  let whole = select(i32(t.z), select(0, -1, any(t.xy != vec2<u32>(0u))) - i32(t.z), negative);
  return norm_pack_f64(sign, whole + 1022, exp2_fixed_f64(fraction));
}

// Special cases as IEEE 754: 1^y = x^0 = 1, (-1)^±inf = 1, negative x takes whole powers only.
fn pow_f64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  let one = vec2<u32>(0u, 0x3ff00000u);
  let infinity = vec2<u32>(0u, 0x7ff00000u);
  let size = abs_f64(x);
  let rises = (y.y >> 31u) == 0u;
  if (is_zero_f64(y) || all(x == one)) { return one; }
  if (is_nan_f64(x) || is_nan_f64(y)) { return nan_f64(); }
  if (is_inf_f64(y)) {
    if (all(size == one)) { return one; }
    return select(vec2<u32>(0u), infinity, lt_u64(one, size) == rises);
  }
  let whole = eq_f64(trunc_f64(y), y);
  let odd = whole && lt_u64(abs_f64(y), vec2<u32>(0u, 0x43400000u)) && (i64_of_f64(y).x & 1u) == 1u;
  let sign = select(0u, x.y & 0x80000000u, odd);
  if (is_zero_f64(x) || is_inf_f64(x)) {
    return vec2<u32>(0u, sign | select(0u, infinity.y, is_zero_f64(x) != rises));
  }
  if ((x.y >> 31u) == 1u && !whole) { return nan_f64(); }
  return pow_fixed_f64(sign, size, y);
}
`;
