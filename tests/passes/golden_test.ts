/**
 * Golden rewrites: each file of tests/golden/PASS/ holds a graph and what the pass makes of it. The first line names the
 * pass and its options, the part up to `; after` is the input, the rest is the result with the refusals as comments.
 * Where the second line is `; samples N`, the pass gets N random samples of the inputs, and the statistics of a calibrate
 * pass over them; `; later NAME {options}` are passes that it hears of as those after it.
 */

import assert from "node:assert/strict";
import { formatDiagnostic } from "../../compiler/diagnostics.ts";
import { parseGraph } from "../../compiler/ir/parse.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import { printGraph } from "../../compiler/ir/print.ts";
import { verify } from "../../compiler/ir/verify.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import { type Pass, type PassContext, type PassResult, plainContext } from "../../compiler/rewrite/pass.ts";
import { everyNode } from "../../compiler/rewrite/selector.ts";
import { calibrate } from "../../passes/calibrate/calibrate.ts";
import { passes } from "../../passes/mod.ts";
import { assertGolden, goldenFiles, goldenPath, readGolden } from "../support/golden.ts";
import { randomTensor } from "../support/random_tensor.ts";

const divider = "; after\n";

function inputPart(text: string): string {
  const end = text.indexOf(divider);
  return end < 0 ? text : text.slice(0, end);
}

interface Header {
  readonly name: string;
  readonly options: Record<string, Json>;
  readonly samples: number;
  /** Passes to run first, on the graph that the samples were measured on. */
  readonly before: readonly PassCall[];
  /** Passes that the pass hears of as those after it. */
  readonly later: readonly PassCall[];
}

interface PassCall {
  readonly name: string;
  readonly options: Record<string, Json>;
}

/** Reads `; pass NAME {options}` from the first line, `; samples N`, `; before` and `; later` from those after it. */
function header(text: string, place: string): Header {
  const lines = text.split("\n");
  const [call] = calls("pass", lines.slice(0, 1));
  assert.ok(call !== undefined, `${place} does not begin with "; pass NAME"`);
  const comments = lines.slice(1, lines.findIndex((line) => !line.startsWith(";")));
  const samples = comments.map((line) => /^; samples (\d+)$/.exec(line)?.[1]).find((count) => count !== undefined);
  return { ...call, samples: Number(samples ?? 0), before: calls("before", comments), later: calls("later", comments) };
}

function calls(word: string, lines: readonly string[]): readonly PassCall[] {
  return lines.flatMap((line) => {
    const match = new RegExp(`^; ${word} ([\\w-]+)\\s*(\\{.*\\})?$`).exec(line);
    return match === null ? [] : [{ name: match[1], options: match[2] === undefined ? {} : JSON.parse(match[2]) }];
  });
}

function passNamed(name: string, place: string): Pass {
  const pass = passes.find((candidate) => candidate.name === name);
  assert.ok(pass !== undefined, `${place}: there is no pass "${name}"`);
  return pass;
}

/** Random samples of a graph's inputs, with every symbol at its bound. */
function randomSamples(graph: Graph, count: number): NonNullable<PassContext["calibration"]> {
  const bounds = Object.fromEntries(Object.entries(graph.symbols).map(([name, { max }]) => [name, max]));
  return Array.from({ length: count }, (_, sample) =>
    Object.fromEntries(graph.inputs.map(({ name, value }, index) => {
      const seed = 1 + sample * graph.inputs.length + index;
      return [name, randomTensor(typeOf(graph, value), seed, bounds)];
    })));
}

async function contextOf(graph: Graph, { options, samples, later }: Header, place: string): Promise<PassContext> {
  const steps = later.map((call) => ({
    pass: passNamed(call.name, place),
    options: call.options,
    selector: everyNode,
  }));
  const context = { ...plainContext(options), seed: 3, later: steps };
  if (samples === 0) return context;
  const calibration = randomSamples(graph, samples);
  const { statistics } = await calibrate.run(graph, { ...plainContext(), calibration });
  return { ...context, calibration, ...(statistics === undefined ? {} : { statistics }) };
}

async function rewritten(place: string, text: string): Promise<PassResult> {
  const head = header(text, place);
  const parsed = parseGraph(text);
  assert.ok(parsed.ok, `${place}: ${parsed.diagnostics.map(formatDiagnostic).join("\n")}`);
  assert.deepEqual(verify(parsed.value), [], `${place}: the input`);
  const context = await contextOf(parsed.value, head, place);
  let graph = parsed.value;
  for (const { name, options } of head.before) {
    graph = (await passNamed(name, place).run(graph, { ...context, options })).graph;
  }
  const result = await passNamed(head.name, place).run(graph, context);
  assert.deepEqual(verify(result.graph), [], `${place}: the result`);
  return result;
}

function report(result: PassResult): string {
  const refusals = result.declined.map(({ rule, node, reason }) => `; ${rule} declined ${node}: ${reason}\n`);
  return printGraph(result.graph, { constants: "literal" }) + refusals.join("");
}

for (const folder of passes.map((pass) => pass.name.replaceAll("-", "_"))) {
  for (const file of filesOf(folder)) {
    const place = `${folder}/${file}`;
    Deno.test(`golden ${place}`, async () => {
      const input = inputPart(readGolden(place));
      assertGolden(place, input + divider + report(await rewritten(place, input)));
    });
  }
}

function filesOf(folder: string): readonly string[] {
  try {
    return goldenFiles(folder);
  } catch {
    return [];
  }
}

Deno.test("every pass has golden files", () => {
  for (const pass of passes) {
    const folder = pass.name.replaceAll("-", "_");
    assert.ok(filesOf(folder).length > 0, `tests/golden/${folder} has no files, ${goldenPath(folder)}`);
  }
});
