import assert from "node:assert/strict";
import { parseGraph } from "../../compiler/ir/parse.ts";
import { peakLiveBytes } from "./live_bytes.ts";

Deno.test("peakLiveBytes counts what is alive together, without constants, at the bounds of symbols", () => {
  const parsed = parseGraph(`
graph @live (%x: f32[seq,4]) -> (%d) {
  symbol seq = 1..8
  %c = const f32[4] iota
  %a = map %x, %c {expression=add($0, $1)} : f32[seq,4]
  %b = map %a {expression=neg($0)} : f32[seq,4]
  %k = concat %a, %b {axis=1} : f32[seq,8]
  %d = reduce %k {kind=sum, axes=[1]} : f32[seq]
}`);
  assert.ok(parsed.ok, JSON.stringify(parsed.diagnostics));
  // At the concat: a and b of 8 * 4 and the result of 8 * 8 entries of 4 bytes.
  assert.equal(peakLiveBytes(parsed.value), (32 + 32 + 64) * 4);
});
