import assert from "node:assert/strict";
import { referenceFingerprint } from "../../../../tests/support/tfjs.ts";
import { bucketTable, shortFingerprint } from "./farm_hash.ts";

Deno.test("shortFingerprint agrees with TensorFlow.js on strings of one to three bytes", () => {
  for (let code = 0; code < 256; code++) {
    for (const bytes of [[code], [code, 255 - code], [code, 32, 17], [200, code, 3], [9, 130, code]]) {
      assert.equal(shortFingerprint(bytes), referenceFingerprint(Uint8Array.from(bytes)), String(bytes));
    }
  }
});

Deno.test("bucketTable puts the separator between the bytes of a pair", () => {
  const table = bucketTable(2, [32], 5000);
  assert.equal(table.length, 65536);
  assert.equal(table[97 * 256 + 98], Number(shortFingerprint([97, 32, 98]) % 5000n));
  assert.equal(bucketTable(1, [], 7)[65], Number(shortFingerprint([65]) % 7n));
});
