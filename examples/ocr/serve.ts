/**
 * Compiles the PaddleOCR v4 recognizer for WebGPU and WebAssembly, and serves the page that reads lines with it.
 *
 *   deno run -A examples/ocr/serve.ts
 */

import { Command } from "commander";
import { join } from "node:path";
import { progressView } from "../../compiler/commands/progress.ts";
import { formatDiagnostic, success } from "../../compiler/diagnostics.ts";
import { compileModel } from "../../compiler/driver.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import { calibrationLines } from "../demo/calibration_lines.ts";
import { servePage } from "../page_server.ts";
import { lineHeight } from "./recognizer.ts";

const assets = join(import.meta.dirname ?? ".", "..", "..", "node_modules", "@gutenye", "ocr-models", "assets");
/** Pixels of the page's line. */
const lineWidth = 320;

/** Compiles the recognizer to a folder. */
export async function compileRecognizer(out: string, recipe: string): Promise<void> {
  const progress = progressView();
  const result = await compileModel({
    model: join(assets, "ch_PP-OCRv4_rec_infer.onnx"),
    recipe,
    target: "wasm,wgsl",
    bind: { "x.0": 1, "x.3": lineWidth },
    calibration: () =>
      Promise.resolve(success(
        calibrationLines(lineWidth).map((pixels) => ({ x: floatTensor([1, 3, lineHeight, lineWidth], pixels) })),
      )),
    out,
    onProgress: progress.show,
  });
  progress.stop();
  if (!result.ok) throw new Error(result.diagnostics.map(formatDiagnostic).join("\n"));
}

/** Serves the page with a compiled recognizer. */
export function serveRecognizer(model: string, port: number): Promise<Deno.HttpServer<Deno.NetAddr>> {
  return servePage({ example: "ocr", model, port, files: { "/keys.txt": join(assets, "ppocr_keys_v1.txt") } });
}

if (import.meta.main) {
  const program = new Command("ocr-server")
    .description("Serve the page that reads lines of text")
    .option("--recipe <name>", "recipe of the model", "w8a8-static")
    .option("--out <folder>", "where the compiled model goes", "out/ocr")
    .option("--port <number>", "port to listen on", "8001")
    .action(async ({ recipe, out, port }: { recipe: string; out: string; port: string }) => {
      await compileRecognizer(out, recipe);
      const server = await serveRecognizer(out, Number(port));
      console.log(`Text recognition at http://127.0.0.1:${server.addr.port}/ (Ctrl+C ends it)`);
      await server.finished;
    });
  await program.parseAsync(Deno.args, { from: "user" });
}
