/** The targets, in the order in which help lists them. */

import type { Target } from "./target.ts";
import { wasmTarget } from "./wasm/target.ts";
import { wgslTarget } from "./wgsl/target.ts";

export const targets: readonly Target[] = [wasmTarget, wgslTarget];
