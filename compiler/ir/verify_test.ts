import assert from "node:assert/strict";
import { assertGolden, goldenFiles, readGolden } from "../../tests/support/golden.ts";
import { allSamples } from "../../tests/support/op_samples.ts";
import { GraphBuilder } from "./build.ts";
import { input, unary } from "./expression.ts";
import { parseGraphLines } from "./parse.ts";
import { tensorType } from "./types.ts";
import { findFaults, verify } from "./verify.ts";

const marker = /[ \t]*; error: Q\d{4}(, Q\d{4})*$/;

/** The text with the codes of every fault behind the line that it is at. */
function annotated(text: string): string {
  const plain = text.split("\n").map((line) => line.replace(marker, ""));
  const parsed = parseGraphLines(plain.join("\n"));
  if (!parsed.ok) assert.fail(parsed.diagnostics.map((diagnostic) => diagnostic.message).join("\n"));
  const { graph, lines, headLine } = parsed.value;
  const codes = new Map<number, string[]>();
  for (const { diagnostic, node } of findFaults(graph)) {
    const line = (node === undefined ? headLine : lines.get(node)) ?? headLine;
    codes.set(line, [...codes.get(line) ?? [], diagnostic.code]);
  }
  return plain.map((line, index) => {
    const here = codes.get(index + 1);
    return here === undefined ? line : `${line} ; error: ${here.join(", ")}`;
  }).join("\n");
}

for (const file of goldenFiles("verify")) {
  Deno.test(`verify finds the faults of ${file} at their lines`, () => {
    assertGolden(`verify/${file}`, annotated(readGolden(`verify/${file}`)));
  });
}

Deno.test("verify finds no fault in a sample of any op", () => {
  for (const { name, graph } of allSamples()) assert.deepEqual(verify(graph), [], name);
});

Deno.test("verify names the value, the op and the source node", () => {
  const parsed = parseGraphLines(readGolden("verify/type_rule.qir"));
  assert(parsed.ok);
  const [first] = verify(parsed.value.graph);
  assert.equal(first.node, "fc/MatMul");
  assert.match(first.message, /^%y = matmul: inner extents differ: f32\[1,4\] and f32\[3,2\]$/);
});

Deno.test("verify at a lower level than the graph's says so", () => {
  const builder = new GraphBuilder("levels");
  const x = builder.input("x", tensorType("f32", [2]));
  builder.output("y", builder.map(unary("neg", input(0)), [x]));
  assert.deepEqual(verify(builder.finish("quant"), "float").map(({ code }) => code), ["Q0143"]);
  assert.deepEqual(verify(builder.finish("float"), "quant"), []);
});

Deno.test("verify reports every fault of a graph, not the first one only", () => {
  const parsed = parseGraphLines(readGolden("verify/type_rule.qir"));
  assert(parsed.ok);
  assert.equal(verify(parsed.value.graph).length, 5);
});
