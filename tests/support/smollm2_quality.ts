/**
 * SmolLM2-135M-Instruct by its protocol: WikiText-2 valid tokenized whole without special tokens, ids 102,400 to 110,592 in
 * 8 windows of 1,024 fed to clear states. A window's positions 1 to 1023 are scored, each from the ids before it in the
 * window. Calibration: windows of 1,024 from ids 0 to 65,535. Perplexity is exp(mean -ln p), the divergence the mean of
 * Σ p_float (ln p_float - ln p) in nats, with the model's decoded weights in float32 as the float model; all on WebAssembly.
 *
 * Run as a program, it measures one recipe and prints JSON:  smollm2_quality.ts RECIPE [pass.option=value ...] [--windows N]
 */

import { existsSync } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import { fileURLToPath } from "node:url";
import { parseCount } from "../../compiler/commands/common.ts";
import { encoderOf } from "../../compiler/data/tokenizer.ts";
import { tokenSamples } from "../../compiler/data/tokens.ts";
import { DiagnosticError, type Outcome, success } from "../../compiler/diagnostics.ts";
import { type CompileResult, emitModel, prepareModel } from "../../compiler/driver.ts";
import { klDivergence, logSoftmax } from "../../compiler/evaluation/measures.ts";
import { artifactRunner } from "../../compiler/evaluation/runners.ts";
import type { ImportedModel } from "../../compiler/import/mod.ts";
import { plainTensor } from "../../compiler/ir/tensor.ts";
import type { FormatRow } from "../../targets/artifact/sizes.ts";
import { cacheFolder, fetchModel, smollm2 } from "./fetched.ts";
import { sharedFile } from "./models.ts";
import { checkoutRoot } from "./zoo.ts";

const window = 1024;
const windows = 8;
const firstId = 102_400;
const calibrationIds = 65_536;
const vocabulary = 49_152;
const idsInText = 273_868;

export interface SmolQuality {
  readonly perplexity: number;
  readonly kl: number;
  /** Perplexity of each window, to see how it spreads. */
  readonly windows: readonly number[];
  readonly weightBytes: number;
  readonly formats: readonly FormatRow[];
  readonly compileSeconds: number;
  readonly evaluateSeconds: number;
  /** Resident memory at its highest seen, in MiB. */
  readonly peakMegabytes: number;
}

/** Measures a recipe in a process of its own, whose memory goes back when it ends. */
export async function evaluateSmol(recipe: string, overrides: readonly string[] = []): Promise<SmolQuality> {
  const { success: done, stdout } = await new Deno.Command(Deno.execPath(), {
    cwd: checkoutRoot,
    args: ["run", "-A", fileURLToPath(import.meta.url), recipe, ...overrides],
    stdout: "piped",
    stderr: "inherit",
  }).output();
  if (!done) throw new Error(`SmolLM2 by ${recipe} could not be measured`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** The ids of the whole text. */
function textIds({ assets }: Pick<ImportedModel, "assets">): Int32Array {
  const path = sharedFile("text/wikitext2_valid.txt");
  const encode = encoderOf(assets);
  if (path === undefined || encode === undefined) throw new Error("The text or the tokenizer is missing");
  const ids = Int32Array.from(encode(Deno.readTextFileSync(path)));
  if (ids.length !== idsInText) throw new Error(`The text has ${ids.length} ids, wants ${idsInText}`);
  return ids;
}

function valueOf<T>(outcome: Outcome<T>): T {
  if (!outcome.ok) throw new DiagnosticError(outcome.diagnostics);
  return outcome.value;
}

async function compiled(recipe: string, overrides: readonly string[]): Promise<CompileResult> {
  let shown = "";
  const onProgress = ({ stage, fraction }: { readonly stage: string; readonly fraction: number }) => {
    const line = `${recipe}: ${stage} ${Math.floor(100 * fraction)} %`;
    peak = Math.max(peak, Deno.memoryUsage().rss);
    if (line === shown) return;
    shown = line;
    console.error(line);
  };
  const prepared = await prepareModel({
    model: await fetchModel(smollm2),
    recipe,
    overrides,
    logits: "all",
    bind: { seq: { min: 1, max: window }, total: window },
    calibration: (imported) => {
      const ids = textIds(imported).subarray(0, calibrationIds);
      return Promise.resolve(success(tokenSamples(imported.graph, ids, window, calibrationIds / window)));
    },
    onProgress,
  });
  return valueOf(await emitModel(valueOf(prepared), onProgress));
}

let peak = 0;

/** Numbers of one window, [1024, vocabulary]. */
type Rows<A> = (window: number) => Promise<A>;

function rowOf<A extends Float32Array | Float16Array>(rows: A, position: number) {
  return rows.subarray(position * vocabulary, (position + 1) * vocabulary);
}

/** The artifact, loaded; `run` feeds a window to clear states and gives its logits. */
async function opened(result: CompileResult) {
  const runner = await artifactRunner("smollm2", result.artifact.files, {});
  const ids = textIds(result.imported);
  const [input] = result.imported.graph.inputs;
  const [output] = result.imported.graph.outputs;
  const run: Rows<Float32Array> = async (index) => {
    runner.reset();
    const start = firstId + index * window;
    const fed = plainTensor("i32", [1, window], ids.slice(start, start + window));
    const { data } = (await runner.run({ [input.name]: fed }))[output.name];
    return data instanceof Float32Array ? data : Float32Array.from(data);
  };
  return { ids, run, dispose: () => runner.dispose() };
}

/**
 * ln p of the float model over one window, kept in the cache as float16: half a unit of 2^-6 at ln p = -20 puts less than
 * 1e-5 nats into the divergence. The model is compiled when a window is missing.
 */
class FloatScores {
  readonly #folder = join(cacheFolder(), "smollm2-float-scores");
  #model: { readonly run: Rows<Float32Array>; readonly dispose: () => Promise<void> } | undefined;

  async read(index: number): Promise<Float16Array> {
    const place = join(this.#folder, `${index}.f16`);
    if (!existsSync(place)) await this.#write(place, index);
    return new Float16Array((await Deno.readFile(place)).buffer);
  }

  async dispose(): Promise<void> {
    await this.#model?.dispose();
  }

  async #write(place: string, index: number): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    this.#model ??= await opened(await compiled("as-is", []));
    const rows = await this.#model.run(index);
    const scores = new Float16Array(window * vocabulary);
    for (let row = 0; row < window; row++) scores.set(logSoftmax(rowOf(rows, row)), row * vocabulary);
    // Renaming is atomic: runs beside this one see the whole file or none.
    const whole = `${place}.${Deno.pid}`;
    await writeFile(whole, new Uint8Array(scores.buffer));
    await rename(whole, place);
  }
}

async function measure(recipe: string, overrides: readonly string[], windows: number): Promise<SmolQuality> {
  const float = new FloatScores();
  const begin = performance.now();
  const result = await compiled(recipe, overrides);
  const compiledAt = performance.now();
  const model = await opened(result);
  const losses: number[] = [];
  let kl = 0;
  for (let index = 0; index < windows; index++) {
    const [wanted, actual] = [await float.read(index), await model.run(index)];
    let loss = 0;
    for (let row = 0; row + 1 < window; row++) {
      const q = logSoftmax(rowOf(actual, row));
      kl += klDivergence(new Float64Array(rowOf(wanted, row)), q);
      loss -= q[model.ids[firstId + index * window + row + 1]];
    }
    losses.push(loss / (window - 1));
    const sofar = kl / ((index + 1) * (window - 1));
    console.error(`${recipe}: window ${index + 1} of ${windows}: KL so far ${sofar.toFixed(4)}`);
  }
  await model.dispose();
  await float.dispose();
  const { weightBytes, formats } = result.artifact.report.sizes;
  return {
    perplexity: Math.exp(losses.reduce((sum, loss) => sum + loss) / windows),
    kl: kl / (windows * (window - 1)),
    windows: losses.map(Math.exp),
    weightBytes,
    formats,
    compileSeconds: (compiledAt - begin) / 1000,
    evaluateSeconds: (performance.now() - compiledAt) / 1000,
    peakMegabytes: peak / 2 ** 20,
  };
}

if (import.meta.main) {
  const program = new Command("smollm2_quality")
    .argument("<recipe>")
    .argument("[overrides...]", "pass.option=value")
    .option("--windows <count>", "windows to measure, from the first", parseCount, windows);
  program.parse(["deno", "smollm2_quality", ...Deno.args]);
  const [recipe, ...overrides] = program.args;
  const { windows: count } = program.opts<{ readonly windows: number }>();
  console.log(JSON.stringify(await measure(recipe, overrides, count)));
}
