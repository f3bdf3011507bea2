import assert from "node:assert/strict";
import fc from "fast-check";
import { type Lifetime, type MemoryPlan, planMemory } from "./memory.ts";

const lifetimes = fc.array(
  fc.record({ bytes: fc.nat(400), start: fc.nat(20), length: fc.nat(8) }),
  { maxLength: 30 },
).map((list) =>
  list.map(({ bytes, start, length }, id): Lifetime => ({ id: `b${id}`, bytes, start, end: start + length }))
);

/** Two buffers that are live at once and share a byte; undefined when there are none. */
function overlap(list: readonly Lifetime[], { offsets }: MemoryPlan): readonly [string, string] | undefined {
  const offsetOf = (id: string) => offsets.get(id) ?? NaN;
  for (const [index, a] of list.entries()) {
    for (const b of list.slice(index + 1)) {
      const sameTime = a.start <= b.end && b.start <= a.end;
      const sameBytes = offsetOf(a.id) < offsetOf(b.id) + b.bytes && offsetOf(b.id) < offsetOf(a.id) + a.bytes;
      if (sameTime && sameBytes) return [a.id, b.id];
    }
  }
  return undefined;
}

Deno.test("planMemory keeps buffers apart that are live at once, aligned and inside the plan", () => {
  fc.assert(fc.property(lifetimes, (list) => {
    const plan = planMemory(list);
    assert.equal(overlap(list, plan), undefined);
    for (const { id, bytes } of list) {
      const offset = plan.offsets.get(id) ?? NaN;
      assert.equal(offset % 16, 0);
      assert.ok(offset + bytes <= plan.bytes);
    }
    assert.ok(plan.bytes >= plan.peakBytes);
  }));
});

Deno.test("a plan made with one lifetime cut short is caught as an overlap", () => {
  const found = fc.check(
    fc.property(lifetimes, (list) => {
      const mutant = planMemory(list.map((lifetime) => ({ ...lifetime, end: lifetime.start })));
      return overlap(list, mutant) === undefined;
    }),
    { numRuns: 1000 },
  );
  assert.ok(found.failed);
});

Deno.test("planMemory reuses bytes: a chain of equal buffers takes two of them", () => {
  const chain = Array.from(
    { length: 9 },
    (_, step): Lifetime => ({ id: `v${step}`, bytes: 160, start: step, end: step + 1 }),
  );
  const plan = planMemory(chain);
  assert.equal(plan.bytes, 320);
  assert.equal(plan.peakBytes, 320);
});

Deno.test("planMemory does not depend on the order of its list", () => {
  fc.assert(fc.property(lifetimes, (list) => {
    assert.deepEqual(
      [...planMemory([...list].reverse()).offsets].sort(),
      [...planMemory(list).offsets].sort(),
    );
  }));
});
