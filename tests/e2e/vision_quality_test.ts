/** Static int8 on real vision nets: logits within 2 dB of the best public tool, top-1 within one standard error of float. */

import assert from "node:assert/strict";
import { sharedTest } from "../support/models.ts";
import { evaluateVision } from "../support/vision.ts";
import { zooModel } from "../support/zoo.ts";

interface QualityBar {
  readonly name: string;
  readonly samples: number;
  /** SQNR of the logits in dB by the best public W8A8 tool under the same protocol. */
  readonly publicSqnr: number;
}

const bars: readonly QualityBar[] = [
  { name: "resnet20", samples: 1000, publicSqnr: 30.8 },
  { name: "mlperf-resnet8", samples: 1000, publicSqnr: 29.8 },
  { name: "vit-pgd", samples: 1000, publicSqnr: 30.9 },
  { name: "mnist8", samples: 1000, publicSqnr: 38.0 },
  { name: "vww-mobilenetv1-025", samples: 250, publicSqnr: 25.8 },
  { name: "dit-mnist", samples: 40, publicSqnr: 25.6 },
];

/** The margin that the project allows itself. */
const marginDb = 2;

for (const { name, samples, publicSqnr } of bars) {
  const model = zooModel(name);
  sharedTest(
    `${name} at w8a8-static keeps within ${marginDb} dB of ${publicSqnr} dB`,
    [model.path, ...model.data],
    async () => {
      const result = await evaluateVision(model, "w8a8-static", samples);
      assert.ok(result.sqnr >= publicSqnr - marginDb, `SQNR is ${result.sqnr.toFixed(2)} dB`);
      if (result.top1 === undefined || result.floatTop1 === undefined) return;
      const error = Math.sqrt(result.floatTop1 * (1 - result.floatTop1) / result.samples);
      assert.ok(result.top1 >= result.floatTop1 - error, `top-1 is ${result.top1}, float ${result.floatTop1}`);
    },
  );
}
