/** Loads and stores of four lanes: elements narrower than 32 bits are widened and narrowed on the way. */

import type { ElementType } from "../../../compiler/numeric/element.ts";
import type { Index } from "../../loops/program.ts";
import { type Emitter, widthOf } from "./emitter.ts";
import { InvariantError } from "../../../compiler/diagnostics.ts";

function addressed(emitter: Emitter, instruction: string, buffer: string, index: Index, width: number): string {
  const { text, offset } = emitter.address(buffer, index, width);
  return `(${instruction}${offset === 0 ? "" : ` offset=${offset}`} ${text})`;
}

/** Four elements of 32 bits that lie `stride` entries apart. */
export function gatherLanes(emitter: Emitter, buffer: string, index: Index, stride: number): string {
  const { text, offset } = emitter.address(buffer, index, 4);
  const base = emitter.local("gathered", "i32");
  const place = (lane: number) => {
    const distance = offset + 4 * lane * stride;
    const address = `(local.get $${base})`;
    return distance >= 0
      ? { offset: distance === 0 ? "" : ` offset=${distance}`, address }
      : { offset: "", address: `(i32.add ${address} (i32.const ${distance}))` };
  };
  const first = place(0);
  const lanes = [1, 2, 3].reduce((rest, lane) => {
    const { offset: own, address } = place(lane);
    return `(v128.load32_lane${own} ${lane} ${address} ${rest})`;
  }, `(v128.load32_zero${first.offset} ${first.address})`);
  return `(block $${emitter.label("gather")} (result v128) (local.set $${base} ${text}) ${lanes})`;
}

/** Four neighbouring elements, widened to 32 bits. */
export function loadLanes(emitter: Emitter, element: ElementType, buffer: string, index: Index): string {
  const load = (instruction: string) => addressed(emitter, instruction, buffer, index, widthOf(element));
  switch (element) {
    case "f32":
    case "i32":
    case "u32":
      return load("v128.load");
    case "i16":
      return load("v128.load16x4_s");
    case "u16":
      return load("v128.load16x4_u");
    case "i8":
      return `(i32x4.extend_low_i16x8_s (i16x8.extend_low_i8x16_s ${load("v128.load32_zero")}))`;
    case "u8":
      return `(i32x4.extend_low_i16x8_u (i16x8.extend_low_i8x16_u ${load("v128.load32_zero")}))`;
    case "bool":
      return `(i32x4.neg (i32x4.extend_low_i16x8_u (i16x8.extend_low_i8x16_u ${load("v128.load32_zero")})))`;
    case "bf16":
      return `(i32x4.shl ${load("v128.load16x4_u")} (i32.const 16))`;
    case "f16":
      return emitter.call("f16_decode_i32x4", load("v128.load16x4_u"));
    default:
      throw new InvariantError(`Four lanes of ${element}`);
  }
}

/** Stores four lanes of 32 bits as neighbouring elements; narrower integers saturate. */
export function storeFour(emitter: Emitter, element: ElementType, buffer: string, index: Index, lanes: string): string {
  const { text, offset } = emitter.address(buffer, index, widthOf(element));
  const place = offset === 0 ? "" : ` offset=${offset}`;
  const narrow = (bits: 32 | 64, narrowed: string) => `(v128.store${bits}_lane${place} 0 ${text} ${narrowed})`;
  switch (element) {
    case "i16":
      return narrow(64, halved(emitter, lanes, "s"));
    case "u16":
      return narrow(64, halved(emitter, lanes, "u"));
    case "i8":
      return narrow(32, quartered(emitter, lanes, "s"));
    case "u8":
      return narrow(32, quartered(emitter, lanes, "u"));
    case "bool": {
      const ones = emitter.constant(`(v128.const i32x4${" 0x01010101".repeat(4)})`);
      return narrow(32, `(v128.and ${quartered(emitter, lanes, "s")} ${ones})`);
    }
    case "f16":
      return narrow(64, halved(emitter, emitter.call("f16_encode_f32x4", lanes), "u"));
    case "bf16":
      return narrow(64, halved(emitter, emitter.call("bf16_encode_f32x4", lanes), "u"));
    default:
      return `(v128.store${place} ${text} ${lanes})`;
  }
}

function halved(emitter: Emitter, lanes: string, sign: "s" | "u"): string {
  const held = emitter.once(lanes, "v128");
  return `(i16x8.narrow_i32x4_${sign} ${held.first} ${held.again})`;
}

function quartered(emitter: Emitter, lanes: string, sign: "s" | "u"): string {
  const held = emitter.once(halved(emitter, lanes, "s"), "v128");
  return `(i8x16.narrow_i16x8_${sign} ${held.first} ${held.again})`;
}
