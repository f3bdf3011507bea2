import assert from "node:assert/strict";
import { median, race } from "./measure.ts";
import { printPart, printTable, replaceBlock } from "./report.ts";

Deno.test("tables line their columns up", () => {
  const text = printTable({ title: "", columns: ["kernel", "ms"], rows: [["a", "1.25"], ["longer name", "10.5"]] });
  assert.equal(
    text,
    "| kernel      |   ms |\n| ----------- | ---: |\n| a           | 1.25 |\n| longer name | 10.5 |",
  );
});

Deno.test("a part that was left out says why", () => {
  assert.equal(printPart({ skipped: "no browser" }), "Skipped: no browser");
});

Deno.test("a block is replaced between its markers only", () => {
  const document = "before\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nafter";
  assert.equal(replaceBlock(document, "x", "new"), "before\n<!-- bench:x -->\n\nnew\n\n<!-- /bench:x -->\nafter");
  assert.equal(replaceBlock(document, "y", "new"), undefined);
});

Deno.test("medians of odd and even counts", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});

Deno.test("contenders take turns", async () => {
  const order: string[] = [];
  const contender = (name: string) => ({ name, run: () => order.push(name) });
  const timings = await race([contender("a"), contender("b")], { rounds: 2, warmUp: 0, slice: 0 });
  assert.deepEqual(order, ["a", "b", "a", "b", "a", "b"]);
  assert.deepEqual(timings.map(({ name }) => name), ["a", "b"]);
});
