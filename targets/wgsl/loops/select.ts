/** The loop form as a kernel: it takes every region. */

import { lowerRegion } from "../../loops/lower.ts";
import type { Region } from "../../region.ts";
import type { SelectContext, WgslKernel } from "../kernel.ts";
import { stageDispatch } from "./print.ts";
import { stagesOf } from "./stages.ts";

export function loopKernel(region: Region, { graph, symbols }: SelectContext): WgslKernel {
  const program = lowerRegion(region, graph);
  return {
    id: `loops.${program.name}`,
    algebra: program.algebra,
    dispatches: stagesOf(program).map((stage) => stageDispatch(program, stage, symbols)),
  };
}
