/** Names that WGSL takes. */

import { libraryNames } from "./math/library.ts";

/** Keywords, reserved words (WGSL, section 15), built-in types and the built-in functions that kernels call. */
const reserved = new Set(
  `alias break case const const_assert continue continuing default diagnostic discard else enable false fn for if let loop
  override requires return struct switch true var while NULL Self abstract active alignas alignof as asm asm_fragment async
  attribute auto await become cast catch class co_await co_return co_yield coherent column_major common compile
  compile_fragment concept const_cast consteval constexpr constinit crate debugger decltype delete demote demote_to_helper do
  dynamic_cast enum explicit export extends extern external fallthrough filter final finally friend from fxgroup get goto
  groupshared highp impl implements import inline instanceof interface layout lowp macro macro_rules match mediump meta mod
  module move mut mutable namespace new nil noexcept noinline nointerpolation non_coherent noncoherent noperspective null
  nullptr of operator package packoffset partition pass patch pixelfragment precise precision premerge priv protected pub
  public readonly ref regardless register reinterpret_cast require resource restrict self set shared sizeof smooth snorm
  static static_assert static_cast std subroutine super target template this thread_local throw trait try type typedef typeid
  typename typeof union unless unorm unsafe unsized use using varying virtual volatile wgsl where with writeonly yield
  bool i32 u32 f32 f16 vec2 vec3 vec4 array atomic ptr mat2x2 sampler texture_1d
  abs ceil floor round trunc min max select clamp bitcast all any extractBits countLeadingZeros unpack2x16float
  arena states symbols call id rest group groups lane local subgroup row invocations`.split(/\s+/),
);

/** A name as it is, or with an underscore behind it where WGSL or a kernel's frame has the name. */
export function safeName(name: string): string {
  const isTaken = reserved.has(name) || libraryNames.has(name) || /^(weights\d+|load_.*|store_.*)$/.test(name);
  return isTaken ? `${name}_` : name;
}

/** An identifier that resembles a text. */
export function identifier(text: string): string {
  const plain = text.replace(/[^A-Za-z0-9]+/g, "_").replace(/^_+|_+$/g, "");
  return safeName(/^[A-Za-z]/.test(plain) ? plain : `kernel_${plain}`);
}
