/** Quantized vision nets: logits within 0.5 dB of the best public tool, top-1 at 8 bits within one standard error of float. */

import assert from "node:assert/strict";
import { sharedTest } from "../support/models.ts";
import { evaluateVision } from "../support/vision.ts";
import { zooModel } from "../support/zoo.ts";

interface QualityBar {
  readonly name: string;
  readonly samples: number;
  readonly recipe: string;
  readonly overrides?: readonly string[];
  /** SQNR of the logits in dB by the best public tool at these widths under the same protocol. */
  readonly publicSqnr: number;
}

const int4 = [
  "quantize-weights.bits=4",
  "quantize-weights.solver=gptq",
  "quantize-weights.samples=200",
  "quantize-weights.sweeps=2",
];

const bars: readonly QualityBar[] = [
  { name: "resnet20", recipe: "w8a8-static", samples: 1000, publicSqnr: 30.8 },
  { name: "mlperf-resnet8", recipe: "w8a8-static", samples: 1000, publicSqnr: 29.8 },
  { name: "vit-pgd", recipe: "w8a8-static", samples: 1000, publicSqnr: 30.9 },
  { name: "mnist8", recipe: "w8a8-static", samples: 1000, publicSqnr: 38.0 },
  { name: "vww-mobilenetv1-025", recipe: "w8a8-static", samples: 250, publicSqnr: 25.8 },
  { name: "mobilenetv1-025", recipe: "w8a8-static", samples: 125, publicSqnr: 21.8 },
  {
    name: "vww-mobilenetv1-025",
    recipe: "cle-conv",
    overrides: ["equalize.balance=both"],
    samples: 250,
    publicSqnr: 25.8,
  },
  { name: "vit-pgd", recipe: "w8a8-static", overrides: int4, samples: 1000, publicSqnr: 18.8 },
  { name: "vww-mobilenetv1-025", recipe: "w8a8-static", overrides: int4, samples: 250, publicSqnr: 9.5 },
  { name: "vit-pgd", recipe: "minifloat-ptq", samples: 1000, publicSqnr: 24.1 },
  { name: "dit-mnist", recipe: "w8a8-static", samples: 40, publicSqnr: 25.6 },
];

/** The margin that the project allows itself. */
const marginDb = 0.5;

for (const { name, recipe, overrides = [], samples, publicSqnr } of bars) {
  const model = zooModel(name);
  sharedTest(
    `${[name, recipe, ...overrides].join(" ")} keeps within ${marginDb} dB of ${publicSqnr} dB`,
    [model.path, ...model.data],
    async () => {
      const result = await evaluateVision(model, recipe, samples, overrides);
      assert.ok(result.sqnr >= publicSqnr - marginDb, `SQNR is ${result.sqnr.toFixed(2)} dB`);
      if (result.top1 === undefined || result.floatTop1 === undefined || overrides === int4) return;
      const error = Math.sqrt(result.floatTop1 * (1 - result.floatTop1) / result.samples);
      assert.ok(result.top1 >= result.floatTop1 - error, `top-1 is ${result.top1}, float ${result.floatTop1}`);
    },
  );
}
