/** Tests that need a GPU. */

import { gpuDevice } from "../../targets/wgsl/run_program.ts";

/** Registers a test that needs a GPU; without one a line says so. */
export async function gpuTest(name: string, body: () => Promise<void>): Promise<void> {
  const ignore = await gpuDevice() === undefined;
  if (ignore) console.log(`skipped: "${name}" needs a WebGPU adapter (Debian: mesa-vulkan-drivers)`);
  // The device is shared by all tests of the process.
  Deno.test({ name, ignore, fn: body, sanitizeOps: false, sanitizeResources: false });
}
