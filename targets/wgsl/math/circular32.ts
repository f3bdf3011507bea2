/**
 * Inverse circular functions, hyperbolic functions and tan in f32. Ranges and polynomials are those of Cephes (S. L.
 * Moshier, Methods and Programs for Mathematical Functions, 1989), single precision: errors stay within 4 ulp.
 */
export const circular32 = `
// |x| > tan 3π/8: π/2 - atan(1/x); |x| > tan π/8: π/4 + atan((x - 1) / (x + 1)); else x + x³ P(x²).
fn atan_f32(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let size = abs(x);
  var base = 0f;
  var t = size;
  if (size > 2.4142136573791504f) {
    base = 1.5707963705062866f;
    t = select(-1f / size, 0f, is_inf(x));
  } else if (size > 0.4142135679721832f) {
    base = 0.7853981852531433f;
    t = (size - 1f) / (size + 1f);
  }
  let z = t * t;
  let p = ((0.0805374449538f * z - 0.138776856032f) * z + 0.199777106478f) * z - 0.333329491539f;
  return copy_sign(base + (p * z * t + t), x);
}

// asin x = x + x³ P(x²) for |x| <= 1/2.
fn asin_core(x: f32) -> f32 {
  let z = x * x;
  let p = (((0.042163199048f * z + 0.024181311049f) * z + 0.045470025998f) * z + 0.074953002686f) * z + 0.16666752422f;
  return p * z * x + x;
}

// Beyond 1/2: asin x = π/2 - 2 asin(sqrt((1 - x) / 2)).
fn asin_f32(x: f32) -> f32 {
  let size = abs(x);
  if (!(size <= 1f)) { return f32_bits(0x7fc00000u); }
  if (size <= 0.5f) { return asin_core(x); }
  return copy_sign(1.5707963705062866f - 2f * asin_core(sqrt_f32(0.5f * (1f - size))), x);
}

fn acos_f32(x: f32) -> f32 {
  if (!(abs(x) <= 1f)) { return f32_bits(0x7fc00000u); }
  if (x > 0.5f) { return 2f * asin_core(sqrt_f32(0.5f * (1f - x))); }
  if (x < -0.5f) { return 3.1415927410125732f - 2f * asin_core(sqrt_f32(0.5f * (1f + x))); }
  return 1.5707963705062866f - asin_core(x);
}

fn tan_f32(x: f32) -> f32 {
  if (x == 0f) { return x; }
  if (is_nan(x) || is_inf(x)) { return f32_bits(0x7fc00000u); }
  let turned = reduce_turn(x);
  return sin_of_turn(turned.x, i32(turned.y)) / sin_of_turn(turned.x, i32(turned.y) + 1);
}

// |x| <= 1: x + x³ P(x²); beyond: (e^x - e^-x) / 2, in two factors where e^x overflows.
fn sinh_f32(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let size = abs(x);
  if (size <= 1f) {
    let z = x * x;
    return ((0.000203721912945f * z + 0.00833028376239f) * z + 0.166667160211f) * z * x + x;
  }
  if (size > 80f) {
    let half_power = exp_f32(0.5f * size);
    return copy_sign(0.5f * half_power * half_power, x);
  }
  let power = exp_f32(size);
  return copy_sign(0.5f * power - 0.5f / power, x);
}

fn cosh_f32(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let size = abs(x);
  if (size > 80f) {
    let half_power = exp_f32(0.5f * size);
    return 0.5f * half_power * half_power;
  }
  let power = exp_f32(size);
  return 0.5f * power + 0.5f / power;
}

// |x| < 1/2: x + x³ P(x²); else log(x + sqrt(x² + 1)), and log 2x where 1 is lost.
fn asinh_f32(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let size = abs(x);
  if (size < 0.5f) {
    let z = x * x;
    return (((0.020122003309f * z - 0.042699340972f) * z + 0.074847586088f) * z - 0.16666288134f) * z * x + x;
  }
  if (size > 10000f) { return copy_sign(log_f32(size) + 0.6931471824645996f, x); }
  return copy_sign(log_f32(size + sqrt_f32(size * size + 1f)), x);
}

// x < 3/2: sqrt(x - 1) P(x - 1); else log(x + sqrt(x² - 1)), and log 2x where 1 is lost.
fn acosh_f32(x: f32) -> f32 {
  if (!(x >= 1f)) { return f32_bits(0x7fc00000u); }
  if (x > 10000f) { return log_f32(x) + 0.6931471824645996f; }
  let z = x - 1f;
  if (z < 0.5f) {
    let p = (((0.0017596881071f * z - 0.0075272886713f) * z + 0.026454905019f) * z - 0.11784741703f) * z + 1.4142135263f;
    return p * sqrt_f32(z);
  }
  return log_f32(x + sqrt_f32(z * (x + 1f)));
}

// |x| < 1/2: x + x³ P(x²); else log((1 + x) / (1 - x)) / 2.
fn atanh_f32(x: f32) -> f32 {
  let size = abs(x);
  if (!(size <= 1f)) { return f32_bits(0x7fc00000u); }
  if (size < 0.5f) {
    let z = x * x;
    let p = (((0.181740078349f * z + 0.0824370301058f) * z + 0.14669143173f) * z + 0.1997821645f) * z + 0.333337300303f;
    return p * z * x + x;
  }
  if (size == 1f) { return copy_sign(f32_bits(0x7f800000u), x); }
  return copy_sign(0.5f * log_f32((1f + size) / (1f - size)), x);
}
`;
