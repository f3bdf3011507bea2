/** Which instructions the engine has, found by validating a module that uses them. */

/**
 * (module (func (result v128)
 *   (i32x4.relaxed_dot_i8x16_i7x16_add_s (i8x16.splat (i32.const 0)) ... x3)))
 */
const relaxedModule = [
  [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // magic, version
  [1, 5, 1, 0x60, 0, 1, 0x7b], // types: () -> v128
  [3, 2, 1, 0], // functions
  [10, 19, 1, 17, 0], // code: one body of 17 bytes, no locals
  [0x41, 0, 0xfd, 15, 0x41, 0, 0xfd, 15, 0x41, 0, 0xfd, 15], // three splats
  [0xfd, 0x93, 2, 0x0b], // relaxed dot, end
];

/** Whether relaxed SIMD (with the 7-bit dot product) is there. */
export function hasRelaxedSimd(): boolean {
  return WebAssembly.validate(new Uint8Array(relaxedModule.flat()));
}
