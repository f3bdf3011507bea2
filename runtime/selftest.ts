/** The artifact's own test: inputs and expected outputs, made when it was compiled. */

import type { ElementName, InputTensor, OutputTensor, SelfTestResult, Variant, WorstEntry } from "./api.ts";
import { numberAt, viewAs } from "./elements.ts";
import { sizeOf } from "./shapes.ts";

/** One array of the test; `offset` is in bytes from the end of the header. */
export interface TestTensor {
  readonly name: string;
  readonly element: ElementName;
  readonly shape: readonly number[];
  readonly offset: number;
}

/** Every `stride`-th entry of an output is held, from the first on. */
export interface TestOutput extends TestTensor {
  readonly stride: number;
  /** Largest |actual - expected|. */
  readonly tolerance: number;
}

/** selftest.bin: a u32 (little-endian) with the bytes of this header as JSON, padded to 8, the header, the arrays. */
export interface TestHeader {
  /** Runs in order, over states that start clear. */
  readonly runs: readonly { readonly inputs: readonly TestTensor[]; readonly outputs: readonly TestOutput[] }[];
}

type Outputs = Readonly<Record<string, OutputTensor>>;

export async function runSelfTest(
  file: Uint8Array,
  run: (inputs: Readonly<Record<string, InputTensor>>) => Outputs | Promise<Outputs>,
  variant: Variant,
): Promise<SelfTestResult> {
  const start = 8 + new DataView(file.buffer, file.byteOffset).getUint32(0, true);
  const header: TestHeader = JSON.parse(new TextDecoder().decode(file.subarray(8, start)));
  const arrays = file.slice(start).buffer;
  const arrayOf = ({ element, shape, offset }: TestTensor, stride = 1) =>
    viewAs(element, arrays, offset, Math.ceil(sizeOf(shape) / stride));
  let worst: WorstEntry = { run: 0, output: "", index: 0, expected: 0, actual: 0, tolerance: 0 };
  let worstShare = -1;
  let failed = 0;
  let compared = 0;
  for (const [index, { inputs, outputs }] of header.runs.entries()) {
    const given = inputs.map((tensor) => [tensor.name, { data: arrayOf(tensor), shape: tensor.shape }] as const);
    const results = await run(Object.fromEntries(given));
    for (const wanted of outputs) {
      const { element, stride } = wanted;
      const expected = arrayOf(wanted, stride);
      const actual = results[wanted.name].data;
      compared += expected.length;
      for (let entry = 0; entry < expected.length; entry++) {
        const want = numberAt(expected, element, entry);
        const got = numberAt(actual, element, entry * stride);
        const share = shareOfTolerance(want, got, wanted.tolerance);
        if (share > 1) failed++;
        if (share <= worstShare) continue;
        worstShare = share;
        worst = {
          run: index,
          output: wanted.name,
          index: entry * stride,
          expected: want,
          actual: got,
          tolerance: wanted.tolerance,
        };
      }
    }
  }
  return { ok: failed === 0, worst, failed, compared, variant };
}

/** |got - want| / tolerance; 0 when both are equal or both NaN, Infinity when only one is a number. */
function shareOfTolerance(want: number, got: number, tolerance: number): number {
  if (Object.is(want, got) || want === got) return 0;
  const share = Math.abs(want - got) / tolerance;
  return Number.isNaN(share) ? Infinity : share;
}
