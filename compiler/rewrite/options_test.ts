import assert from "node:assert/strict";
import {
  booleanOption,
  choiceOption,
  integerOption,
  type Json,
  nullable,
  numberOption,
  readOptions,
  textOption,
} from "./options.ts";

const schema = {
  flag: booleanOption(true, "A flag"),
  count: integerOption({ min: 1, max: 8 }, 4, "A count"),
  share: numberOption({ min: 0, max: 1 }, 0.5, "A share"),
  kind: choiceOption(["token", "tensor"], "token", "A kind"),
  name: textOption("a lower-case word", (text) => /^[a-z]+$/.test(text), "word", "A name"),
  width: nullable(integerOption({ min: 1, max: 8 }, 4, "A width")),
} as const;

Deno.test("readOptions fills in defaults and keeps what is given", () => {
  const { values, faults } = readOptions(schema, { count: 8, kind: "tensor", width: 3 });
  assert.deepEqual(faults, []);
  assert.deepEqual(values, { flag: true, count: 8, share: 0.5, kind: "tensor", name: "word", width: 3 });
  assert.equal(readOptions(schema, {}).values.width, null);
});

Deno.test("readOptions refuses ill-typed values, each with what it wants", () => {
  const cases: readonly [string, Json, RegExp][] = [
    ["flag", 1, /wants true or false/],
    ["count", 9, /wants an integer from 1 to 8/],
    ["count", 1.5, /wants an integer/],
    ["count", "4", /wants an integer/],
    ["share", 1.01, /wants a number from 0 to 1/],
    ["kind", "row", /wants one of "token", "tensor"/],
    ["name", "Word", /wants a lower-case word/],
    ["width", 0, /or null/],
  ];
  for (const [key, value, message] of cases) {
    const { faults } = readOptions(schema, { [key]: value });
    assert.equal(faults.length, 1, key);
    assert.equal(faults[0].key, key);
    assert.match(faults[0].message, message);
  }
});

Deno.test("readOptions names the nearest key and the nearest choice", () => {
  assert.equal(readOptions(schema, { counts: 3 }).faults[0].help, 'Did you mean "count"?');
  assert.equal(readOptions(schema, { kind: "tokens" }).faults[0].help, 'Did you mean "token"?');
});
