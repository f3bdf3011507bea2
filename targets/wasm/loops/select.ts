/** Selects the loop form as a WebAssembly kernel: it fits every region. */

import type { LoopBuffer } from "../../loops/program.ts";
import { exactText } from "../../loops/index.ts";
import { lowerRegion } from "../../loops/lower.ts";
import { packConstants } from "../../loops/packed.ts";
import type { Region } from "../../region.ts";
import type { KernelOperand, KernelSelector, SelectContext, WasmKernel } from "../kernel.ts";
import { printFunction } from "./print.ts";
import { printVectorLoop } from "./vector.ts";

/** Never declines. */
export const selectLoops: KernelSelector = loopKernel;

/** The loop kernel of a region. It is shared between regions whose programs are equal but for the values they work on. */
export function loopKernel(region: Region, context: SelectContext): WasmKernel {
  const { program, packed } = packConstants(lowerRegion(region, context.graph), context.graph);
  const printed = printFunction(program, printVectorLoop);
  const scratch = printed.scratchBytes.map((bytes): KernelOperand => ({ kind: "scratch", bytes }));
  const code = JSON.stringify([
    program.buffers.map(({ name, element, access }) => [name, element, access]),
    program.body,
  ], exactText);
  const operandOf = ({ name, source, part }: LoopBuffer): KernelOperand => {
    if (source.kind === "state") return { kind: "state", state: source.state, part };
    const held = packed.get(name);
    if (held === undefined) return { kind: "value", value: source.value, part };
    const key = `${held.hash}/${part}/${held.layout}`;
    return {
      kind: "weights",
      weights: { key, layout: `${part}:${held.layout}`, value: source.value, pack: held.pack },
    };
  };
  return {
    id: `loops.${program.name}.${textHash(code)}`,
    operands: [...program.buffers.map(operandOf), ...scratch],
    wat: (name) => printed.text(name),
    calls: printed.calls,
  };
}

/** 53 bits over a text, as hex: two multiply-xor streams. */
function textHash(text: string): string {
  let low = 0xdeadbeef;
  let high = 0x41c6ce57;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    low = Math.imul(low ^ code, 2654435761);
    high = Math.imul(high ^ code, 1597334677);
  }
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  return (2 ** 32 * (2097151 & high) + (low >>> 0)).toString(16).padStart(14, "0");
}
