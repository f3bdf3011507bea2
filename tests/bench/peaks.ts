/** The engine's peaks: multiply-adds on registers alone, for every instruction that dot kernels are made of. */

import { race } from "./measure.ts";
import { openPeak, peakForms } from "./peak.ts";
import type { PartResult } from "./report.ts";

export async function benchPeaks(rounds: number, show: (stage: string) => void): Promise<PartResult> {
  show("peaks");
  const peaks = await Promise.all(Object.values(peakForms).map(openPeak));
  const timings = await race(peaks.map(({ form, run }) => ({ name: form.name, run })), {
    rounds,
    warmUp: 300,
    slice: 30,
  });
  return {
    tables: [{
      title: "Multiply-adds of 128-bit instructions whose operands never leave registers, 12 sums in flight.",
      columns: ["instructions", "GMAC/s", "GMAC/s, fastest round"],
      rows: peaks.map(({ form, products }, index) => [
        form.name,
        (products / timings[index].milliseconds / 1e6).toFixed(1),
        (products / timings[index].least / 1e6).toFixed(1),
      ]),
    }],
    verdicts: [],
  };
}
